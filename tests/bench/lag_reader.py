"""What `bench lag` measures: the source of lag alone in a process, reading many groups of one cluster.

After each reading of all groups it prints a line of JSON: what the process has cost and counted by then, and the
longest time since the line before that the event loop was busy without a look at its sockets.

`block_ms` is a turn of the loop in the thread's CPU time, or in wall time when the thread gave up the processor by
itself in that turn (a call that blocks); so what other processes took from it does not count. `wall_ms` is with it.

python -m tests.bench.lag_reader --bootstrap … --groups 1000 --interval 15
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import selectors
import time
from typing import Any

from tests.addresses import ON_THIS_MACHINE
from tests.bench.crowd import group_name

from consumer_autoscaler.decision.values import GroupReading
from consumer_autoscaler.runtime.pauses import short_pauses  # as the operator has it
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.protocol import GroupRequest, Subscription


class TimedSelector(selectors.DefaultSelector):
    """Notes how long the event loop lets its sockets wait."""

    def __init__(self) -> None:
        super().__init__()
        self.block_ms = 0.0
        self.wall_ms = 0.0
        self._began = self._now()

    def select(self, timeout: float | None = None) -> Any:
        wall, cpu, switches = (now - then for now, then in zip(self._now(), self._began, strict=True))
        self.wall_ms = max(self.wall_ms, wall * 1000)
        self.block_ms = max(self.block_ms, (wall if switches else cpu) * 1000)
        ready = super().select(timeout)
        self._began = self._now()
        return ready

    def take(self) -> tuple[float, float]:
        """The most since the last call: `block_ms`, `wall_ms`."""
        most, self.block_ms, self.wall_ms = (self.block_ms, self.wall_ms), 0.0, 0.0
        return most

    @staticmethod
    def _now() -> tuple[float, float, int]:
        return time.perf_counter(), time.thread_time(), resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Reader:
    """Waits for every group's readings as the operator does: a task for each."""

    def __init__(self, source: KafkaLagSource, selector: TimedSelector, groups: int) -> None:
        self._source = source
        self._selector = selector
        self._groups = groups
        self._came = self._good = self._polls = self._lag = 0
        self._why = ""  # of one that could not be read

    async def follow(self, subscription: Subscription) -> None:
        while True:
            reading = await subscription.next()
            self._came += 1
            if isinstance(reading, GroupReading):
                self._good += 1
                self._lag += reading.lag_messages or 0
            else:
                self._why = reading.message
            if self._came == self._groups:
                self._report()

    def _report(self) -> None:
        block, wall = self._selector.take()
        self._polls += 1
        line = {
            "poll": self._polls,
            "cpu_s": time.process_time(),
            "block_ms": round(block, 2),
            "wall_ms": round(wall, 2),
            "good": self._good,
            "why": self._why,
            "lag": self._lag,
            "requests": dict(self._source.stats.requests),
            "seconds": round(self._source.stats.last_batch_seconds, 3),
        }
        self._came = self._good = self._lag = 0
        self._why = ""
        print(json.dumps(line), flush=True)


async def _run(options: argparse.Namespace, selector: TimedSelector) -> None:
    source = KafkaLagSource(time.time, request_timeout_seconds=10, policy=ON_THIS_MACHINE)
    reader = Reader(source, selector, options.groups)
    async with asyncio.TaskGroup() as tasks:
        for number in range(options.groups):
            request = GroupRequest(
                bootstrap_servers=tuple(options.bootstrap.split(",")),
                consumer_group=group_name(number),
                interval_seconds=options.interval,
            )
            tasks.create_task(reader.follow(source.subscribe(request)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lag_reader", description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--groups", type=int, required=True)
    parser.add_argument("--interval", type=float, default=15.0, help="seconds")
    selector = TimedSelector()
    options = parser.parse_args()
    with short_pauses(), asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(_run(options, selector))


if __name__ == "__main__":
    main()
