"""What one reading of the lag of many groups costs, at two sizes, on three real brokers.

Every group has a topic of its own, 50 groups have 20 real members and the others one each. A fifth of the topics gets a
record every second and every group commits each 20 seconds, so most groups have moved from reading to reading. The
source of lag is alone in a process (`lag_reader`); requests are those that the brokers count.

`requests_per_poll` is everything a reading asks at rest: commits, descriptions, ends, and the metadata every 70 s.
With `--peers` the same groups are then read by other tools, and the table goes into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import lag_peers
from tests.bench.common import Bar, Samples, Usage, connections_to, finish, say
from tests.bench.crowd import JOINED, MEMBERS
from tests.bench.report import write_generated

from bed.jvm import KAFKA_VERSION
from bed.kafka import Counts, Kafka
from bed.paths import REPOSITORY
from bed.processes import Process, ProcessFailed

CROWDED = 50
WARM_POLLS = 3
# What only a reader of groups asks; members and traffic have asked their share before, and the brokers
# themselves ask none of these.
ASKING = (
    "OffsetFetch",
    "ListOffsets",
    "DescribeGroups",
    "ConsumerGroupDescribe",
    "ListGroups",
    "FindCoordinator",
    "Metadata",
    "DescribeConfigs",
    "DescribeLogDirs",
    "DescribeCluster",
    "DescribeAcls",
    "OffsetForLeaderEpoch",
    "ShareGroupDescribe",
    "DescribeShareGroupOffsets",
    "StreamsGroupDescribe",
)


@dataclass(frozen=True, slots=True)
class Size:
    """`prefix` stands before the figures."""

    prefix: str
    groups: int
    partitions: int


SIZES = (Size("small_", 1000, 10), Size("large_", 5000, 4))
BARS = (
    Bar("small_requests_per_poll", 9),
    Bar("small_cpu_s_per_poll", 0.3, strictly=True),
    Bar("small_rss_mib", 150, strictly=True),
    Bar("small_max_loop_block_ms", 50),
    Bar("large_requests_per_poll", 9),
    Bar("large_cpu_s_per_poll", 1.0, strictly=True),
    Bar("large_rss_mib", 250, strictly=True),
    Bar("large_max_loop_block_ms", 50),
)
_FIGURES = ("requests_per_poll", "cpu_s_per_poll", "rss_mib", "max_loop_block_ms", "connections")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench lag", description=__doc__)
    parser.add_argument("--polls", type=int, default=12, help="readings that count (12)")
    parser.add_argument("--interval", type=float, default=15.0, help="seconds between readings (15)")
    parser.add_argument("--only", choices=[size.prefix.rstrip("_") for size in SIZES], help="one of the two sizes")
    parser.add_argument("--n", dest="groups", type=int, help="so many groups instead, to try the benchmark out")
    parser.add_argument("--peers", action="store_true", help="then other tools, and write docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if options.polls < 1:
        parser.error("at least one reading")
    peers = lag_peers.available(say) if options.peers else []
    figures: dict[str, float] = {}
    rows: list[lag_peers.Row] = []
    with Samples("lag") as samples:
        for size in SIZES:
            if options.only and not size.prefix.startswith(options.only):
                continue
            size = Size(size.prefix, options.groups or size.groups, size.partitions)
            with Kafka(brokers=3, heap_mib=1024, auto_create_topics=False) as kafka:
                run = _Run(kafka, samples, size, options)
                found, more = run.measure(peers)
            figures |= {size.prefix + name: value for name, value in found.items()}
            rows += more
    if options.peers and not (options.only or options.groups):
        write_generated(REPOSITORY / "docs" / "benchmarks.md", "lag", lag_peers.table(rows))
    return finish(figures, [bar for bar in BARS if bar.figure in figures])


class _Run:
    """One size, on brokers of its own."""

    def __init__(self, kafka: Kafka, samples: Samples, size: Size, options: argparse.Namespace) -> None:
        self._kafka = kafka
        self._samples = samples
        self._size = size
        self._polls: int = options.polls
        self._interval: float = options.interval
        self._ports = [int(address.rpartition(":")[2]) for address in kafka.bootstrap.split(",")]

    def measure(self, peers: list[lag_peers.Peer]) -> tuple[dict[str, float], list[lag_peers.Row]]:
        size = self._size
        crowded = min(CROWDED, size.groups)
        say(f"{size.groups} groups of {size.partitions} partitions, {crowded} of them with {MEMBERS} members")
        crowd = self._program("crowd", f"--partitions={size.partitions}", f"--crowded={crowded}")
        try:
            crowd.wait_until(lambda: JOINED in crowd.log.read_text(), timeout_seconds=900, poll_seconds=1.0)
            figures = self._ours()
            rows = []
            if peers:
                rows.append(self._row("consumer-autoscaler", figures))
                rows += [self._theirs(peer) for peer in peers]
            if crowd.returncode is not None:
                raise ProcessFailed(f"the traffic ended\n{crowd.log_tail()}")
            self._samples.add("crowd", size=size.prefix, tail=crowd.log_tail(3).splitlines())
        finally:
            crowd.stop(grace_seconds=0)
        return {name: figures[name] for name in _FIGURES}, rows

    def _ours(self) -> dict[str, float]:
        say("our own readings")
        reader = self._program("lag_reader", f"--interval={self._interval}")
        try:
            with _MostMemory(reader.pid) as memory:
                first, before = self._at_rest(reader, WARM_POLLS)
                say(f"measuring {self._polls} readings")
                last, after = self._at_rest(reader, first["poll"] + self._polls)
                connections = connections_to(reader.pid, self._ports)
        finally:
            reader.stop(grace_seconds=0)
        lines = [line for line in _lines(reader) if first["poll"] < line["poll"] <= last["poll"]]
        bad = sum(self._size.groups - line["good"] for line in lines)
        asked = requests_between(before, after)
        own = {name: last["requests"].get(name, 0) - first["requests"].get(name, 0) for name in last["requests"]}
        polls = len(lines)
        figures = {
            "requests_per_poll": round(sum(asked.values()) / polls, 2),
            "cpu_s_per_poll": round((last["cpu_s"] - first["cpu_s"]) / polls, 3),
            "rss_mib": round(memory.most_mib, 1),
            "max_loop_block_ms": max(line["block_ms"] for line in lines),
            "connections": connections,
            "seconds_per_poll": round(max(line["seconds"] for line in lines), 2),
        }
        self._samples.add("ours", size=self._size.prefix, figures=figures, asked=asked, own=own, bad=bad, lines=lines)
        say(f"{figures}, asked {asked}, by its own count {own}, not read {bad}")
        if bad:
            raise ProcessFailed(f"{bad} groups were not read\n{reader.log_tail(5)}")
        return figures

    def _at_rest(self, reader: Process, poll: int) -> tuple[dict[str, Any], Counts]:
        """The line of the first reading from `poll` on after which none ended while the brokers were being asked."""
        end = time.monotonic() + 60 + 2 * self._interval * (self._polls + WARM_POLLS)
        while True:
            while not (lines := _lines(reader)) or lines[-1]["poll"] < poll:
                if reader.returncode is not None or time.monotonic() > end:
                    raise ProcessFailed(f"the reader is not read\n{reader.log_tail()}")
                time.sleep(0.1)
            counts = self._kafka.counts()
            if _lines(reader)[-1] == lines[-1]:
                return lines[-1], counts
            poll = lines[-1]["poll"] + 1

    def _theirs(self, peer: lag_peers.Peer) -> lag_peers.Row:
        say(peer.name)
        if isinstance(peer, lag_peers.Absent):
            failed = "not measured: its Go module cannot be had where this was run"
            return lag_peers.Row(peer.name, self._size.groups, self._size.partitions, failed=failed)
        log = self._log(peer.name)
        try:
            process = peer.start(self._kafka.bootstrap, self._size.groups, log)
        except ProcessFailed as error:
            say(f"{peer.name}: {error}")
            return lag_peers.Row(peer.name, self._size.groups, self._size.partitions, failed="did not start")
        try:
            with _MostMemory(process.pid) as memory:
                peer.round(process)  # finds topics, connects
                before, cpu = self._kafka.counts(), Usage.of(process.pid).cpu_seconds
                seconds = max(peer.round(process) for _ in range(lag_peers.ROUNDS))
                cpu = Usage.of(process.pid).cpu_seconds - cpu
                after = self._kafka.counts()
                connections = connections_to(process.pid, self._ports)
        except (TimeoutError, OSError, ProcessFailed) as error:
            say(f"{peer.name}: {error}")
            failed = f"no round within {lag_peers.ROUND_SECONDS:.0f} s" if isinstance(error, TimeoutError) else "failed"
            return lag_peers.Row(peer.name, self._size.groups, self._size.partitions, failed=failed)
        finally:
            process.stop(grace_seconds=0)
        asked = requests_between(before, after)
        figures = {
            "requests_per_poll": round(sum(asked.values()) / lag_peers.ROUNDS, 1),
            "cpu_s_per_poll": round(cpu / lag_peers.ROUNDS, 2),
            "rss_mib": round(memory.most_mib, 1),
            "connections": connections,
            "seconds_per_poll": round(seconds, 2),
        }
        self._samples.add("peer", name=peer.name, size=self._size.prefix, figures=figures, asked=asked)
        say(f"{peer.name}: {figures}, asked {asked}")
        return self._row(peer.name, figures)

    def _row(self, name: str, figures: Mapping[str, float]) -> lag_peers.Row:
        load = round(os.getloadavg()[0], 1)
        return lag_peers.Row(name, self._size.groups, self._size.partitions, figures, load, KAFKA_VERSION)

    def _program(self, name: str, *flags: str) -> Process:
        paths = [str(REPOSITORY), str(REPOSITORY / "operator"), str(REPOSITORY / "deploy" / "dev")]
        command = [sys.executable, "-m", f"tests.bench.{name}", f"--bootstrap={self._kafka.bootstrap}"]
        return Process(
            name,
            [*command, f"--groups={self._size.groups}", *flags],
            log=self._log(name),
            env={"PYTHONPATH": os.pathsep.join(paths)},
            cwd=REPOSITORY,
        )

    def _log(self, name: str) -> Path:
        path = self._samples.path.with_name(f"lag-{self._size.prefix}{name.replace(' ', '-')}.log")
        path.unlink(missing_ok=True)
        return path


class _MostMemory:
    """`with _MostMemory(pid) as memory`: the largest resident memory seen, looked at four times a second."""

    def __init__(self, pid: int) -> None:
        self.most_mib = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _MostMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            try:
                self.most_mib = max(self.most_mib, Usage.of(self._pid).rss_mib)
            except (OSError, KeyError):  # it has ended
                return


def requests_between(before: Counts, after: Counts) -> dict[str, int]:
    found = {name: after.requests.get(name, 0) - before.requests.get(name, 0) for name in ASKING}
    return {name: count for name, count in found.items() if count}


def _lines(reader: Process) -> list[dict[str, Any]]:
    """What it has printed after its readings so far, in order."""
    text = reader.log.read_text()
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [json.loads(line) for line in whole if line.startswith('{"poll"')]
