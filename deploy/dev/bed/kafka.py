"""One or three real Kafka brokers in KRaft mode as local processes.

Each broker is its own controller too, so a cluster of three survives the loss of any one of them. Everything
listens on 127.0.0.1 on free ports that a broker keeps over restarts: CLIENT for everybody, PEER between the
brokers, CONTROLLER for the quorum, JMX for counting. So client connections can be told from the brokers' own.

    python -m bed.kafka --brokers 3
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bed import kafka_admin
from bed.jvm import KAFKA_VERSION, java, kafka_libs
from bed.processes import Part, Process, ProcessFailed, free_port

_HOST = "127.0.0.1"
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
# C1 alone and no parallel collector: half the start time, and three brokers fit on two cores.
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true")

_LOG4J2 = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server
logger.server.level = info
"""
_LOG4J1 = """\
log4j.rootLogger=WARN, out
log4j.logger.kafka.server=INFO
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %-5p %c{1}: %m%n
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the running brokers have counted since their start, summed over them."""

    requests: Mapping[str, int]
    """By request type as Kafka's metrics name it (`OffsetFetch`, `ListOffsets`, `FetchConsumer`, …)."""
    client_connections: int
    """Open connections on the CLIENT listeners."""


@dataclass(slots=True)
class _Broker:
    number: int
    folder: Path
    client_port: int
    peer_port: int
    controller_port: int
    jmx_port: int
    process: Process | None = None
    paused: bool = False


class Kafka(Part):
    """A cluster of 1 or 3 brokers: `with Kafka(brokers=3) as kafka: kafka.bootstrap`.

    Synchronous on purpose: call it from the thread that lives as long as the bed (the main thread), because
    the brokers die with the thread that started them. Raises ProcessFailed when a broker does not start.

    run_dir: kept when given, else a temporary folder that is removed at the end.
    settings: broker settings that override the bed's.
    features: feature levels other than the version's own, such as share groups on 4.1 ({"share.version": 1}).
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        version: str = KAFKA_VERSION,
        run_dir: Path | None = None,
        auto_create_topics: bool = True,
        heap_mib: int = 400,
        settings: Mapping[str, str] | None = None,
        features: Mapping[str, int] | None = None,
    ) -> None:
        if brokers not in (1, 3):
            raise ValueError("brokers must be 1 or 3: a quorum of two is no safer than one")
        self.version = version
        self._count = brokers
        self._auto_create_topics = auto_create_topics
        self._heap_mib = heap_mib
        self._settings = dict(settings or {})
        self._features = dict(features or {})
        self._temporary = run_dir is None
        self.run_dir = run_dir or Path(tempfile.mkdtemp(prefix="bed-kafka-"))
        self._brokers: list[_Broker] = []
        self._classpath = ""
        self._java = Path()

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:port,…` of all brokers, in their order."""
        return ",".join(f"{_HOST}:{broker.client_port}" for broker in self._brokers)

    def pid(self, number: int) -> int | None:
        """The process id of broker `number` (0 is the first), None when it does not run."""
        process = self._brokers[number].process
        return process.pid if process and process.returncode is None else None

    def start(self) -> None:
        """Formats and starts all brokers; returns when each of them knows all of them."""
        self._classpath, self._java = f"{kafka_libs(self.version)}/*", java()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        (self.run_dir / "log4j2.properties").write_text(_LOG4J2)
        (self.run_dir / "log4j.properties").write_text(_LOG4J1)
        ports = iter(_free_ports(4 * self._count))
        self._brokers = [
            _Broker(i, self.run_dir / f"broker-{i}", next(ports), next(ports), next(ports), next(ports))
            for i in range(self._count)
        ]
        for broker in self._brokers:
            broker.folder.mkdir(parents=True, exist_ok=True)
            lines = [f"{name}={value}" for name, value in self._properties(broker).items()]
            (broker.folder / "server.properties").write_text("\n".join(lines) + "\n")
        self._format()
        for broker in self._brokers:
            self._launch(broker)
        for broker in self._brokers:
            self._wait_ready(broker)

    def stop(self) -> None:
        """Ends all brokers at once; nothing is worth a clean shutdown when the data goes too."""
        for broker in self._brokers:
            if broker.process:
                broker.process.stop(grace_seconds=0 if self._temporary else _STOP_SECONDS)
        if self._temporary:
            shutil.rmtree(self.run_dir, ignore_errors=True)

    def stop_broker(self, number: int, *, kill: bool = True) -> None:
        """Ends one broker, by SIGKILL or (`kill=False`) by a clean shutdown; returns when it is gone."""
        broker = self._brokers[number]
        if broker.process:
            broker.process.stop(grace_seconds=0 if kill else _STOP_SECONDS)
        broker.process, broker.paused = None, False

    def start_broker(self, number: int) -> None:
        """Starts a stopped broker on its old ports and data; returns when it serves.

        From the main thread only. After a kill the controllers hold the old session for 3 s.
        """
        broker = self._brokers[number]
        if self.pid(number) is None:
            self._launch(broker)
            self._wait_ready(broker)

    def pause(self, number: int) -> None:
        """SIGSTOP: the broker's sockets stay open and nobody answers. Returns when it has stopped."""
        self._signal(number, signal.SIGSTOP)
        if (pid := self.pid(number)) is not None:
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._brokers[number].paused = True

    def resume(self, number: int) -> None:
        """SIGCONT after `pause`."""
        self._signal(number, signal.SIGCONT)
        self._brokers[number].paused = False

    def create_topic(
        self, name: str, partitions: int, *, replication: int = 1, configs: Mapping[str, str] | None = None
    ) -> None:
        """Returns when every partition has a leader."""
        topic = kafka_admin.Topic(name, partitions, replication, dict(configs or {}))
        kafka_admin.run(kafka_admin.create_topics(self.bootstrap, [topic]))

    def delete_topic(self, name: str) -> None:
        kafka_admin.run(kafka_admin.delete_topics(self.bootstrap, [name]))

    def add_partitions(self, name: str, total: int) -> None:
        """Raises the number of partitions to `total`."""
        kafka_admin.run(kafka_admin.add_partitions(self.bootstrap, name, total))

    def delete_group(self, name: str) -> None:
        """Deletes an empty consumer group with its offsets; raises KafkaError when it has members."""
        kafka_admin.run(kafka_admin.delete_groups(self.bootstrap, [name]))

    def tool(self, main_class: str, *arguments: str, timeout_seconds: float = 120) -> str:
        """What one of Kafka's own command-line tools prints (~2 s: a JVM); ProcessFailed when it ends with an error."""
        command = [*self._java_command("-Xmx128m"), main_class, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)
        if done.returncode:
            raise ProcessFailed(f"{main_class} ended with {done.returncode}\n{done.stderr or done.stdout}")
        return done.stdout

    def request_counts(self) -> dict[str, int]:
        """Requests by type since each broker's start, summed over the running brokers (~1 s: asks JMX)."""
        return dict(self.counts().requests)

    def connection_count(self) -> int:
        """Open client connections, summed over the running brokers (~1 s: asks JMX)."""
        return self.counts().client_connections

    def counts(self) -> Counts:
        """Both in one question to JMX. Brokers that are stopped or paused are left out."""
        asked = [b for b in self._brokers if self.pid(b.number) is not None and not b.paused]
        tools = [self._jmx_tool(broker) for broker in asked]
        requests: Counter[str] = Counter()
        connections = 0
        try:
            for tool in tools:
                out, err = tool.communicate(timeout=60)
                if tool.returncode:
                    raise ProcessFailed(f"JmxTool ended with {tool.returncode}\n{err or out}")
                for name, value in re.findall(r"RequestsPerSec,request=(\w+)[^:]*:Count=(\d+)", out):
                    requests[name] += int(value)
                for value in re.findall(r"listener=CLIENT[^:]*:connection-count=([\d.]+)", out):
                    connections += int(float(value))
        finally:
            for tool in tools:
                tool.kill()
                tool.wait()
        return Counts(requests, connections)

    def _properties(self, broker: _Broker) -> dict[str, str]:
        copies = str(self._count)
        return {
            "process.roles": "broker,controller",
            "node.id": str(broker.number),
            "controller.quorum.voters": ",".join(f"{b.number}@{_HOST}:{b.controller_port}" for b in self._brokers),
            "listeners": f"CLIENT://{_HOST}:{broker.client_port},PEER://{_HOST}:{broker.peer_port},"
            f"CONTROLLER://{_HOST}:{broker.controller_port}",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,PEER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PEER",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(broker.folder / "data"),
            "auto.create.topics.enable": str(self._auto_create_topics).lower(),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": "1",
            # Enough that the coordinators of a few groups lie on all brokers; 50 take seconds to create.
            "offsets.topic.num.partitions": "12",
            "transaction.state.log.num.partitions": "3",
            "share.coordinator.state.topic.num.partitions": "3",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "group.consumer.min.session.timeout.ms": "1000",
            "group.consumer.min.heartbeat.interval.ms": "300",
            "log.retention.ms": "3600000",
            "log.segment.bytes": "67108864",
            "num.network.threads": "2",
            "num.io.threads": "4",
            # The default is 128 MiB of heap for a cleaner that has next to nothing to do here.
            "log.cleaner.dedupe.buffer.size": "8388608",
            # A killed broker is fenced after this long; the default 9 s makes every fault test wait for it.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            **self._settings,
        }

    def _format(self) -> None:
        """Writes the storage of broker 0 with Kafka's own tool and the others' after it.

        What the tool writes (the feature levels) differs by two ids only, and each Java start costs a second.
        """
        first = self._brokers[0].folder
        if (first / "data" / "meta.properties").exists():
            return
        cluster = _random_id()
        done = subprocess.run(
            [
                *self._java_command("-Xmx128m"),
                *("kafka.tools.StorageTool", "format", "--cluster-id", cluster),
                *("--config", str(first / "server.properties")),
                *(part for name, level in self._features.items() for part in ("--feature", f"{name}={level}")),
                *self._format_options(),
            ],
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
            check=False,
        )
        if done.returncode:
            raise ProcessFailed(f"Kafka's storage cannot be formatted\n{done.stdout}{done.stderr}")
        for broker in self._brokers[1:]:
            shutil.copytree(first / "data", broker.folder / "data")
            meta = broker.folder / "data" / "meta.properties"
            text = re.sub(r"(?m)^node\.id=.*$", f"node.id={broker.number}", meta.read_text())
            meta.write_text(re.sub(r"(?m)^directory\.id=.*$", f"directory.id={_random_id()}", text))

    def _format_options(self) -> list[str]:
        """More of the storage tool's options."""
        return []

    def _java_command(self, *options: str) -> list[str]:
        return [
            *(str(self._java), *_JVM, *options),
            f"-Dlog4j2.configurationFile={self.run_dir / 'log4j2.properties'}",
            f"-Dlog4j.configuration=file:{self.run_dir / 'log4j.properties'}",
            *("-cp", self._classpath),
        ]

    def _launch(self, broker: _Broker) -> None:
        jmx = "com.sun.management.jmxremote"
        broker.process = Process(
            f"kafka broker {broker.number}",
            [
                *self._java_command(
                    f"-Xmx{self._heap_mib}m",
                    f"-D{jmx}.port={broker.jmx_port}",
                    f"-D{jmx}.rmi.port={broker.jmx_port}",
                    f"-D{jmx}.host={_HOST}",
                    f"-D{jmx}.authenticate=false",
                    f"-D{jmx}.ssl=false",
                    f"-Djava.rmi.server.hostname={_HOST}",
                ),
                *("kafka.Kafka", broker.folder / "server.properties"),
            ],
            log=broker.folder / "broker.log",
        )

    def _wait_ready(self, broker: _Broker) -> None:
        """Until the broker answers and lists every broker that runs (so that replicas can be placed)."""
        expected = {b.number for b in self._brokers if self.pid(b.number) is not None and not b.paused}
        address = f"{_HOST}:{broker.client_port}"

        def ready() -> bool:
            with suppress(OSError), socket.create_connection((_HOST, broker.client_port), timeout=1):
                return kafka_admin.run(kafka_admin.brokers_known_to(address)) >= expected
            return False

        assert broker.process is not None
        broker.process.wait_until(ready, timeout_seconds=_START_SECONDS)

    def _signal(self, number: int, what: signal.Signals) -> None:
        process = self._brokers[number].process
        if process is None:
            raise ValueError(f"broker {number} does not run")
        process.send(what)

    def _jmx_tool(self, broker: _Broker) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *self._java_command("-Xmx64m"),
                *("org.apache.kafka.tools.JmxTool", "--one-time", "--report-format", "properties"),
                *("--jmx-url", f"service:jmx:rmi:///jndi/rmi://{_HOST}:{broker.jmx_port}/jmxrmi"),
                *("--object-name", "kafka.network:type=RequestMetrics,name=RequestsPerSec,*"),
                *("--object-name", "kafka.server:type=socket-server-metrics,listener=CLIENT,*"),
                *("--attributes", "Count,connection-count"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _random_id() -> str:
    """A cluster or directory id in Kafka's form. Never with a leading dash, which its tool takes for an option."""
    while (text := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _free_ports(count: int) -> list[int]:
    """Different ports that were free a moment ago."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port(_HOST))
    return list(ports)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bed.kafka", description=__doc__)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--version", default=KAFKA_VERSION)
    parser.add_argument("--run-dir", type=Path, help="keep data and logs here (default: temporary)")
    options = parser.parse_args()
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Kafka(options.brokers, version=options.version, run_dir=options.run_dir) as kafka:
        print(
            f"Kafka {options.version} is ready after {time.monotonic() - begin:.1f} s, Ctrl-C ends it",
            file=sys.stderr,
        )
        print(kafka.bootstrap, flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
