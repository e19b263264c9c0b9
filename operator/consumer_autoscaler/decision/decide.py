"""decide(): policy, observation and history in, a decision with the whole way to it out.

Demand first, then the limits in order; each step is kept with its reason, and all of them are shown to the user. The
same function runs in the operator, in a simulation and in `explain`: feeding it the same four values gives the same
decision.
"""

from __future__ import annotations

from consumer_autoscaler.decision import diagnosis
from consumer_autoscaler.decision.alerts import alert_firing
from consumer_autoscaler.decision.backpressure import backpressured
from consumer_autoscaler.decision.demand import (
    Demand,
    active,
    from_zero_demand,
    lag_per_replica_count,
    promise_demand,
    wants_first_commit,
)
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.levels import Levels, levels_for
from consumer_autoscaler.decision.limits import LIMITS, Proposal, Situation, unsettled_too_long
from consumer_autoscaler.decision.pauses import paused_at, paused_direction, why_paused
from consumer_autoscaler.decision.reasons import DecisionReason, LimitReason, SourceReason
from consumer_autoscaler.decision.uneven import uneven_of
from consumer_autoscaler.decision.values import (
    Condition,
    Decision,
    GroupReading,
    Observation,
    Policy,
    Scale,
    Step,
    Unavailable,
)


def decide(policy: Policy, observation: Observation, history: History, now: float) -> Decision:
    """What the target's replica count shall be. `history` has been advanced with this very observation."""
    scale, group = observation.scale, observation.group
    if (paused := why_paused(policy)) is not None:
        present = None if isinstance(scale, Unavailable) else scale.replicas
        at = None if present is None else paused_at(policy, present)
        desired = present if at is None else at.replicas
        return _decision(policy, observation, history, now, desired, DecisionReason.PAUSED, paused, at)
    if isinstance(scale, Unavailable):
        return _decision(policy, observation, history, now, None, DecisionReason.HOLD_SCALE_UNKNOWN, scale.message)

    current = scale.replicas
    lag_known = isinstance(group, GroupReading) and all(p.lag_messages is not None for p in group.partitions)
    bounded = min(max(current, policy.min_replicas), max(policy.max_replicas, policy.min_replicas))
    if bounded != current:  # an edited minimum or maximum counts at once, whatever else is known
        limit = LimitReason.MIN_REPLICAS if bounded > current else LimitReason.MAX_REPLICAS
        proposal = Proposal(current, (Step("Present", current, "replicas of the target"),)).to(
            bounded, limit, f"between {policy.min_replicas} and {policy.max_replicas} by the spec"
        )
        if current > 0 or not lag_known or (isinstance(group, GroupReading) and group.unscalable is not None):
            return _decision(
                policy, observation, history, now, bounded, DecisionReason.BOUNDS_ENFORCED,
                f"{current} is outside of minReplicas and maxReplicas", proposal,
            )  # fmt: skip
    if isinstance(group, Unavailable):
        if current == 0 and group.reason is SourceReason.GROUP_NOT_FOUND and policy.max_replicas > 0:
            step = Step("Demand", 1, "there is no such group: one consumer, so that it commits and can be read")
            proposal = Proposal(1, (step,))
            return _decision(
                policy, observation, history, now, 1, DecisionReason.SCALE_FROM_ZERO, step.message, proposal
            )
        if (raised := _raised_without_reading(policy, history, current, now)) is not None:
            return _decision(
                policy, observation, history, now, raised.replicas, DecisionReason.LAG_UNKNOWN_TOO_LONG,
                group.message, raised,
            )  # fmt: skip
        return _decision(policy, observation, history, now, current, DecisionReason.HOLD_LAG_UNKNOWN, group.message)
    if not lag_known:
        return _decision(
            policy, observation, history, now, current, DecisionReason.HOLD_LAG_UNKNOWN,
            "a partition was never committed and `offsetReset` is None",
        )  # fmt: skip

    if group.lag_is_upper_bound and policy.max_delay_seconds is not None and current > 0:
        return _decision(
            policy, observation, history, now, current, DecisionReason.HOLD_LAG_UNKNOWN,
            f"no delay is known: {group.note}",
        )  # fmt: skip
    if group.unscalable is not None:
        return _decision(
            policy, observation, history, now, current, DecisionReason.HOLD_NOT_SCALABLE, group.unscalable.message
        )

    levels = levels_for(policy, group.ceiling(history.ceiling), uneven_of(history.tracks, group))
    starting = scale.ready < scale.replicas and not unsettled_too_long(history, now)
    demand = _demand(policy, history, group, levels, current, now, starting=starting)
    proposal = Proposal(demand.replicas, (Step("Demand", demand.replicas, demand.message),))
    if demand.learning and demand.replicas != current:
        proposal = proposal.to(demand.replicas, LimitReason.LEARNING_CAPACITY, "at most a doubling up, one level down")
    situation = Situation(policy, observation, history, group, levels, current, demand.unbounded, now)
    for limit_of in LIMITS:
        proposal = limit_of(proposal, situation)
    reason = _reason(proposal, current, demand)
    return _decision(
        policy, observation, history, now, proposal.replicas, reason, _message(proposal, current, demand), proposal,
        demand.unbounded, levels,
    )  # fmt: skip


def _demand(
    policy: Policy,
    history: History,
    group: GroupReading,
    levels: Levels,
    current: int,
    now: float,
    *,
    starting: bool,
) -> Demand:
    if current == 0:
        if wants_first_commit(policy, group):
            return Demand(1, 1, "the group never committed: one consumer, so that its lag can be counted")
        if policy.min_replicas == 0 and group.lag_messages <= policy.activation_lag_messages:
            return Demand(0, 0, f"lag {group.lag_messages} is not above {policy.activation_lag_messages}")
        if policy.max_delay_seconds is not None:
            return from_zero_demand(policy, history, group, levels)
    elif _idle(policy, history, group, now):
        return Demand(0, 0, f"nothing to do for {policy.idle_seconds} s")
    if policy.lag_per_replica is not None:
        count = lag_per_replica_count(policy, group)
        message = f"lag {group.lag_messages} / {policy.lag_per_replica} per replica"
        return Demand(max(1, count), count, message)
    return promise_demand(policy, history, group, current, levels, starting=starting, now=now)


def _raised_without_reading(policy: Policy, history: History, current: int, now: float) -> Proposal | None:
    """`scaling.unavailable`: at least so many replicas when nothing could be read for so long. Never fewer than now."""
    after, since = policy.unavailable_after_seconds, history.unavailable_since
    least = min(policy.unavailable_at_least_replicas, policy.max_replicas)
    if after is None or since is None or now - since < after or least <= current:
        return None
    step = Step("Unavailable", least, f"no reading for {now - since:.0f} s: at least {least} by `scaling.unavailable`")
    return Proposal(least, (Step("Present", current, "replicas of the target"), step))


def _idle(policy: Policy, history: History, group: GroupReading, now: float) -> bool:
    if policy.min_replicas > 0 or active(policy, history, group) or history.active_at is None:
        return False
    return now - history.active_at >= policy.idle_seconds


def _reason(proposal: Proposal, current: int, demand: Demand) -> DecisionReason:
    if proposal.replicas > current:
        return DecisionReason.SCALE_FROM_ZERO if current == 0 else DecisionReason.SCALE_UP
    if proposal.replicas < current:
        return DecisionReason.SCALE_TO_ZERO if proposal.replicas == 0 else DecisionReason.SCALE_DOWN
    if proposal.hold is not None:
        return proposal.hold
    return DecisionReason.LEARNING_CAPACITY if demand.learning else DecisionReason.AT_DEMAND


def _message(proposal: Proposal, current: int, demand: Demand) -> str:
    limits = [step.message for step in proposal.steps[1:]]
    return "; ".join([demand.message, *limits]) if proposal.replicas == current or limits else demand.message


def _decision(
    policy: Policy,
    observation: Observation,
    history: History,
    now: float,
    desired: int | None,
    reason: DecisionReason,
    message: str,
    proposal: Proposal | None = None,
    recommended: int | None = None,
    levels: Levels | None = None,
) -> Decision:
    scale = observation.scale
    if proposal is not None and isinstance(scale, Scale) and reason is not DecisionReason.PAUSED:
        free, proposal = proposal, paused_direction(policy, proposal, scale.replicas)
        if proposal is not free:
            desired, reason = proposal.replicas, DecisionReason.HOLD_PAUSED
            message = f"{message}; {proposal.limit_message}"
    conditions: list[Condition] = [diagnosis.source_healthy(policy, observation, history)]
    if proposal is not None:
        conditions.append(diagnosis.scaling_limited(proposal))
    elif desired is not None:
        conditions.append(diagnosis.scaling_limited(Proposal(desired)))
    conditions.append(backpressured(policy, observation, history, levels))
    conditions.append(diagnosis.promise_kept(policy, observation, history))
    if (alerting := alert_firing(policy, observation, history)) is not None:
        conditions.append(alerting)
    return Decision(
        at=now,
        desired=desired,
        recommended=recommended,
        reason=reason,
        message=message,
        steps=proposal.steps if proposal is not None else (),
        conditions=tuple(conditions),
        figures=diagnosis.figures_of(policy, observation, history),
    )
