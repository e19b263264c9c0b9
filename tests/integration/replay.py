"""Loads played live on the bed and again in the simulator, and how far the two are apart.

The simulator is given what was measured live: how long pods took to start, how long consumers stood still in
rebalances, the moments of the operator's polls. All else is known beforehand: the load, the consumers' rate, their
commit interval, the number of partitions, and the policy, which is the same object in both.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, Self

from tests.traces import TRACES

from bed import lateness
from consumer_autoscaler.decision.levels import levels_for
from consumer_autoscaler.decision.values import OffsetReset, Policy
from consumer_autoscaler.simulation.policy import Ours, Plan, Scaler
from consumer_autoscaler.simulation.run import Outcome, Window, simulate
from consumer_autoscaler.simulation.trace import QUIET, Trace, read_trace
from consumer_autoscaler.simulation.world import Assignor, Duration, Order, Rebalance, World

PARTITIONS, MOST_REPLICAS = 24, 12
RATE_PER_REPLICA = 20.0  # records per second of one consumer
BATCH = 5
COMMIT_SECONDS = 1.0
PROMISE_SECONDS, POLL_SECONDS = 60, 5
_PAUSED = re.compile(r"paused=([0-9.]+)")
_BUSY = re.compile(r"busy_records=(\d+) busy_seconds=([0-9.]+)")
_PERCENTS = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Load:
    """A part of a trace, with its rates times `factor`."""

    name: str
    trace: str
    first: float
    last: float
    factor: float

    def played(self, warm_up: float) -> Trace:
        """What arrives from the beginning of the load on: the first rate while it warms up, then the part."""
        whole = read_trace(TRACES / f"{self.trace}.csv")
        inside = (whole.starts >= self.first) & (whole.starts < self.last)
        starts, rates = whole.starts[inside] - self.first + warm_up, whole.rates[inside] * self.factor
        starts[0] = 0.0
        return Trace(self.name, starts, rates, self.last - self.first + warm_up)

    def profile(self, warm_up: float) -> str:
        """The same for the producer, step by step."""
        trace = self.played(warm_up)
        edges = pairwise([*trace.starts.tolist(), trace.end])
        steps = [((begin + 0.001, rate), (end, rate)) for rate, (begin, end) in zip(trace.rates, edges, strict=True)]
        return ",".join(f"{seconds:.3f}:{rate:.4g}" for step in steps for seconds, rate in step)


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
class Measured:
    """Of all groups of a run: how long pods took to start and consumers stood still, and what a consumer can do."""

    starts: Sequence[float]
    pauses: Sequence[float]
    records_per_second: float = RATE_PER_REPLICA


@dataclass(frozen=True, slots=True)
class Comparison:
    """Live and simulated. `within`: the share of the time with the replicas at most one useful step apart."""

    name: str
    within: float
    live_percentiles: tuple[float, ...]
    simulated_percentiles: tuple[float, ...]
    percentiles_as_scaled: tuple[float, ...]  # simulated, with the replicas that were there live
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
                f" simulated {_round(self.simulated_percentiles)} s,"
                f" simulated with the live replicas {_round(self.percentiles_as_scaled)} s",
                f"  late: live {self.late[0]:.3%}, simulated {self.late[1]:.3%};"
                f" replica-hours {self.replica_hours[0]:.2f}, {self.replica_hours[1]:.2f}",
                f"  live scalings      {_told(self.live_scalings)}",
                f"  simulated scalings {_told(self.simulated_scalings)}",
            )
        )


def compare(live: Live, measured: Measured, *, order: Order = Order.TURNS) -> Comparison:
    """Simulates the same load with what was measured on the bed, and compares."""
    scaler = Ours(policy(), first_look=live.polled_at % POLL_SECONDS)
    outcome = _simulated(live, measured, order, scaler)
    plan = Plan([(change.at, change.replicas) for change in live.changes])
    as_scaled = _simulated(live, measured, order, plan).lateness
    warm_up = live.warm_up
    seconds = range(int(warm_up), int(live.load.played(warm_up).end))
    levels = levels_for(policy(), PARTITIONS).counts
    there = [count for at, count in outcome.replicas]
    times = [at for at, _ in outcome.replicas]
    near, live_hours = 0, 0
    for second in seconds:
        here = live.replicas_at(second)
        simulated = there[bisect_right(times, second) - 1]
        near += abs(_place(levels, here) - _place(levels, simulated)) <= 1
        live_hours += here
    scalings = [(c.at, c.replicas) for b, c in pairwise(live.changes) if b.replicas != c.replicas]
    ages = live.ages
    return Comparison(
        name=live.load.name,
        within=near / len(seconds),
        live_percentiles=tuple(percentile(ages.by_second, percent) for percent in _PERCENTS),
        simulated_percentiles=(outcome.lateness.p50, outcome.lateness.p95, outcome.lateness.p99),
        percentiles_as_scaled=(as_scaled.p50, as_scaled.p95, as_scaled.p99),
        live_scalings=tuple(scalings),
        simulated_scalings=outcome.replicas[1:],
        replica_hours=(live_hours / 3600, outcome.replica_hours),
        late=(ages.late_share(PROMISE_SECONDS), outcome.lateness.late_share),
    )


def _simulated(live: Live, measured: Measured, order: Order, scaler: Scaler) -> Outcome:
    trace = live.load.played(live.warm_up)
    world = World(
        topics=(PARTITIONS,),
        records_per_second=measured.records_per_second,
        start=_duration(measured.starts),
        pause=_duration(measured.pauses),
        rebalance=Rebalance.EAGER,
        assignor=Assignor.ROUNDROBIN,
        order=order,
        commit_seconds=COMMIT_SECONDS,
        tick_seconds=0.5,
    )
    return simulate(
        trace,
        world,
        scaler,
        window=Window(first=live.warm_up, last=trace.end, warm_up=live.warm_up),
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
    return [float(seconds) for text in _texts(logs) for seconds in _PAUSED.findall(text)]


def pace_in(logs: Path) -> float:
    """Records per second of a consumer that always has work, by the logs of all consumers that have ended."""
    found = [(int(records), float(seconds)) for text in _texts(logs) for records, seconds in _BUSY.findall(text)]
    return sum(records for records, _ in found) / sum(seconds for _, seconds in found)


def _texts(logs: Path) -> Iterator[str]:
    return (path.read_text(errors="replace") for path in logs.rglob("*.log"))


def _place(levels: Sequence[int], count: int) -> int:
    """The position of a count among the useful ones; of another count that of the next one below."""
    return bisect_right(levels, count)


def _round(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def _told(scalings: Sequence[tuple[float, int]]) -> str:
    return ", ".join(f"{at:.0f} s: {count}" for at, count in scalings) or "none"
