"""A group's past, made by the modelled group and kept as an exporter would, and a Prometheus that has it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from tests.unit.simulation_support import group_under

from consumer_autoscaler.simulation.history import Recorded
from consumer_autoscaler.simulation.trace import Floats, Trace
from consumer_autoscaler.simulation.world import World

START = 1_760_000_000.0


@dataclass(frozen=True)
class Point:
    """A group at one moment; arrays by partition."""

    seconds: float
    ended: Floats
    committed: Floats
    replicas: int


def points(
    trace: Trace, world: World, *, replicas: int, scalings: Sequence[tuple[float, int]] = (), step: float = 60.0
) -> Iterator[Point]:
    """What is seen each `step` seconds of a group that is scaled at these seconds."""
    group = group_under(trace, world, replicas=replicas)
    due = list(scalings)
    for at in np.arange(0, trace.end + 1, step).tolist():
        while due and due[0][0] <= at:
            group.advance_to(world.ticks(due[0][0]))
            group.scale(due.pop(0)[1])
        group.advance_to(world.ticks(at))
        yield Point(at, group.ended.copy(), group.committed.copy(), group.replicas)


def made(
    trace: Trace,
    world: World,
    *,
    replicas: int,
    scalings: Sequence[tuple[float, int]] = (),
    step: float = 60.0,
) -> Recorded:
    """The same, as it is recorded."""
    seen = list(points(trace, world, replicas=replicas, scalings=scalings, step=step))
    return Recorded(
        exporter="kafka_exporter",
        start=START,
        step_seconds=step,
        lag=np.array([float((point.ended - point.committed).sum()) for point in seen]),
        committed=np.array([float(point.committed.sum()) for point in seen]),
        partitions=np.full(len(seen), float(sum(world.topics))),
        replicas=np.array([float(point.replicas) for point in seen]),
        replicas_from="kube_deployment_spec_replicas",
        behind=np.array([behind(point.ended - point.committed) for point in seen]),
    )


def behind(lag: Floats) -> float:
    """The partitions whose lag is at least a quarter of the mean."""
    return float(np.count_nonzero(lag >= lag.mean() / 4))


@dataclass
class FakePrometheus:
    """Answers range queries with what `series` gives for the query: one value for each time of its own grid, or None.

    As the real one it answers a point with what was scraped at that time or up to five minutes before it.
    """

    start: float
    step_seconds: float
    series: Callable[[str], Floats | None]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, query: str, *, start: float, end: float, step: float) -> str:
        self.asked.append(query)
        values = self.series(query)
        points = []
        for at in np.arange(start, end + step / 2, step):
            index = math.floor((at - self.start) / self.step_seconds + 1e-6)
            if values is not None and 0 <= index < len(values) and math.isfinite(values[index]):
                points.append([float(at), f"{values[index]:.6f}"])
        result = [{"metric": {}, "values": points}] if points else []
        return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def kafka_exporter(recorded: Recorded) -> Callable[[str], Floats | None]:
    """Of a cluster with kafka_exporter and kube-state-metrics, scraped at each point."""

    def series(query: str) -> Floats | None:
        ten_minutes = np.full(len(recorded.lag), 600 / recorded.step_seconds)
        answers = {
            "max(count_over_time(kafka_consumergroup_lag": ten_minutes,
            "sum(max by (topic, partition) (kafka_consumergroup_lag": recorded.lag,
            "count(max by (topic, partition) (kafka_consumergroup_lag": (
                recorded.behind if "scalar" in query else recorded.partitions
            ),
            "sum(max by (topic, partition) (kafka_consumergroup_current_offset": recorded.committed,
            "max(kube_deployment_spec_replicas": recorded.replicas,
        }
        return next((values for start, values in answers.items() if query.startswith(start)), None)

    return series
