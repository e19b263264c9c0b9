"""One policy against one load: the run, and what it comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consumer_autoscaler.simulation.group import Group
from consumer_autoscaler.simulation.ledger import Lateness, Ledger
from consumer_autoscaler.simulation.policy import Scaler
from consumer_autoscaler.simulation.trace import Arrivals, Noise, Trace
from consumer_autoscaler.simulation.world import World

REVERSAL_SECONDS = 600.0
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What of the trace is measured, [first, last) in its seconds, after `warm_up` seconds that are not. Before the
    trace begins its first rate holds.
    """

    first: float
    last: float
    warm_up: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run in numbers, all of the measured window. Replica-hours count from the request on."""

    lateness: Lateness
    replica_hours: float
    scalings: int
    scalings_per_day: float
    reversals: int  # scalings in the other direction within 600 s of the one before
    rebalance_share: float  # of the time
    replicas: tuple[tuple[float, int], ...] = field(repr=False)  # (second, count from then on), warm-up included
    delays: tuple[tuple[float, float], ...] = field(repr=False)  # (second, longest delay about then)


def simulate(
    trace: Trace,
    world: World,
    scaler: Scaler,
    *,
    window: Window,
    promise_seconds: float,
    noise: Noise,
    seed: int,
    replicas: int = 1,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Runs `scaler` from `window.first - window.warm_up` to `window.last`, beginning with `replicas`.

    Same trace, world, noise and seed: same arrivals, whoever scales. `progress` is told the share that is done.
    """
    begin, tick = window.first - window.warm_up, world.tick_seconds
    arrivals = Arrivals(
        trace, world.partition_weights(), begin=begin, end=window.last, tick=tick, noise=noise, seed=seed
    )
    first, last = world.ticks(window.warm_up), arrivals.ticks
    ledger = Ledger(arrivals, promise_seconds=promise_seconds, first=first, last=last)
    group = Group(world, arrivals, ledger, replicas=replicas, seed=seed)
    told = 0
    while (at := scaler.next_look) <= window.last:
        due = max(group.now, math.ceil((at - begin) / tick - 1e-9))
        if due >= last:
            break
        group.advance_to(due)
        wanted = scaler.look(group)
        if wanted is not None:
            group.scale(wanted)
        if progress is not None and due * 200 // last > told:
            told = due * 200 // last
            progress(due / last)
    group.advance_to(last)
    group.finish()
    return _outcome(group, ledger, first=first, last=last, initial=replicas)


def _outcome(group: Group, ledger: Ledger, *, first: int, last: int, initial: int) -> Outcome:
    tick, begin = group.world.tick_seconds, group.arrivals.begin
    changes = [(0, initial), *((at, to) for at, _, to in group.scalings)]
    ends = [at for at, _ in changes[1:]] + [last]
    ticks = sum(max(0, min(end, last) - max(at, first)) * count for (at, count), end in zip(changes, ends, strict=True))
    span = (last - first) * tick
    counted = [index for index, (at, _, _) in enumerate(group.scalings) if first <= at < last]
    unstable = sum(max(0, min(end, last) - max(start, first)) for start, end in group.unstable)
    return Outcome(
        lateness=ledger.lateness(),
        replica_hours=ticks * tick / 3600,
        scalings=len(counted),
        scalings_per_day=len(counted) / span * DAY_SECONDS,
        reversals=sum(1 for index in counted if _reverses(group.scalings, index, REVERSAL_SECONDS / tick)),
        rebalance_share=unstable / (last - first),
        replicas=tuple((begin + at * tick, count) for at, count in changes),
        delays=tuple((begin + at, delay) for at, delay in ledger.delays()),
    )


def _reverses(scalings: Sequence[tuple[int, int, int]], index: int, within_ticks: float) -> bool:
    if index == 0:
        return False
    (before, old_from, old_to), (at, new_from, new_to) = scalings[index - 1], scalings[index]
    return at - before <= within_ticks and (old_to > old_from) != (new_to > new_from)
