"""The numbers of one moment that a promise is kept by: rates, backlog, capacity."""

from __future__ import annotations

from dataclasses import dataclass

from consumer_autoscaler.decision.capacity import Capacity, capacity_of, commit_interval_seconds
from consumer_autoscaler.decision.history import KEEP_SECONDS, LONG_WINDOW_SECONDS, SHORT_WINDOW_SECONDS, History
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.pattern import Pattern, largest_rise, pattern_of
from consumer_autoscaler.decision.stuck import delay_without, lag_without, stuck_partitions
from consumer_autoscaler.decision.values import GroupReading, Policy

MOST_BY_CHANCE = 6.0  # standard deviations; beyond them a change is one whatever came before
MOST_BY_CHANCE_LONG = 3.0  # the same, for five minutes against a quarter of an hour
SURE_OF_RISE = 2.0  # the same, for a rise to be a trend
LEAST_AHEAD = 0.3  # of the rate, for a promise of no time at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Rates in records per second."""

    rate: float  # what to size for, `ahead` included
    ahead: float  # how much of it is kept ready because help would come too late
    rate_now: float  # over one poll, without what is taken for chance
    rate_minute: float  # over a minute, as it was
    rate_long: float  # over five minutes
    rate_quarter: float  # over a quarter of an hour
    rising: float  # how much it grows in a second, seen twice in a row, so a jump is not taken for a ramp
    backlog: float  # messages, without those that are only not committed yet
    delay: float  # how long the oldest has waited, in seconds; like the backlog without partitions that are stuck
    capacity: Capacity
    pattern: Pattern

    def sustained(self, levels: Levels, replicas: int) -> float:
        """What so many replicas can do, in records per second."""
        return self.capacity.per_replica * levels.worth(replicas)


def reaction_seconds(policy: Policy, history: History) -> float | None:
    """From the moment a load has risen until more pods work and have committed: the shortest promise that ups can keep.

    A rise is seen after half a poll on average. None before a start and a rebalance have been seen.
    """
    if not history.start_seconds_seen or not history.rebalance_seconds_seen:
        return None
    helped = history.start_seconds + history.rebalance_seconds
    return policy.poll_interval_seconds / 2 + helped + commit_interval_seconds(policy, history)


def minute_seconds(policy: Policy) -> float:
    return max(SHORT_WINDOW_SECONDS, 4.0 * policy.poll_interval_seconds)


def long_seconds(policy: Policy) -> float:
    return max(LONG_WINDOW_SECONDS, 20.0 * policy.poll_interval_seconds)


def signals_of(policy: Policy, history: History, group: GroupReading, replicas: int, levels: Levels) -> Signals | None:
    """None until two readings have been seen."""
    poll = policy.poll_interval_seconds
    now = history.arrival_rate(poll)
    if now is None:
        return None
    two = history.arrival_rate(2 * poll) or now
    minute = history.arrival_rate(minute_seconds(policy)) or now
    long = history.arrival_rate(long_seconds(policy)) or now
    pattern = pattern_of(history.samples, poll)
    quarter = history.arrival_rate(KEEP_SECONDS) or now
    usual = pattern.likely(long, quarter, long_seconds(policy), MOST_BY_CHANCE_LONG)
    likely_minute = pattern.likely(minute, usual, minute_seconds(policy), MOST_BY_CHANCE)
    likely_now = pattern.likely(now, likely_minute, poll, MOST_BY_CHANCE)
    latest, seconds = _latest(history)
    if seconds < 0.5 * poll and latest > now:
        # A second look at a jump, see looks: a whole poll would still be half the load of before.
        likely_now = max(likely_now, pattern.likely(latest, likely_now, seconds, MOST_BY_CHANCE))
    falling = now < two < minute
    rate = max(now, (now + two) / 2) if falling else max(likely_now, likely_minute)
    ahead = _ahead(policy, history, rate)
    capacity = capacity_of(policy, history)
    pace = min(now, capacity.per_replica * levels.worth(replicas)) if capacity.known else now
    stuck = stuck_partitions(policy, group, history)
    delay = delay_without(group, history, stuck) or 0.0
    uncommitted = commit_interval_seconds(policy, history)
    backlog = lag_without(group, stuck) - uncommitted * pace
    if levels.uneven_worths:
        # The fullest consumer is behind, and most of the others are not: as if all had got as far as its oldest.
        behind = history.arrived_before(history.samples[-1].at - max(0.0, delay - uncommitted))
        backlog = max(backlog, history.samples[-1].arrived - behind)
    return Signals(
        rate=rate + ahead,
        ahead=ahead,
        rate_now=likely_now + ahead,
        rate_minute=minute,
        rate_long=long,
        rate_quarter=quarter,
        rising=_rising(history, pattern),
        backlog=max(0.0, backlog),
        delay=delay,
        capacity=capacity,
        pattern=pattern,
    )


def _latest(history: History) -> tuple[float, float]:
    """Records per second between the last two readings, and how many seconds lie between them."""
    before, now = history.samples[-2:]
    seconds = now.at - before.at
    return ((now.arrived - before.arrived) / seconds if seconds > 0 else 0.0), seconds


def _rising(history: History, pattern: Pattern) -> float:
    """Records per second and second by which the rate grows, the lesser growth of the last two windows."""
    window = pattern.window_seconds
    one = history.arrival_rate(window) or 0.0
    two = history.arrival_rate(2 * window) or one
    three = history.arrival_rate(3 * window) or two
    before, earlier = 2 * two - one, 3 * three - 2 * two
    growth = min(one - before, before - earlier) - SURE_OF_RISE * pattern.noise
    return max(0.0, growth / window)


def _ahead(policy: Policy, history: History, rate: float) -> float:
    """What to keep ready where a promise is shorter than the time in which pods can help.

    After a rise like the largest of late, messages wait (poll + S)(1 - C / rate) until the pods are there, then for
    the pause and the commit: the capacity C that keeps this within the promise, and a share of the rate in any case.
    """
    reaction, promise = reaction_seconds(policy, history), policy.max_delay_seconds
    if promise is None or reaction is None or promise >= reaction:
        return 0.0
    until_start = policy.poll_interval_seconds + history.start_seconds
    left = max(0.0, promise - history.rebalance_seconds - commit_interval_seconds(policy, history))
    rise = largest_rise(history.samples, policy.poll_interval_seconds, reaction)
    needed = (rate + rise) * (1 - left / until_start)
    return max(LEAST_AHEAD * (1 - promise / reaction) * rate, needed - rate)
