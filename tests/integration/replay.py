"""Loads played live on the bed and again in the simulator, and how far the two are apart.

The simulator is given what was measured live: how long pods took to start, how long consumers stood still in
rebalances, the moments of the operator's polls. All else is known beforehand: the load, the consumers' rate, their
commit interval, the number of partitions, and the policy, which is the same object in both.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, Self

from tests.traces import TRACES

from bed import lateness
from consumer_autoscaler.decision.levels import levels_for
from consumer_autoscaler.decision.values import OffsetReset, Policy
from consumer_autoscaler.simulation.policy import Ours
from consumer_autoscaler.simulation.run import Outcome, Window, simulate
from consumer_autoscaler.simulation.trace import QUIET, Trace, read_trace
from consumer_autoscaler.simulation.world import Assignor, Duration, Order, Rebalance, World

PARTITIONS, MOST_REPLICAS = 24, 12
RATE_PER_REPLICA = 20.0  # records per second of one consumer
BATCH = 5
COMMIT_SECONDS = 1.0
PROMISE_SECONDS, POLL_SECONDS = 60, 5
_PAUSED = re.compile(r"paused=([0-9.]+)")
_PERCENTS = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Load:
    """A part of a trace, with its rates times `factor`. The second before `first` holds the first rate."""

    name: str
    trace: str
    first: float
    last: float
    factor: float

    def cut(self) -> Trace:
        """The part, from second 0 on."""
        whole = read_trace(TRACES / f"{self.trace}.csv")
        inside = (whole.starts >= self.first) & (whole.starts < self.last)
        starts, rates = whole.starts[inside] - self.first, whole.rates[inside] * self.factor
        return Trace(self.name, starts, rates, self.last - self.first)

    def profile(self, warm_up: float) -> str:
        """For the producer: the first rate while it warms up, then step by step."""
        trace = self.cut()
        edges = [*trace.starts.tolist(), trace.end]
        points = [(0.0, trace.rates[0]), (warm_up, trace.rates[0])]
        for rate, (begin, end) in zip(trace.rates.tolist(), pairwise(edges), strict=True):
            points += [(warm_up + begin + 0.001, rate), (warm_up + end, rate)]
        return ",".join(f"{seconds:.3f}:{rate:.4g}" for seconds, rate in points)


def policy() -> Policy:
    """What the resource on the bed says."""
    return Policy(
        min_replicas=1,
        max_replicas=MOST_REPLICAS,
        max_delay_seconds=PROMISE_SECONDS,
        poll_interval_seconds=POLL_SECONDS,
        expected_records_per_second=RATE_PER_REPLICA,
        offset_reset=OffsetReset.EARLIEST,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """The target as the API server had it from a moment on (seconds since the load began)."""

    at: float
    replicas: int
    ready: int


@dataclass(frozen=True, slots=True)
class Live:
    """What was seen of one group. `polled_at`: the moment of one of the operator's polls."""

    load: Load
    warm_up: float
    changes: tuple[Change, ...]
    ages: lateness.Ages
    polled_at: float

    @property
    def starts(self) -> tuple[float, ...]:
        """Of each up, how long it took until all its pods were ready."""
        found: list[float] = []
        raised: Change | None = None
        for before, after in pairwise(self.changes):
            if after.replicas > before.replicas:
                raised = after
            elif after.replicas < before.replicas:
                raised = None
            if raised is not None and after.ready >= raised.replicas:
                found.append(after.at - raised.at)
                raised = None
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """All of it, for `from_json`."""
        changes = [astuple(change) for change in self.changes]
        ages = {"by_second": dict(self.ages.by_second), "longest_seconds": self.ages.longest_seconds}
        return {
            "load": asdict(self.load),
            "warm_up": self.warm_up,
            "changes": changes,
            "ages": ages,
            "polled_at": self.polled_at,
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        by_second = Counter({int(second): count for second, count in said["ages"]["by_second"].items()})
        return cls(
            Load(**said["load"]),
            said["warm_up"],
            tuple(Change(*change) for change in said["changes"]),
            lateness.Ages(by_second, said["ages"]["longest_seconds"]),
            said["polled_at"],
        )

    def replicas_at(self, seconds: float) -> int:
        place = bisect_right([change.at for change in self.changes], seconds)
        return self.changes[max(0, place - 1)].replicas


@dataclass(frozen=True, slots=True)
class Comparison:
    """Live and simulated. `within`: the share of the time with the replicas at most one useful step apart."""

    name: str
    within: float
    live_percentiles: tuple[float, ...]
    simulated_percentiles: tuple[float, ...]
    live_scalings: tuple[tuple[float, int], ...]
    simulated_scalings: tuple[tuple[float, int], ...]
    replica_hours: tuple[float, float]
    late: tuple[float, float]

    @property
    def delays_agree(self) -> bool:
        """Within a quarter, or three seconds."""
        pairs = zip(self.live_percentiles, self.simulated_percentiles, strict=True)
        return all(abs(live - simulated) <= max(3.0, 0.25 * live) for live, simulated in pairs)

    def text(self) -> str:
        names = ", ".join(f"p{percent}" for percent in _PERCENTS)
        return "\n".join(
            (
                f"{self.name}: {self.within:.1%} of the time within one useful step",
                f"  delay {names}: live {_round(self.live_percentiles)} s,"
                f" simulated {_round(self.simulated_percentiles)} s",
                f"  late: live {self.late[0]:.3%}, simulated {self.late[1]:.3%};"
                f" replica-hours {self.replica_hours[0]:.2f}, {self.replica_hours[1]:.2f}",
                f"  live scalings      {_told(self.live_scalings)}",
                f"  simulated scalings {_told(self.simulated_scalings)}",
            )
        )


def compare(live: Live, starts: Sequence[float], pauses: Sequence[float], *, order: Order = Order.TURNS) -> Comparison:
    """Simulates the same load with what was measured on the bed, of all groups together, and compares."""
    outcome = _simulated(live, starts, pauses, order)
    warm_up, seconds = live.warm_up, range(int(live.load.cut().end))
    levels = levels_for(policy(), PARTITIONS).counts
    there = [count for at, count in outcome.replicas]
    times = [at for at, _ in outcome.replicas]
    near, live_hours = 0, 0
    for second in seconds:
        here = live.replicas_at(warm_up + second)
        simulated = there[bisect_right(times, second) - 1]
        near += abs(_place(levels, here) - _place(levels, simulated)) <= 1
        live_hours += here
    scalings = [(c.at - warm_up, c.replicas) for b, c in pairwise(live.changes) if b.replicas != c.replicas]
    ages = live.ages
    return Comparison(
        name=live.load.name,
        within=near / len(seconds),
        live_percentiles=tuple(percentile(ages.by_second, percent) for percent in _PERCENTS),
        simulated_percentiles=(outcome.lateness.p50, outcome.lateness.p95, outcome.lateness.p99),
        live_scalings=tuple(scalings),
        simulated_scalings=outcome.replicas[1:],
        replica_hours=(live_hours / 3600, outcome.replica_hours),
        late=(ages.late_share(PROMISE_SECONDS), outcome.lateness.late_share),
    )


def _simulated(live: Live, starts: Sequence[float], pauses: Sequence[float], order: Order) -> Outcome:
    trace, warm_up = live.load.cut(), live.warm_up
    world = World(
        topics=(PARTITIONS,),
        records_per_second=RATE_PER_REPLICA,
        start=_duration(starts),
        pause=_duration(pauses),
        rebalance=Rebalance.EAGER,
        assignor=Assignor.ROUNDROBIN,
        order=order,
        commit_seconds=COMMIT_SECONDS,
        tick_seconds=0.5,
    )
    first_look = -warm_up + live.polled_at % POLL_SECONDS
    return simulate(
        trace,
        world,
        Ours(policy(), first_look=first_look),
        window=Window(first=0.0, last=trace.end, warm_up=warm_up),
        promise_seconds=PROMISE_SECONDS,
        noise=QUIET,
        seed=1,
        replicas=live.replicas_at(0.0),
    )


def _duration(seen: Sequence[float]) -> Duration:
    mean = fmean(seen)
    return Duration(mean, pstdev(seen) / mean if mean > 0 else 0.0)


def percentile(by_second: Counter[int], percent: float) -> float:
    """Of ages that are counted in whole seconds, rounded up: evenly spread within each."""
    wanted, below = by_second.total() * percent / 100, 0
    for second, count in sorted(by_second.items()):
        if below + count >= wanted:
            return second - 1 + (wanted - below) / count if second else 0.0
        below += count
    return float(max(by_second, default=0))


def pauses_in(logs: Path) -> list[float]:
    """How long each consumer stood still in each rebalance, by its log."""
    found = (_PAUSED.findall(path.read_text(errors="replace")) for path in logs.rglob("*.log"))
    return [float(seconds) for each in found for seconds in each]


def _place(levels: Sequence[int], count: int) -> int:
    """The position of a count among the useful ones; of another count that of the next one below."""
    return bisect_right(levels, count)


def _round(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def _told(scalings: Sequence[tuple[float, int]]) -> str:
    return ", ".join(f"{at:.0f} s: {count}" for at, count in scalings) or "none"
