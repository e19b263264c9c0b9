"""The oracle's plan for a modelled group: what it is told, and how its plan is carried out there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from consumer_autoscaler.simulation.oracle import Problem, solve
from consumer_autoscaler.simulation.run import Window
from consumer_autoscaler.simulation.trace import CHUNK_TICKS, Arrivals, Floats, Noise, Trace
from consumer_autoscaler.simulation.world import Rebalance, World, assign

SHORT_SECONDS = 3600.0  # up to here plans are made by 5 s, beyond by 30 s
SHORT_STEP, LONG_STEP = 5.0, 30.0
UNEVEN_SHARE = 0.1  # of the promise, kept back for partitions that random arrivals leave behind the others
MOST_COUNTS = 20  # to choose from; the work grows with their square


@dataclass(frozen=True, slots=True)
class PlanFound:
    """`steps` as (second of the trace, replicas); costs in replica-seconds, warm-up included."""

    steps: tuple[tuple[float, int], ...]
    cost: float
    lower_bound: float | None


def plan(
    trace: Trace,
    world: World,
    *,
    window: Window,
    noise: Noise,
    seed: int,
    promise_seconds: float,
    low: int,
    high: int,
    bound: bool = False,
    switch_cost: float = 10.0,
    progress: Callable[[float], None] | None = None,
) -> PlanFound:
    """The cheapest counts for exactly the arrivals that a run with this seed has.

    A message must be processed a commit interval before the promise is over, and with noise a tenth of it earlier: the
    plan knows the sum over partitions only. Where only partitions that move pause, the plan's rebalances cost nothing:
    there it is cheaper than what can be had. Faults are not foreseen.
    """
    begin = window.first - window.warm_up
    step = SHORT_STEP if window.last - window.first <= SHORT_SECONDS else LONG_STEP
    step = min(step, max(1.0, promise_seconds / 6))
    arrivals = Arrivals(
        trace, world.partition_weights(), begin=begin, end=window.last, tick=world.tick_seconds, noise=noise, seed=seed
    )
    counts, sustained, all_of_them = _at_most(MOST_COUNTS, *useful_counts(world, low, high))
    eager = world.rebalance is Rebalance.EAGER
    uneven = UNEVEN_SHARE if noise.poisson else 0.0
    solution = solve(
        Problem(
            arrivals=_by_step(arrivals, world.ticks(step)),
            step_seconds=world.ticks(step) * world.tick_seconds,
            counts=counts,
            sustained=sustained,
            start_seconds=world.start.mean_seconds,
            pause_seconds=world.pause.mean_seconds if eager else 0.0,
            promise_seconds=max(promise_seconds * (1 - uneven) - world.commit_seconds, promise_seconds / 2),
            switch_cost=switch_cost,
        ),
        bound=bound and all_of_them,
        progress=progress,
    )
    return PlanFound(
        tuple((begin + at * step, count) for at, count in solution.plan),
        solution.cost,
        solution.lower_bound if all_of_them else None,
    )


def _at_most(
    most: int, counts: tuple[int, ...], sustained: tuple[float, ...]
) -> tuple[tuple[int, ...], tuple[float, ...], bool]:
    """Evenly chosen where there are too many, and whether these are all: only then is there a bound."""
    if len(counts) <= most:
        return counts, sustained, True
    chosen = sorted({round(i * (len(counts) - 1) / (most - 1)) for i in range(most)})
    return tuple(counts[i] for i in chosen), tuple(sustained[i] for i in chosen), False


def useful_counts(world: World, low: int, high: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The counts from `low` to `high` that sustain more than fewer do, and what each sustains, skew included."""
    weights = world.partition_weights() / world.partition_weights().sum()
    partitions, each = sum(world.topics), world.records_per_second / world.consumers_per_pod
    counts: list[int] = []
    sustained: list[float] = []
    for replicas in range(low, max(low, min(high, partitions)) + 1):
        members = range(replicas * world.consumers_per_pod)
        owners = assign(world.assignor, world.topics, members, [-1] * partitions)
        fullest = float(np.bincount(owners, weights, len(members)).max())
        rate = each / fullest
        if not sustained or rate > sustained[-1] * (1 + 1e-9):
            counts.append(replicas)
            sustained.append(rate)
    return tuple(counts), tuple(sustained)


def _by_step(arrivals: Arrivals, ticks: int) -> Floats:
    sums = [0.0]
    at = 0
    while at < arrivals.ticks:
        taken = arrivals.take(at, min(CHUNK_TICKS, arrivals.ticks - at))
        sums.extend((sums[-1] + np.cumsum(taken.sum(axis=1))).tolist())
        at += len(taken)
    edges = np.array(sums)[:: max(1, ticks)]
    return np.diff(edges)
