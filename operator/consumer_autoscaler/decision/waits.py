"""The lag as a clock: how long the oldest message will have waited when help has come."""

from __future__ import annotations

import math

from consumer_autoscaler.decision.capacity import commit_interval_seconds
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.signals import Signals
from consumer_autoscaler.decision.values import Policy

RESERVE_SHARE = 0.13  # of the promise, since start and pause are only as well known as the last few were alike
UNUSED_SHARE = 0.25  # of what the promise is longer than a reaction takes: a backlog is a debt
RATE_RESERVE = 1.05  # future arrivals are reckoned with so much more


def deadline_seconds(policy: Policy, history: History) -> float:
    """How old a message may get before an up must have helped: the promise less its commit and a reserve."""
    promise = policy.max_delay_seconds or 60
    commits = commit_interval_seconds(policy, history)
    reaction = policy.poll_interval_seconds + history.start_seconds + history.rebalance_seconds + commits
    reserve = RESERVE_SHARE * promise + UNUSED_SHARE * max(0.0, promise - reaction)
    return promise - max(0.4 * policy.poll_interval_seconds, commits) - reserve


def oldest_if_an_up_waited(
    history: History, s: Signals, carries: float, until_start: float, pause: float, now: float
) -> float:
    """The oldest message's wait when an up that is begun one poll from now has started and rebalanced."""
    done = history.samples[-1].arrived - s.backlog + until_start * carries
    return now + until_start + pause - history.arrival_time(done, RATE_RESERVE * s.rate)


def out_of_turn_seconds(
    s: Signals, levels: Levels, target: int, carries: float, until_start: float, pause: float
) -> float:
    """How much longer than in turn the oldest message may wait once `target` replicas drain the backlog.

    A Kafka consumer hands out what it fetched of one partition before it turns to the next, and one fetch may bring
    all that waits there. The last of its n partitions is served when the others' part of the backlog is done.
    """
    sustained = s.sustained(levels, target)
    if levels.ceiling <= 0 or sustained <= 0:
        return 0.0
    each = math.ceil(levels.ceiling / (target * levels.consumers_per_pod))
    backlog = max(0.0, s.backlog + until_start * (s.rate - carries)) + pause * s.rate
    return (1 - 1 / each) * backlog / sustained
