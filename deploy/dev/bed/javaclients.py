"""Consumers of each kind as their makers ship them: Kafka's own Java clients, as processes.

Consumers and share consumers are Kafka's console tools, from the broker's jars. The Kafka Streams application
(java/WordCount.java) shuffles its input through a repartition topic and counts: two sub-topologies, so the partitions
of the input plus those of the repartition topic (as many) are its tasks. All commit twice a second. Stop them by
`stop()`; SIGSTOP one to keep it in its group without progress.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bed import group_settings
from bed.javac import compiled
from bed.jvm import java, kafka_libs, streams_libs
from bed.kafka import Kafka
from bed.processes import Process

_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
_SHARE_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleShareConsumer"
_STREAMS = Path(__file__).parent / "java" / "WordCount.java"
COOPERATIVE = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"
_IN_MEMORY = "org.apache.kafka.streams.state.BuiltInDslStoreSuppliers$InMemoryDslStoreSuppliers"
# As the brokers of the bed: half the start time, a third of the memory.
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx96m", "-Djava.awt.headless=true")
_LOG4J2 = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.target = SYSTEM_ERR
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


def consumer(
    kafka: Kafka,
    group: str,
    topic: str,
    *,
    name: str = "consumer",
    protocol: str = "classic",
    assignor: str | None = None,
    properties: Mapping[str, str] | None = None,
) -> Process:
    """A consumer from the beginning of the topic; its client id is `name`.

    protocol: "classic", or "consumer" for KIP-848. assignor: a class name of the classic protocol.
    """
    settings = {"auto.commit.interval.ms": "500", "auto.offset.reset": "earliest", "client.id": name}
    if protocol != "classic":  # brokers and clients before 3.7 have no such setting
        settings["group.protocol"] = protocol
    if assignor is not None:
        settings["partition.assignment.strategy"] = assignor
    return _console(kafka, _CONSUMER, group, topic, name, {**settings, **(properties or {})})


def share_consumer(
    kafka: Kafka, group: str, topic: str, *, name: str = "share-consumer", log: Path | None = None
) -> Process:
    """A member of a share group, which accepts each record once it is printed to `log`.

    Where a share group begins is the group's own setting `share.auto.offset.reset`, see `begin_at_the_start`.
    """
    return _console(kafka, _SHARE_CONSUMER, group, topic, name, {"client.id": name}, log=log)


async def begin_at_the_start(kafka: Kafka, group: str) -> None:
    """Lets a share group begin with the oldest record; the default is the end, as it is when it first fetches."""
    await group_settings.change(kafka.bootstrap, group, {"share.auto.offset.reset": "earliest"})


def streams(
    kafka: Kafka,
    application_id: str,
    topic: str,
    *,
    name: str = "streams",
    protocol: str = "classic",
    threads: int = 1,
    properties: Mapping[str, str] | None = None,
) -> Process:
    """One instance of the word count of `topic` with that many threads, each a member of the group `application_id`.

    protocol: "classic", or "streams" for KIP-1071.
    """
    folder = kafka.run_dir / "clients"
    libs = streams_libs(kafka.version)
    settings = {
        "application.id": application_id,
        "bootstrap.servers": kafka.bootstrap,
        "bed.input": topic,
        "client.id": name,
        "auto.offset.reset": "earliest",
        "num.stream.threads": str(threads),
        "commit.interval.ms": "500",
        "state.dir": str(folder / f"{application_id}-{name}-state"),
        "statestore.cache.max.bytes": "0",
        "dsl.store.suppliers.class": _IN_MEMORY,
        **({} if protocol == "classic" else {"group.protocol": protocol}),
        **(properties or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{application_id}-{name}.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    command = [*_java(folder, libs, compiled(_STREAMS, libs)), _STREAMS.stem, str(file)]
    return Process(f"streams application {name}", command, log=folder / f"{application_id}-{name}.log")


def _console(
    kafka: Kafka, main: str, group: str, topic: str, name: str, settings: Mapping[str, str], *, log: Path | None = None
) -> Process:
    folder = kafka.run_dir / "clients"
    folder.mkdir(parents=True, exist_ok=True)
    option = "--command-property" if _newer(kafka) else "--consumer-property"  # KIP-1147
    command = [
        *_java(folder, kafka_libs(kafka.version)),
        *(main, "--bootstrap-server", kafka.bootstrap, "--group", group, "--topic", topic),
        *(part for key, value in settings.items() for part in (option, f"{key}={value}")),
    ]
    return Process(f"{main.rpartition('.')[2]} {name}", command, log=log or folder / f"{group}-{name}.log")


def _newer(kafka: Kafka) -> bool:
    return tuple(int(part) for part in kafka.version.split(".")[:2]) >= (4, 2)


def _java(folder: Path, libs: Path, *classes: Path) -> list[str]:
    file = folder / "log4j2.properties"
    file.write_text(_LOG4J2)
    return [
        str(java()),
        *_JVM,
        f"-Dlog4j2.configurationFile={file}",
        "-cp",
        ":".join([*map(str, classes), f"{libs}/*"]),
    ]
