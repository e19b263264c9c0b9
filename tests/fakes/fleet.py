"""A real fleet of real autoscalers without a cluster and without brokers: what they read is said, what they write kept.

For what would take too many parts otherwise, such as the metrics of ten thousand resources. Observation, decision,
report and counts are the operator's own; the API server and the source are stand-ins.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from consumer_autoscaler.cluster.objects import TargetKey
from consumer_autoscaler.cluster.targets import TargetView
from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.decision.values import GroupReading, PartitionReading, ProcessingTime, Unavailable
from consumer_autoscaler.durations import Durations
from consumer_autoscaler.runtime.autoscaler import Parts
from consumer_autoscaler.runtime.fleet import Fleet
from consumer_autoscaler.runtime.metrics.loop_lag import LoopLag
from consumer_autoscaler.runtime.metrics.meters import Meters
from consumer_autoscaler.runtime.metrics.page import Page
from consumer_autoscaler.runtime.metrics.process import Process
from consumer_autoscaler.sources.kafka.stats import ReadingStats
from consumer_autoscaler.sources.protocol import GroupRequest

START = 1_800_000_000.0
POLL_SECONDS = 15
Reading = GroupReading | Unavailable


def body(name: str, *, namespace: str = "shop", **spec: object) -> dict[str, Any]:
    """A resource that asks for all there is: a promise, processing time, an alert."""
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": f"{namespace}/{name}", "generation": 1},
        "spec": {
            "targetRef": {"name": name},
            "mode": "Observe",
            "maxReplicas": 20,
            "sources": [{"kafka": {"bootstrapServers": "kafka:9092", "consumerGroup": f"{name}-group"}}],
            "objective": {"maxDelaySeconds": 60},
            "capacity": {"expectedRecordsPerMinute": 6000},
            "alerts": [{"name": "far-behind", "lagMessages": 10_000}],
            "scaling": {"pollIntervalSeconds": POLL_SECONDS},
            **spec,
        },
    }


def reading(at: float, *, done: int, lag: int, partitions: int = 8) -> GroupReading:
    """Of a group that has committed so much on each partition and is so far behind there."""
    rows = tuple(PartitionReading("orders", p, done, 0, done + lag, lag) for p in range(partitions))
    return GroupReading(
        at=at, state=GroupState.STABLE, members=2, assignor="range", partitions=rows, partition_ceiling=partitions
    )


def measured(at: float) -> ProcessingTime:
    """By a histogram."""
    return ProcessingTime(
        at=at, seconds_per_record=0.01, records=1000, p50_seconds=0.008, p95_seconds=0.03, p99_seconds=0.05, source="x"
    )


@dataclass
class Source:
    """Each group gets what `said` has for it, once for each tick."""

    said: Callable[[str, float], Reading]
    now: float = START
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    again: list[tuple[str, float]] = field(default_factory=list)  # which group was to be read once more, and how soon
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def subscribe(self, _namespace: str, _kafka: object, request: GroupRequest) -> _Subscription:
        return _Subscription(self, request.consumer_group)

    async def turn(self) -> None:
        """Waits for the next tick."""
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        self._changed.set()
        try:
            await turn
        except asyncio.CancelledError:  # its resource has gone
            if turn in self.waiting:
                self.waiting.remove(turn)
            raise

    async def tick(self, readers: int, seconds: float = POLL_SECONDS) -> None:
        """Everybody reads once; returns when all have worked on it."""
        await self._until_waiting(readers)
        self.now += seconds
        due, self.waiting = self.waiting, []
        for each in due:
            each.set_result(None)
        await self._until_waiting(readers)

    async def _until_waiting(self, readers: int) -> None:
        while len(self.waiting) < readers:
            self._changed.clear()
            await self._changed.wait()


@dataclass
class _Subscription:
    source: Source
    group: str

    async def next(self) -> Reading:
        await self.source.turn()
        return self.source.said(self.group, self.source.now)

    def look_up_older_than(self, seconds: float | None) -> None:
        pass

    def look_again(self, seconds: float) -> None:
        self.source.again.append((self.group, seconds))

    def close(self) -> None:
        pass


@dataclass
class Cluster:
    """Every target there is, with two ready replicas; statuses are taken and kept."""

    time: Callable[[], ProcessingTime | Unavailable | None]
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    request_seconds: dict[str, Durations] = field(default_factory=dict)
    statuses: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    async def patch_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        self.statuses[f"{namespace}/{name}"] = status

    def get(self, key: TargetKey) -> TargetView | None:
        if key.name in self.gone:
            return None
        return TargetView(uid=key.name, replicas=2, ready=2, rolling=False, selector=f"app={key.name}", scaled_at=None)

    def of(self, *_: object) -> None:
        """No rival."""

    async def read(self, *_: object) -> ProcessingTime | Unavailable | None:
        return self.time()

    def forget(self, _: object) -> None:
        pass

    def record(self, *_: object, **__: object) -> None:
        """Events are not looked at."""


class Lone:
    """`fleet`, `page` and `source` of an operator that is alone in the world. `leader` may be changed."""

    def __init__(
        self, said: Callable[[str, float], Reading], time: Callable[[float], ProcessingTime | Unavailable | None]
    ) -> None:
        self.source = Source(said)
        self.cluster = Cluster(lambda: time(self.source.now))
        self.leader = True
        self.meters, self.stats = Meters(), ReadingStats()
        parts = Parts(
            kube=cast(Any, self.cluster),
            targets=cast(Any, self.cluster),
            processing=cast(Any, self.cluster),
            events=cast(Any, self.cluster),
            clock=lambda: self.source.now,
            may_write=lambda: self.leader,
            access=cast(Any, self.source),
            rivals=cast(Any, self.cluster),
            meters=self.meters,
        )
        self.fleet = Fleet(parts)
        self.page = Page(
            Process(
                fleet=self.fleet,
                kube=cast(Any, self.cluster),
                readings=lambda: self.stats,
                leader=lambda: self.leader,
                health=lambda: 0,
                listed_at=lambda: self.source.now,
                source_seconds={"kafka": self.stats.request_seconds},
                meters=self.meters,
                loop_lag=LoopLag(),
            )
        )

    async def tick(self) -> None:
        """A cycle of every resource."""
        await self.source.tick(sum(1 for _ in self.fleet))

    async def text(self) -> str:
        """The whole page."""
        return b"".join([piece async for piece in self.page()]).decode()
