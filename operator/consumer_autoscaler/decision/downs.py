"""Downs pay for themselves: a smaller count is taken when staying above it has cost as much as the switch would.

For each count there is a virtual queue, the backlog it would have had (the idea of ski rental: nobody knows how long
a lull lasts, and paying at most twice the best is the best promise that can be made without knowing). A fixed window
would cost more in lulls and rebalance more in noise.
"""

from __future__ import annotations

from dataclasses import replace

from consumer_autoscaler.decision.capacity import capacity_of
from consumer_autoscaler.decision.history import History, LevelMemory
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.signals import Signals, long_seconds, minute_seconds
from consumer_autoscaler.decision.values import Calmness, Policy, Scale

SWITCH_REPLICA_SECONDS = {Calmness.RESPONSIVE: 0.0, Calmness.BALANCED: 100.0, Calmness.QUIET: 1200.0}
DISTURBANCE_SHARE = 0.5  # of what starting the pods again and the pauses cost, if the down was a mistake
QUEUE_RELIEF = 1.1  # the virtual queue drains so much faster than measured: a level fit to the brim does cope
COPED_SHARE = 1.0  # of the promise: a level must have coped for so long
LONGEST_QUEUE_SHARE, COPES_SHARE = 0.3, 0.25  # of the promise's work
HYSTERESIS = 1.1  # so much below the count of an up that is made ahead of the load
SURE = 3.0  # standard deviations of the load's chance that the count must carry besides its mean
SUREST = 8.0
MOST_SHARE = 0.9  # of the usual load: what swings by more is on and off, and its queue is the better witness
LEAST_NOISE = 0.05  # of the rate: no load is so even that a count should be filled to the brim
SPREAD_SHARE = 0.02  # of the promise: how long a queue the chance alone may build on average


def follow_levels(policy: Policy, history: History, levels: Levels, scale: Scale, previous_at: float | None) -> History:
    """Moves each level's virtual queue on by one poll, and counts what standing above it has cost.

    A level whose queue is long begins its account anew.
    """
    what = capacity_of(policy, history)
    if previous_at is None or len(history.samples) < 2 or what.per_replica <= 0 or policy.max_delay_seconds is None:
        return history
    arrived = history.samples[-1].arrived - history.samples[-2].arrived
    elapsed = history.samples[-1].at - previous_at
    credited = min(elapsed, 2.0 * policy.poll_interval_seconds)  # during an outage nobody saw it cope
    promise = policy.max_delay_seconds
    old = {memory.replicas: memory for memory in history.levels}
    target = max(scale.replicas, history.raised_to or 0)
    moved: list[LevelMemory] = []
    for count in levels.counts:
        sustained = what.per_replica * levels.worth(count)
        memory = old.get(count, LevelMemory(count))
        queue = memory.queue_messages + arrived - elapsed * QUEUE_RELIEF * sustained
        queue = min(max(0.0, queue), LONGEST_QUEUE_SHARE * promise * sustained)
        if count < target and queue <= COPES_SHARE * promise * sustained:
            wasted = memory.wasted_replica_seconds + credited * (target - count)
            moved.append(LevelMemory(count, queue, wasted, memory.coped_seconds + credited))
        else:
            moved.append(LevelMemory(count, queue))
    return replace(history, levels=tuple(moved))


def price_replica_seconds(policy: Policy, history: History, replicas: int, count: int) -> float:
    """What must have been wasted above `count` before the group goes down to it."""
    again = history.start_seconds + history.rebalance_seconds
    disturbed = (replicas - count) * again + history.rebalance_seconds * replicas
    return SWITCH_REPLICA_SECONDS[policy.calmness] + DISTURBANCE_SHARE * disturbed


def paid_down(policy: Policy, history: History, replicas: int, levels: Levels, s: Signals, drain: float) -> int | None:
    """The smallest count that carries the load, has coped, and whose saving has paid for the switch.

    None when there is none. `drain` is how many seconds a backlog may take.
    """
    promise = policy.max_delay_seconds or 60
    memory = {level.replicas: level for level in history.levels}
    for count in levels.counts:
        if count >= replicas:
            break
        past = memory.get(count)
        if past is None:
            continue
        carries = s.sustained(levels, count)
        if (
            carries >= (HYSTERESIS if s.ahead else 1.0) * s.rate + s.backlog / drain
            and past.coped_seconds >= max(2 * policy.poll_interval_seconds, COPED_SHARE * promise)
            and past.wasted_replica_seconds >= price_replica_seconds(policy, history, replicas, count)
            and _carries_safely(policy, s, carries)
        ):
            return count
    return None


def _carries_safely(policy: Policy, s: Signals, carries: float) -> bool:
    """Whether it carries the mean of five minutes and its chance, or the load has clearly fallen below that.

    What chance does to a queue: it grows like a random walk against the spare capacity, to noise² window / (2 spare)
    messages on average (the heavy-traffic formula for a queue of independent increments, Kingman 1962). The spare
    capacity that keeps this below a small share of the promise is asked for, but never more than SUREST or MOST_SHARE.
    """
    window = s.pattern.window_seconds
    chance = replace(s.pattern, noise=max(s.pattern.noise, LEAST_NOISE * s.rate_minute))
    promised = SPREAD_SHARE * (policy.max_delay_seconds or 60)
    spread = s.pattern.noise**2 * window / (2 * carries * promised) if carries > 0 else 0.0

    def with_chance(rate: float, seconds: float, also: float) -> float:
        noise = chance.noise_over(seconds)
        return rate + min(SUREST * noise, SURE * noise + also, MOST_SHARE * s.rate_quarter)

    if carries >= with_chance(s.rate_long, long_seconds(policy), spread):
        return True
    minute = minute_seconds(policy)
    fallen = with_chance(s.rate_minute, minute, 0.0) <= 0.98 * s.rate_long
    return fallen and carries >= with_chance(s.rate_minute, minute, spread)
