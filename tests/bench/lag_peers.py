"""Other readers of lag, for `bench lag --peers`: kminion, kafka_exporter, and a loop over aiokafka's admin client.

All of them read every group of the cluster in each round: a scrape of `/metrics`, or one turn of the loop. kminion
reads through the admin API, its default; everything that is not about lag is off where a setting says so.

python -m tests.bench.lag_peers --bootstrap … : the loop; a turn for each SIGUSR1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bed import peers
from bed.fetch import PartUnavailable
from bed.paths import REPOSITORY
from bed.processes import Process, free_port

ROUNDS = 3
ROUND_SECONDS = 300.0
_TURN = '{"turn"'


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `failed` says why it has no figures."""

    name: str
    groups: int
    partitions: int
    figures: Mapping[str, float] = field(default_factory=dict)
    load: float = 0.0
    kafka: str = ""
    failed: str = ""


class Peer(ABC):
    name: str

    @abstractmethod
    def start(self, bootstrap: str, groups: int, log: Path) -> Process:
        """Returns when it can do a round. Raises ProcessFailed."""

    @abstractmethod
    def round(self, process: Process) -> float:
        """Has it read all groups once; returns the seconds that took. Raises TimeoutError and OSError."""


class _Scraped(Peer):
    """A program that reads the cluster whenever its page is asked for."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._port = 0

    def round(self, process: Process) -> float:
        begin = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=ROUND_SECONDS) as page:
            text = page.read().decode()
        if self.sign not in text:
            raise OSError(f"the page has no {self.sign}")
        return time.monotonic() - begin

    sign: str

    def _started(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> Process:
        process = Process(self.name, command, log=log, env=env)

        def listening() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=5):
                    return True
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False

        process.wait_until(listening, timeout_seconds=60)
        return process


class Kminion(_Scraped):
    name = f"kminion {peers.KMINION_VERSION}"
    sign = "kminion_kafka_consumer_group_topic_partition_lag"

    def start(self, bootstrap: str, groups: int, log: Path) -> Process:
        self._port = free_port()
        env = {
            "KAFKA_BROKERS": bootstrap,
            "EXPORTER_HOST": "127.0.0.1",
            "EXPORTER_PORT": str(self._port),
            "MINION_CONSUMERGROUPS_SCRAPEMODE": "adminApi",
            "MINION_LOGDIRS_ENABLED": "false",
            "LOGGER_LEVEL": "warn",
        }
        return self._started([self._program], log, env)


class KafkaExporter(_Scraped):
    name = f"kafka_exporter {peers.KAFKA_EXPORTER_VERSION}"
    sign = "kafka_consumergroup_lag"

    def start(self, bootstrap: str, groups: int, log: Path) -> Process:
        self._port = free_port()
        servers = [f"--kafka.server={address}" for address in bootstrap.split(",")]
        command = [self._program, *servers, f"--web.listen-address=127.0.0.1:{self._port}", "--log.level=warn"]
        return self._started(command, log, {})


class AdminLoop(Peer):
    name = "loop over aiokafka's admin client"

    def start(self, bootstrap: str, groups: int, log: Path) -> Process:
        paths = [str(REPOSITORY), str(REPOSITORY / "deploy" / "dev"), str(REPOSITORY / "operator")]
        process = Process(
            "admin loop",
            [sys.executable, "-m", "tests.bench.lag_peers", f"--bootstrap={bootstrap}"],
            log=log,
            env={"PYTHONPATH": os.pathsep.join(paths)},
            cwd=REPOSITORY,
        )
        process.wait_until(lambda: _turns(process) == 1, timeout_seconds=60)
        return process

    def round(self, process: Process) -> float:
        before, begin = _turns(process), time.monotonic()
        process.send(signal.SIGUSR1)
        while _turns(process) == before:
            if process.returncode is not None:
                raise OSError(process.log_tail())
            if time.monotonic() - begin > ROUND_SECONDS:
                raise TimeoutError(f"no turn within {ROUND_SECONDS:.0f} s")
            time.sleep(0.05)
        return time.monotonic() - begin


def _turns(process: Process) -> int:
    return process.log.read_text().count(_TURN)


class Absent(Peer):
    """One that cannot be had on this machine; the table says so."""

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, bootstrap: str, groups: int, log: Path) -> Process:
        raise NotImplementedError

    def round(self, process: Process) -> float:
        raise NotImplementedError


def available(say: Callable[[str], None]) -> list[Peer]:
    """All peers; says which cannot be built here, and why."""
    found: list[Peer] = []
    for make, name in ((Kminion, "kminion"), (KafkaExporter, "kafka_exporter")):
        try:
            found.append(make(peers.program(name)))
        except PartUnavailable as error:
            say(f"{name} is left out: {error}")
            found.append(Absent(make.name))
    return [*found, AdminLoop()]


def table(rows: Sequence[Row]) -> str:
    """Markdown: one table per size."""
    parts = []
    for size in dict.fromkeys((row.groups, row.partitions) for row in rows):
        own = [row for row in rows if (row.groups, row.partitions) == size]
        kafka = next((row.kafka for row in own if row.kafka), "")
        loads = sorted(row.load for row in own if not row.failed)
        parts.append(
            f"**{size[0]:,} groups, each with a topic of {size[1]} partitions** (3 brokers, Kafka {kafka}, "
            f"{os.cpu_count()} cores shared by all, load {loads[0]:g}–{loads[-1]:g}, {time.strftime('%Y-%m-%d')})\n\n"
            "| Reader | Requests a round | CPU s a round | Memory MiB | Seconds a round | Connections |\n"
            "|---|---|---|---|---|---|\n" + "\n".join(_line(row) for row in own)
        )
    return "\n\n".join(parts)


def _line(row: Row) -> str:
    if row.failed:
        return f"| {row.name} | {row.failed} | | | | |"
    names = ("requests_per_poll", "cpu_s_per_poll", "rss_mib", "seconds_per_poll", "connections")
    return f"| {row.name} | " + " | ".join(f"{row.figures[name]:,g}" for name in names) + " |"


async def _turn(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> int:
    """State, commits and ends of all groups, as the admin client's methods give them; returns the total lag."""
    committed: dict[TopicPartition, int] = {}
    for group, _ in await admin.list_consumer_groups():
        await admin.describe_consumer_groups([group])  # with two in one call it cannot read the answer
        offsets = await admin.list_consumer_group_offsets(group)
        committed |= {partition: found.offset for partition, found in offsets.items()}
    # The admin client has no end offsets; all topics are told at once, so that it need not ask for each.
    await consumer._client.set_topics({partition.topic for partition in committed})
    ends = await consumer.end_offsets(list(committed))
    return sum(end - committed[partition] for partition, end in ends.items())


async def _run(bootstrap: str) -> None:
    due, stop = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, due.set)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, request_timeout_ms=120_000)
    await admin.start()
    await consumer.start()
    try:
        print(json.dumps({"turn": 0}), flush=True)
        while True:
            await due.wait()
            due.clear()
            print(json.dumps({"turn": await _turn(admin, consumer)}), flush=True)
    finally:
        await consumer.stop()
        await admin.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lag_peers", description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    asyncio.run(_run(parser.parse_args().bootstrap))


if __name__ == "__main__":
    main()
