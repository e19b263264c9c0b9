"""How many replicas the load needs: the promise in seconds, or the lag per replica.

The law for a promise (found by simulation, see docs/how-it-decides.md) rests on two ideas. *The lag is a clock*: an
up is put off as long as one begun a poll later would still serve the oldest message in time; then it is one step, to
a count that carries the rate and drains slowly. *Downs pay for themselves*: a smaller count is taken once it would
have coped and the replica-seconds wasted since then have paid for the switch, never after a fixed window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from consumer_autoscaler.decision.capacity import MEASURED, SATURATED_SECONDS, capacity_of, commit_interval_seconds
from consumer_autoscaler.decision.downs import paid_down
from consumer_autoscaler.decision.history import LONG_WINDOW_SECONDS, History
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.signals import Signals, signals_of
from consumer_autoscaler.decision.values import GroupReading, OffsetReset, Policy
from consumer_autoscaler.decision.waits import (
    RATE_RESERVE,
    deadline_seconds,
    oldest_if_an_up_waited,
    out_of_turn_seconds,
)

REGRET_SECONDS = 3600.0
HEADROOM = 1.1  # a level is sized for this much more than the rate


@dataclass(frozen=True, slots=True)
class Demand:
    """`replicas` by the law before any limit, and why. `unbounded` is what would be needed if nothing limited it."""

    replicas: int
    unbounded: int
    message: str
    learning: bool = False


def active(policy: Policy, history: History, group: GroupReading) -> bool:
    """Whether there is work: lag above the activation, or arrivals above it since the last reading."""
    if group.lag_messages + group.pending_messages > policy.activation_lag_messages:
        return True
    if wants_first_commit(policy, group):
        return True
    if len(history.samples) < 2:
        return True  # nothing can be said yet
    return history.samples[-1].arrived - history.samples[-2].arrived > policy.activation_lag_messages


def wants_first_commit(policy: Policy, group: GroupReading) -> bool:
    """A group that never committed and starts at the end needs one consumer, or it would never count any lag."""
    return group.never_committed and policy.offset_reset is OffsetReset.LATEST


def lag_per_replica_count(policy: Policy, group: GroupReading) -> int:
    """ceil(lag / lagPerReplica), the rule KEDA and the HPA use, without tolerance and without a capped metric."""
    assert policy.lag_per_replica is not None
    return math.ceil(group.lag_messages / policy.lag_per_replica)


def drain_seconds(promise: int) -> float:
    """In which time a backlog shall be gone: ten promises, but no more than 10 minutes or two promises."""
    return min(10.0 * promise, max(600.0, 2.0 * promise))


def promise_demand(
    policy: Policy,
    history: History,
    group: GroupReading,
    replicas: int,
    levels: Levels,
    *,
    starting: bool,
    now: float,
) -> Demand:
    """The count that keeps the promise; `replicas` itself when there is no reason to move.

    `starting`: pods of an up are not all there yet, then the up may be raised once and nothing else.
    """
    promise = policy.max_delay_seconds
    assert promise is not None
    s = signals_of(policy, history, group, replicas, levels)
    if s is None:
        return Demand(replicas, replicas, "watching: a rate needs two readings")
    if not s.capacity.known:
        return _learning_demand(policy, history, group, replicas, levels, s, now, starting=starting)

    start, pause = history.start_seconds, history.rebalance_seconds
    poll = policy.poll_interval_seconds
    carries = s.sustained(levels, replicas)
    delay = s.delay
    # A short drain makes oversized steps, and a step for what drains by itself costs one more rebalance. Only when
    # messages are far too late, as after an outage, is the backlog to be gone within a promise.
    drain = float(promise) if delay > 2 * promise else drain_seconds(promise)
    grown = max(0.0, s.backlog + start * (s.rate - carries))
    need = HEADROOM * (s.rate + s.rising * (start + pause)) + (grown + pause * s.rate) / drain
    unbounded = math.ceil(need / s.capacity.per_replica - 1e-9) if s.capacity.per_replica > 0 else replicas
    numbers = (
        f"{s.rate:.1f}/s arriving, {s.backlog:.0f} waiting, {s.capacity.per_replica:.1f}/s per replica"
        f" ({s.capacity.source})"
    )
    up = max(levels.next_above(replicas), levels.at_least(need / s.capacity.per_replica))

    if starting:
        behind = s.rate_now > s.sustained(levels, max(replicas, history.raised_to or 0))
        if behind and not history.raised_again and up > replicas:
            return Demand(up, unbounded, f"{numbers}: the load has outgrown the pods that are starting")
        return Demand(replicas, unbounded, f"{numbers}: pods are starting")

    oldest = oldest_if_an_up_waited(history, s, carries, start + poll, pause, now)
    if s.rate > carries:
        oldest += out_of_turn_seconds(s, levels, up, carries, start + poll, pause)
    deadline = deadline_seconds(policy, history)
    overloaded = (1.0 if s.ahead else RATE_RESERVE) * s.rate > carries or s.backlog > (carries - s.rate) * drain
    top = s.sustained(levels, levels.counts[-1])
    if replicas < levels.counts[-1] and (
        (max(oldest, delay) > deadline and overloaded) or (s.rate > 0.9 * top and s.rate_now > carries)
    ):
        return Demand(up, unbounded, f"{numbers}: an up begun one poll later would let messages wait {oldest:.0f} s")

    if s.backlog <= 0.4 * promise * s.rate or s.backlog < 1:
        lower = paid_down(policy, history, replicas, levels, s, drain)
        if lower is not None:
            return Demand(lower, min(unbounded, lower), f"{numbers}: {lower} would have coped for long enough")
        below = [count for count in levels.counts if count < replicas]
        if below and s.capacity.source != MEASURED and _calm(history, s, now):
            return Demand(below[-1], below[-1], f"{numbers}, not measured yet: trying one level less", learning=True)
    return Demand(replicas, unbounded, f"{numbers}: {replicas} carry {carries:.1f}/s")


def _learning_demand(
    policy: Policy,
    history: History,
    group: GroupReading,
    replicas: int,
    levels: Levels,
    s: Signals,
    now: float,
    *,
    starting: bool,
) -> Demand:
    """Nothing is known but what was consumed so far.

    While the backlog grows, that is what the group can do: the clock runs as it does otherwise, but the step is at
    most a doubling. Mostly the capacity is measured before the clock has run out. Down goes one level at a time:
    where what was seen says that it carries the load, or after five calm minutes to find out.
    """
    consumed = history.consumption_rate(max(15.0, policy.poll_interval_seconds)) or 0.0
    message = f"{s.rate:.1f}/s arriving, {consumed:.1f}/s consumed, capacity of a replica not learned yet"
    uncommitted = commit_interval_seconds(policy, history) * max(s.rate, 1.0)
    grows = s.rate_now > 1.02 * consumed and group.lag_messages > uncommitted
    if history.changed_at is not None:
        # What our own rebalance has left behind is no growth: look again when it is over for two polls.
        quiet = history.rebalance_seconds + 2 * policy.poll_interval_seconds
        grows = grows and now - history.changed_at >= quiet
    if grows and replicas < levels.counts[-1]:
        until_start = history.start_seconds + policy.poll_interval_seconds
        oldest = oldest_if_an_up_waited(history, s, consumed, until_start, history.rebalance_seconds, now)
        if max(oldest, s.delay) <= deadline_seconds(policy, history):
            return Demand(replicas, replicas, f"{message}: there is time to measure it", learning=True)
        if starting:
            return Demand(replicas, replicas, f"{message}: pods are starting", learning=True)
        stretch = history.saturation
        if stretch is not None and s.backlog > 0 and now - stretch.since < SATURATED_SECONDS:
            # The next poll measures it. A doubling now would disturb that, and be a second step later on.
            return Demand(replicas, replicas, f"{message}: it is being measured", learning=True)
        worth = levels.worth(replicas) * min(2.0, s.rate / consumed if consumed > 0 else 2.0)
        up = max(levels.next_above(replicas), min(levels.at_least(worth), 2 * replicas))
        return Demand(up, up, f"{message}: the backlog grows", learning=True)
    below = [count for count in levels.counts if count < replicas]
    if (
        below
        and not grows
        and (
            _calm(history, s, now)
            or paid_down(policy, history, replicas, levels, s, drain_seconds(policy.max_delay_seconds or 60))
        )
    ):
        return Demand(below[-1], below[-1], f"{message}: trying one level less", learning=True)
    return Demand(replicas, replicas, message, learning=True)


def _calm(history: History, s: Signals, now: float) -> bool:
    """No backlog now, no change of the count for five minutes, and for an hour none that had to be taken back."""
    since = max(now if history.began_at is None else history.began_at, history.changed_at or -math.inf)
    regretted = history.regretted_at
    if regretted is not None and now - regretted < REGRET_SECONDS:
        return False
    return s.backlog < 1 and now - since >= LONG_WINDOW_SECONDS


def from_zero_demand(policy: Policy, history: History, group: GroupReading, levels: Levels) -> Demand:
    """From 0: straight to the count that clears the backlog within half the promise, if a capacity is remembered."""
    first = levels.counts[0]
    capacity = capacity_of(policy, history)
    if policy.max_delay_seconds is None or not capacity.known or capacity.per_replica <= 0:
        return Demand(first, first, "capacity of a replica not learned yet: start with one", learning=True)
    rate = history.arrival_rate(policy.poll_interval_seconds) or 0.0
    grown = group.lag_messages + history.start_seconds * rate
    need = (HEADROOM * rate + grown / (policy.max_delay_seconds / 2)) / capacity.per_replica
    unbounded = max(first, math.ceil(need - 1e-9))
    return Demand(
        levels.at_least(need),
        unbounded,
        f"{rate:.1f}/s arriving, {group.lag_messages} waiting, {capacity.per_replica:.1f}/s per replica"
        f" ({capacity.source})",
    )
