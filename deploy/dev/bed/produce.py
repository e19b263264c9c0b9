"""A producer that follows a load profile, evenly over the partitions or with one that gets more.

Records carry the time of sending (CreateTime), so that their age at the commit can be told. With `--results` it
appends one JSON line per second: {"at", "sent", "acknowledged", "failed", "planned_per_second"}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path

from aiokafka import AIOKafkaProducer

from bed import pace

_TICK_SECONDS = 0.02
_START_SECONDS = 30.0
_DRAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Profile:
    """Points (seconds since the start, records per second); straight lines between them, constant before the first
    point and, while it lasts, after the last one."""

    points: tuple[tuple[float, float], ...]
    _times: list[float] = field(init=False, repr=False, compare=False)
    _areas: list[float] = field(init=False, repr=False, compare=False)  # until each point

    def __post_init__(self) -> None:
        parts = [(t1 - t0) * (r0 + r1) / 2 for (t0, r0), (t1, r1) in pairwise(self.points)]
        object.__setattr__(self, "_times", [t for t, _ in self.points])
        object.__setattr__(self, "_areas", list(accumulate(parts, initial=self.points[0][0] * self.points[0][1])))

    @classmethod
    def parse(cls, text: str) -> Profile:
        """`0:100,60:1000`, or one number for a constant rate; raises ValueError."""
        if ":" not in text:
            return cls(((0.0, float(text)),))
        pairs = [item.split(":") for item in text.split(",")]
        points = tuple((float(seconds), float(rate)) for seconds, rate in pairs)
        if any(a[0] > b[0] for a, b in pairwise(points)) or any(rate < 0 for _, rate in points):
            raise ValueError("a profile needs rising seconds and rates of 0 or more")
        return cls(points)

    @property
    def end_seconds(self) -> float:
        """The time of the last point."""
        return self.points[-1][0]

    def rate(self, seconds: float) -> float:
        """Records per second at that time."""
        return pace.at(self.points, seconds)

    def records(self, seconds: float) -> float:
        """Records due from the start until then: the area under the profile."""
        (first_at, first_rate), last_rate = self.points[0], self.points[-1][1]
        if seconds <= first_at:
            return seconds * first_rate
        place = bisect_right(self._times, seconds) - 1
        (t0, r0), done = self.points[place], self._areas[place]
        if place + 1 == len(self.points):
            return done + (seconds - t0) * last_rate
        t1, r1 = self.points[place + 1]
        now = r0 + (r1 - r0) * (seconds - t0) / (t1 - t0)
        return done + (seconds - t0) * (r0 + now) / 2


class LoadProducer:
    """Sends what the profile says is due and counts what the broker has acknowledged."""

    def __init__(
        self, bootstrap: str, topic: str, partitions: int, *, record_bytes: int = 100, hot_share: float = 0.0
    ) -> None:
        """`hot_share` of all records go to partition 0 beside its even share of the others."""
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = partitions
        self._value = bytes(record_bytes)
        self._hot_share, self._chance = hot_share, random.Random(topic)
        self.sent = 0
        self.acknowledged = 0
        self.failed = 0

    async def run(
        self, profile: Profile, *, duration_seconds: float, stop: asyncio.Event, results: Path | None = None
    ) -> None:
        """Until the duration is over or `stop` is set; then waits until everything is acknowledged."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all", linger_ms=20, max_batch_size=65_536)
        async with asyncio.timeout(_START_SECONDS):
            await producer.start()
        begin, reported = time.monotonic(), 0.0
        try:
            while not stop.is_set():
                elapsed = min(time.monotonic() - begin, duration_seconds)
                for _ in range(int(profile.records(elapsed)) - self.sent):
                    await self._send(producer)
                if elapsed >= duration_seconds:
                    break
                if elapsed - reported >= 1.0:
                    reported = elapsed
                    self._report(results, profile.rate(elapsed))
                await asyncio.sleep(_TICK_SECONDS)
        finally:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await producer.stop()
            self._report(results, 0.0)

    async def _send(self, producer: AIOKafkaProducer) -> None:
        hot = self._hot_share > 0 and self._chance.random() < self._hot_share
        partition = 0 if hot else self.sent % self._partitions
        future = await producer.send(self._topic, self._value, partition=partition)
        future.add_done_callback(self._settled)
        self.sent += 1

    def _settled(self, future: asyncio.Future[object]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.failed += 1
        else:
            self.acknowledged += 1

    def _report(self, results: Path | None, planned_per_second: float) -> None:
        line = {
            "at": round(time.time(), 3),
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "failed": self.failed,
            "planned_per_second": round(planned_per_second, 1),
        }
        if results is None:
            print(json.dumps(line), flush=True)
        else:
            with results.open("a") as sink:
                sink.write(json.dumps(line) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bed.workload produce", description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--profile", type=Profile.parse, required=True, help="seconds:rate,… or one rate")
    parser.add_argument("--duration", type=float, help="seconds (default: until the profile's last point)")
    parser.add_argument("--hot-share", type=float, default=0.0, help="of the records, to partition 0 besides")
    parser.add_argument("--record-bytes", type=int, default=100)
    parser.add_argument("--results", type=Path, help="append one JSON line per second here, not to stdout")
    options = parser.parse_args(arguments)
    profile: Profile = options.profile
    duration = options.duration or profile.end_seconds or float("inf")

    async def work() -> int:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        load = LoadProducer(
            options.bootstrap,
            options.topic,
            options.partitions,
            record_bytes=options.record_bytes,
            hot_share=options.hot_share,
        )
        await load.run(profile, duration_seconds=duration, stop=stop, results=options.results)
        return 1 if load.failed else 0

    sys.exit(asyncio.run(work()))
