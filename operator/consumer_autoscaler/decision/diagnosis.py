"""What a person is told: the conditions that follow from one decision."""

from __future__ import annotations

from consumer_autoscaler.decision.capacity import capacity_of, commit_interval_seconds
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.limits import SESSION_SECONDS, Proposal
from consumer_autoscaler.decision.reasons import (
    ConditionStatus,
    ConditionType,
    GroupState,
    LimitReason,
    PromiseReason,
    SourceReason,
)
from consumer_autoscaler.decision.signals import reaction_seconds
from consumer_autoscaler.decision.values import (
    Condition,
    Figures,
    GroupReading,
    Observation,
    Policy,
    Scale,
    Unavailable,
)

DISPLAY_WINDOW_SECONDS = 20.0  # short enough to be the present, long enough for commits in lumps
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def source_healthy(policy: Policy, observation: Observation, history: History) -> Condition:
    """Whether the last reading was good enough to decide on."""
    group, processing = observation.group, observation.processing
    if isinstance(group, Unavailable):
        status = UNKNOWN if group.reason is SourceReason.NOT_READ_YET else FALSE
        return Condition(ConditionType.SOURCE_HEALTHY, status, group.reason, group.message)
    if isinstance(processing, Unavailable):
        return Condition(ConditionType.SOURCE_HEALTHY, FALSE, processing.reason, processing.message)
    if group.unscalable is not None:
        return Condition(ConditionType.SOURCE_HEALTHY, FALSE, group.unscalable.reason, group.unscalable.message)
    fallback = processing.instead_of if processing else ""
    notes = (group.note, _consumers_per_pod(policy, group, observation.scale, history), fallback)
    return Condition(
        ConditionType.SOURCE_HEALTHY,
        TRUE,
        group.warning or (SourceReason.PROCESSING_TIME_FALLBACK if fallback else SourceReason.VALID),
        "; ".join(filter(None, notes)) or "lag was read from all partitions",
    )


def _consumers_per_pod(policy: Policy, group: GroupReading, scale: Scale | Unavailable, history: History) -> str:
    """A hint when a group at rest has another number of members for each pod than the spec says."""
    if isinstance(scale, Unavailable) or scale.rolling or not scale.replicas or scale.ready != scale.replicas:
        return ""
    leaving = history.lowered_at is not None and group.at - history.lowered_at < SESSION_SECONDS
    each, more = divmod(group.members, scale.replicas)
    if leaving or more or each in (0, policy.consumers_per_pod) or group.state is not GroupState.STABLE:
        return ""
    return f"each pod brings {each} consumers, and consumersPerPod is {policy.consumers_per_pod}"


def scaling_limited(proposal: Proposal) -> Condition:
    """Which limit changed the demand last."""
    if proposal.limit is None:
        return Condition(
            ConditionType.SCALING_LIMITED,
            FALSE,
            LimitReason.DESIRED_WITHIN_RANGE,
            "no limit changed the demand",
        )
    return Condition(ConditionType.SCALING_LIMITED, TRUE, proposal.limit, proposal.limit_message)


def promise_kept(policy: Policy, observation: Observation, history: History) -> Condition:
    """Whether a message waits longer than promised now, and whether the promise can be kept at all."""
    kind = ConditionType.PROMISE_KEPT
    promise = policy.max_delay_seconds
    if promise is None:
        return Condition(kind, UNKNOWN, PromiseReason.NO_PROMISE, "`objective.maxDelaySeconds` is not set")
    delay = history.delay_seconds
    if isinstance(observation.group, Unavailable) or delay is None:
        return Condition(kind, UNKNOWN, PromiseReason.LAG_UNKNOWN, "the lag is not known")
    if delay > promise:
        return Condition(
            kind,
            FALSE,
            PromiseReason.DELAY_ABOVE_PROMISE,
            f"the oldest message waits {delay:.0f} s of {promise} s",
        )
    least = reaction_seconds(policy, history)
    if least is not None and promise < least:
        return Condition(
            kind,
            FALSE,
            PromiseReason.PROMISE_TOO_SHORT,
            f"after a rise it takes {least:.0f} s until more pods help (half a poll of"
            f" {policy.poll_interval_seconds} s, start {history.start_seconds:.0f} s, rebalance"
            f" {history.rebalance_seconds:.0f} s, commits"
            f" {commit_interval_seconds(policy, history):.0f} s), so replicas are kept ready for one: promise at least"
            " that, or make pods start faster",
        )
    return Condition(kind, TRUE, PromiseReason.WITHIN_PROMISE, f"no message waits longer than {promise} s")


def figures_of(policy: Policy, observation: Observation, history: History) -> Figures:
    """The numbers for status, metrics and explain; what is not known stays None."""
    capacity = capacity_of(policy, history)
    start = history.start_seconds if history.start_seconds_seen else None
    pause = history.rebalance_seconds if history.rebalance_seconds_seen else None
    per_replica = capacity.per_replica if capacity.known else None
    group = observation.group
    if not isinstance(group, GroupReading):
        return Figures(capacity_per_replica_per_second=per_replica, start_seconds=start, rebalance_seconds=pause)
    window = max(DISPLAY_WINDOW_SECONDS, 2 * policy.poll_interval_seconds)
    known = all(p.lag_messages is not None for p in group.partitions)
    return Figures(
        lag_messages=group.lag_messages if known else None,
        delay_seconds=history.delay_seconds,
        partitions=len(group.partitions),
        partitions_with_lag=sum(1 for p in group.partitions if p.lag_messages),
        lost_messages=group.lost_messages,
        pending_messages=group.pending_messages,
        partition_ceiling=group.ceiling(history.ceiling) or None,
        arrival_per_second=history.arrival_rate(window),
        consumed_per_second=history.consumption_rate(window),
        capacity_per_replica_per_second=per_replica,
        start_seconds=start,
        rebalance_seconds=pause,
    )
