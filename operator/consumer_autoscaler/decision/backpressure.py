"""Why the group is behind, and what a person can do about it: the condition `Backpressured`.

The first of these that is seen wins: stuck partitions, ups that brought nothing, a hot partition, the end of what
partitions or maximum allow. What is left is a group that has too few replicas yet.
"""

from __future__ import annotations

import math

from consumer_autoscaler.decision.capacity import Capacity, capacity_of
from consumer_autoscaler.decision.effect import slow_downstream
from consumer_autoscaler.decision.history import History, Useless
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.reasons import BackpressureReason, ConditionStatus, ConditionType
from consumer_autoscaler.decision.skew import Skew, skew_of
from consumer_autoscaler.decision.stuck import standing_still, stuck_partitions
from consumer_autoscaler.decision.values import (
    Condition,
    GroupReading,
    Observation,
    Policy,
    Scale,
    Unavailable,
)

RATE_SECONDS = 60.0
SOON_SECONDS = 600.0  # a backlog that is gone so soon is no reason to raise a limit
HEADROOM = 1.1  # what partitions and replicas are reckoned with when a person is told how many the load needs


def backpressured(policy: Policy, observation: Observation, history: History, levels: Levels | None) -> Condition:
    """Whether the group is behind, and what stands in the way."""
    kind, unknown = ConditionType.BACKPRESSURED, ConditionStatus.UNKNOWN
    group = observation.group
    if isinstance(group, Unavailable) or history.delay_seconds is None:
        return Condition(kind, unknown, BackpressureReason.LAG_UNKNOWN, "the lag is not known")
    if not history.behind:
        return Condition(kind, ConditionStatus.FALSE, BackpressureReason.KEEPING_UP, "the group keeps up")
    if group.state.rebalancing:
        return Condition(kind, unknown, BackpressureReason.REBALANCING, f"the group is {group.state}")
    reason, words = _cause(policy, group, observation.scale, history, levels)
    behind = f"{group.lag_messages} messages wait, the oldest for {history.delay_seconds:.0f} s"
    return Condition(kind, ConditionStatus.TRUE, reason, f"{behind}; {words}")


def _cause(
    policy: Policy, group: GroupReading, scale: Scale | Unavailable, history: History, levels: Levels | None
) -> tuple[BackpressureReason, str]:
    skew = None
    if levels is not None:
        skew = skew_of(policy, group, history, levels, stuck_partitions(policy, group, history))
    if skew is None and (words := _stuck(policy, group, history)) is not None:
        return BackpressureReason.STUCK_PARTITION, words  # beside a hot partition it may just have to wait for its turn
    if (useless := slow_downstream(history)) is not None:
        return BackpressureReason.SLOW_DOWNSTREAM, _slow_downstream(useless)
    if levels is None or not history.replicas:
        return BackpressureReason.UNDER_PROVISIONED, "more replicas are needed"
    if skew is not None:
        return BackpressureReason.PARTITION_SKEW, _skewed(skew, levels)
    if not isinstance(scale, Unavailable) and scale.ready < scale.replicas:
        return BackpressureReason.UNDER_PROVISIONED, f"{scale.ready} of {scale.replicas} pods are ready"
    capacity, rate = capacity_of(policy, history), history.arrival_rate(RATE_SECONDS)
    if (words := _catches_up(group, history, levels, capacity, rate)) is not None:
        return BackpressureReason.UNDER_PROVISIONED, words
    if history.replicas >= levels.counts[-1]:
        pods = levels.pods_with_work()
        if pods is not None and pods <= policy.max_replicas:
            return BackpressureReason.PARTITION_LIMIT, _too_few_partitions(policy, history, levels, capacity, rate)
        return BackpressureReason.MAX_REPLICAS, _too_low_a_maximum(policy, levels, capacity, rate)
    return BackpressureReason.UNDER_PROVISIONED, _too_few_replicas(history, levels, capacity, rate)


def _stuck(policy: Policy, group: GroupReading, history: History) -> str | None:
    still = standing_still(policy, group, history)
    if not still:
        return None
    first = still[0]
    longest = group.at - (first.still_since or 0.0)
    more = f" and {len(still) - 1} more" if len(still) > 1 else ""
    where = f"{first.topic}-{first.partition}"
    return f"no commit on {where}{more} for {longest:.0f} s: see what its consumer does"


def _slow_downstream(useless: Useless) -> str:
    each = useless.per_second_before / max(1, useless.from_replicas), useless.per_second / max(1, useless.to_replicas)
    words = (
        f"{useless.to_replicas} replicas do {useless.per_second:.1f}/s, {useless.from_replicas} did"
        f" {useless.per_second_before:.1f}/s (each {each[1]:.1f}/s, before {each[0]:.1f}/s)"
    )
    if useless.busy_seconds and useless.busy_seconds_before:
        words += f", a record takes {1000 * useless.busy_seconds:.0f} ms, before"
        words += f" {1000 * useless.busy_seconds_before:.0f} ms"
    return f"{words}: see what all consumers wait for, a database for example"


def _skewed(skew: Skew, levels: Levels) -> str:
    where = f"{skew.topic}-{skew.partition}"
    can = f"{skew.per_consumer:.1f}/s" if skew.per_consumer is not None else f"{skew.finished_per_second:.1f}/s now"
    words = f"{where} gets {skew.arrival_per_second:.1f}/s, {skew.share:.0%} of all, and one consumer does {can}"
    if (alone := levels.pods_with_work()) is not None:
        words += f"; more than {alone} replicas help nothing"
    return f"{words}: see the keys"


def _catches_up(
    group: GroupReading, history: History, levels: Levels, capacity: Capacity, rate: float | None
) -> str | None:
    if rate is None or not capacity.known or not history.replicas:
        return None
    carries = capacity.per_replica * levels.worth(history.replicas)
    left = group.lag_messages / (carries - rate) if carries > HEADROOM * rate else math.inf
    if left > SOON_SECONDS:
        return None
    return (
        f"{rate:.1f}/s arrive, {history.replicas} replicas carry {carries:.1f}/s: it catches up in about {left:.0f} s"
    )


def _too_few_partitions(
    policy: Policy, history: History, levels: Levels, capacity: Capacity, rate: float | None
) -> str:
    words = f"{levels.ceiling} partitions keep no more than {levels.pods_with_work()} replicas busy"
    if rate is None or not capacity.known or capacity.per_replica <= 0:
        return f"{words}: add partitions"
    carries = capacity.per_replica * levels.worth(history.replicas or 0)
    if HEADROOM * rate <= carries:
        return f"{words}, which carry {carries:.1f}/s of {rate:.1f}/s and catch up slowly: add partitions"
    each = capacity.per_replica / policy.consumers_per_pod
    need = max(levels.ceiling + 1, math.ceil(HEADROOM * rate / each))
    return f"{words}, {rate:.1f}/s arrive and a consumer does {each:.1f}/s: add partitions, {need} carry the load"


def _too_low_a_maximum(policy: Policy, levels: Levels, capacity: Capacity, rate: float | None) -> str:
    words = f"maxReplicas is {policy.max_replicas}"
    if rate is None or not capacity.known or capacity.per_replica <= 0:
        return f"{words}: raise it"
    need = HEADROOM * rate / capacity.per_replica
    if need <= levels.worth(policy.max_replicas):
        return f"{words}, and so many catch up slowly: raise it"
    carrying = next((n for n in range(1, levels.ceiling + 1) if levels.worth(n) >= need), None)
    if levels.ceiling > 0 and carrying is None:
        pods = levels.pods_with_work()
        return f"{words}, {rate:.1f}/s arrive: raise it to {pods} and add partitions, or the load is not carried"
    count = carrying if carrying is not None else math.ceil(need)
    return f"{words}, {rate:.1f}/s arrive and a replica does {capacity.per_replica:.1f}/s: raise it to {count}"


def _too_few_replicas(history: History, levels: Levels, capacity: Capacity, rate: float | None) -> str:
    replicas = history.replicas or 0
    if not capacity.known or rate is None:
        return "more replicas are being tried"
    carries = capacity.per_replica * levels.worth(replicas)
    return f"{rate:.1f}/s arrive, {replicas} replicas carry {carries:.1f}/s"
