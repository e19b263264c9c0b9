"""The limits between the demand and the decision, each a small function, in the order in which they are applied.

Each takes the proposal and returns it, changed or not, with its reason; adding a limit is one function and one place
in LIMITS. Where rules collide: the bounds of the spec stand above everything, missing data above cooldowns, cooldowns
above step limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from consumer_autoscaler.decision.effect import doubtful, most_useful
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.reasons import DecisionReason, LimitReason
from consumer_autoscaler.decision.skew import only_hot_ones_wait, skew_of
from consumer_autoscaler.decision.stuck import SUSPECT_SECONDS, delay_without, is_late, stuck_partitions
from consumer_autoscaler.decision.values import GroupKind, GroupReading, Observation, Policy, Step, Unavailable

HISTORY_BEFORE_DOWN_SECONDS = 300.0
SESSION_SECONDS = 50.0  # the clients' default of 45 s, and a commit


@dataclass(frozen=True, slots=True)
class Proposal:
    """A count on its way to a decision. `limit` is the last limit that changed it, `hold` why nothing may change."""

    replicas: int
    steps: tuple[Step, ...] = ()
    limit: LimitReason | None = None
    limit_message: str = ""
    hold: DecisionReason | None = None

    def to(self, replicas: int, name: LimitReason, message: str, hold: DecisionReason | None = None) -> Proposal:
        return replace(
            self,
            replicas=replicas,
            steps=(*self.steps, Step(str(name), replicas, message)),
            limit=name,
            limit_message=message,
            hold=hold or self.hold,
        )


@dataclass(frozen=True, slots=True)
class Situation:
    """What a limit may look at."""

    policy: Policy
    observation: Observation
    history: History
    group: GroupReading
    levels: Levels
    current: int
    unbounded: int  # the demand if nothing limited it
    now: float


Limit = Callable[[Proposal, Situation], Proposal]


def useful_steps(p: Proposal, s: Situation) -> Proposal:
    """Raises a count that sustains no more than a smaller one to the next that does."""
    if p.replicas < s.levels.counts[0] or p.replicas in s.levels.counts or p.replicas == s.current:
        return p  # what is below the minimum is the minimum's business
    useful = s.levels.at_least(float(p.replicas))
    if useful <= p.replicas:  # above the last level: the maximum and the partitions have their own say
        return p
    return p.to(useful, LimitReason.USEFUL_STEPS, f"{p.replicas} replicas go no faster than fewer: {useful} do")


def partitions_with_lag(p: Proposal, s: Situation) -> Proposal:
    """By `lagPerReplica` only as many replicas as there are partitions that lag: the others would idle.

    Not in a share group, whose members all take records of the same partitions.
    """
    if s.policy.lag_per_replica is None or p.replicas <= s.current or s.group.kind is GroupKind.SHARE:
        return p
    lagging = sum(1 for partition in s.group.partitions if partition.lag_messages)
    useful = max(s.current, math.ceil(lagging / s.policy.consumers_per_pod), 1)
    if p.replicas <= useful:
        return p
    words = "only 1 partition has lag" if lagging == 1 else f"only {lagging} partitions have lag"
    return p.to(useful, LimitReason.PARTITION_LIMIT, words)


def max_replicas(p: Proposal, s: Situation) -> Proposal:
    """Never above spec.maxReplicas."""
    top = s.policy.max_replicas
    if p.replicas > top:
        return p.to(top, LimitReason.MAX_REPLICAS, f"at most {top} by maxReplicas")
    if s.unbounded > top and p.replicas >= _highest(s) and _highest(s) <= top:
        pods = s.levels.pods_with_work()
        if pods is None or pods > top or s.unbounded <= pods:
            return p.to(p.replicas, LimitReason.MAX_REPLICAS, f"{s.unbounded} needed, at most {top} by maxReplicas")
    return p


def partition_limit(p: Proposal, s: Situation) -> Proposal:
    """Never above what the partitions can keep busy, unless the configured minimum is."""
    pods = s.levels.pods_with_work()
    if pods is None:
        return p
    pods = max(pods, s.policy.min_replicas)
    words = f"{s.group.ceiling(s.history.ceiling)} partitions can keep {pods} replicas busy"
    if p.replicas > pods:
        return p.to(pods, LimitReason.PARTITION_LIMIT, words)
    if s.unbounded > pods and p.replicas == pods and pods <= s.policy.max_replicas:
        return p.to(p.replicas, LimitReason.PARTITION_LIMIT, f"{s.unbounded} needed, but {words}")
    return p


def ineffective(p: Proposal, s: Situation) -> Proposal:
    """Not more than are of use: the last up brought nothing, or what waits is beyond the help of more replicas."""
    most = most_useful(s.history, s.now)
    if most is not None and p.replicas > most:
        assert s.history.useless is not None
        left = s.history.useless.until - s.now
        message = f"more than {most} were seen to bring nothing; no other try for {left:.0f} s"
        return p.to(most, LimitReason.INEFFECTIVE, message)
    if p.replicas <= s.current or s.current == 0:
        return p
    if doubtful(s.policy, s.history, s.levels, s.now):
        return p.to(s.current, LimitReason.INEFFECTIVE, "first to be seen what the last up brings")
    stuck = stuck_partitions(s.policy, s.group, s.history, SUSPECT_SECONDS)
    if stuck and not is_late(s.policy, delay_without(s.group, s.history, stuck)):
        topic, partition = min(stuck)
        return p.to(s.current, LimitReason.INEFFECTIVE, f"only {topic}-{partition} waits, which does not move")
    skew = skew_of(s.policy, s.group, s.history, s.levels, stuck)
    if skew is not None and only_hot_ones_wait(skew):
        message = f"only {skew.topic}-{skew.partition} waits, and more than one consumer cannot read it"
        return p.to(s.current, LimitReason.INEFFECTIVE, message)
    return p


def min_replicas(p: Proposal, s: Situation) -> Proposal:
    """Never below spec.minReplicas."""
    low = s.policy.min_replicas
    if p.replicas < low:
        return p.to(low, LimitReason.MIN_REPLICAS, f"at least {low} by minReplicas")
    return p


def step_limit(p: Proposal, s: Situation) -> Proposal:
    """At most scaleUp.maxStep more, at most scaleDown.maxStepPercent fewer, in one step."""
    if s.current == 0 or p.replicas == 0:
        return p
    up = s.policy.scale_up_max_step
    if up is not None and p.replicas > s.current + up:
        return p.to(s.current + up, LimitReason.STEP_LIMIT, f"at most {up} more in one step")
    fewest = s.current - max(1, s.current * s.policy.scale_down_max_step_percent // 100)
    if p.replicas < fewest:
        return p.to(
            fewest,
            LimitReason.STEP_LIMIT,
            f"at most {s.policy.scale_down_max_step_percent} % fewer in one step",
        )
    return p


def slow_down(p: Proposal, s: Situation) -> Proposal:
    """By `lagPerReplica`: down only to the highest count asked for within the cooldown, as an HPA does."""
    if s.policy.lag_per_replica is None or p.replicas >= s.current:
        return p
    highest = max((count for _, count in s.history.wanted), default=p.replicas)
    highest = min(highest, s.current, most_useful(s.history, s.now) or s.current)
    if highest <= p.replicas:
        return p
    window = s.policy.scale_down_cooldown_seconds
    return p.to(
        highest,
        LimitReason.COOLDOWN,
        f"{highest} were wanted within the last {window} s",
        DecisionReason.HOLD_COOLDOWN if highest == s.current else None,
    )


def cooldown(p: Proposal, s: Situation) -> Proposal:
    """No change before the cooldown of its direction has passed since the last change in any direction."""
    changed = s.history.changed_at
    if p.replicas == s.current or changed is None or (s.current == 0 and p.replicas > 0):
        return p
    up = p.replicas > s.current
    need = s.policy.scale_up_cooldown_seconds if up else s.policy.scale_down_cooldown_seconds
    left = need - (s.now - changed)
    if left <= 0:
        return p
    message = f"{math.ceil(left)} s left of {need} s since the last change"
    return p.to(s.current, LimitReason.COOLDOWN, message, DecisionReason.HOLD_COOLDOWN)


def enough_history(p: Proposal, s: Situation) -> Proposal:
    """No down before five minutes have been seen: what came before a start of the operator is not known."""
    if p.replicas >= s.current or s.history.began_at is None:
        return p
    need = HISTORY_BEFORE_DOWN_SECONDS
    if p.replicas == 0:
        need = min(need, float(s.policy.idle_seconds))  # the way to zero waits for idleSeconds by itself
    left = need - (s.now - s.history.began_at)
    if left <= 0:
        return p
    message = f"{math.ceil(left)} s more to be watched before a down"
    return p.to(s.current, LimitReason.COOLDOWN, message, DecisionReason.HOLD_HISTORY)


def rebalancing(p: Proposal, s: Situation) -> Proposal:
    """Holds while the group is not stable. A group that stays so for long must not block an up for ever."""
    if s.current == 0 or p.replicas == s.current:
        return p
    if not s.group.state.rebalancing and s.group.members > 0:
        return p
    if p.replicas == 0 and not s.group.state.rebalancing:
        return p  # nobody is in the group: nothing can be disturbed
    if p.replicas > s.current and s.group.members > 0 and unsettled_too_long(s.history, s.now):
        return p
    if _may_raise(p, s) and not s.group.state.rebalancing:
        return p  # the pods of an up from nothing have not joined yet: there is nobody to be disturbed
    what = f"group is {s.group.state}" if s.group.members else "no consumer is in the group"
    return p.to(s.current, LimitReason.REBALANCING, what, DecisionReason.HOLD_REBALANCING)


def members_leaving(p: Proposal, s: Situation) -> Proposal:
    """After a down, no up while members of pods that are gone are still in the group.

    A static member does not leave when its pod stops, nor does one that was killed: until its session times out
    (`session.timeout.ms`) nobody reads its partitions, and what gathers there is no demand.
    """
    lowered = s.history.lowered_at
    if p.replicas <= s.current or s.current == 0 or lowered is None or s.now - lowered >= SESSION_SECONDS:
        return p
    gone = s.group.members - s.current * s.policy.consumers_per_pod
    if gone <= 0:
        return p
    what = f"{gone} members of pods that are gone are still in the group"
    return p.to(s.current, LimitReason.REBALANCING, what, DecisionReason.HOLD_REBALANCING)


def pods_starting(p: Proposal, s: Situation) -> Proposal:
    """Holds while pods are not ready, with the same way out, and with the raise that the demand may ask for."""
    scale = s.observation.scale
    if isinstance(scale, Unavailable) or s.current == 0 or p.replicas == s.current or p.replicas == 0:
        return p
    if scale.ready >= scale.replicas and not scale.rolling:
        return p
    if _may_raise(p, s) or (p.replicas > s.current and unsettled_too_long(s.history, s.now)):
        return p
    what = "a rollout is under way" if scale.rolling else f"{scale.ready} of {scale.replicas} pods are ready"
    return p.to(s.current, LimitReason.PODS_STARTING, what, DecisionReason.HOLD_PODS_STARTING)


def processing_time_known(p: Proposal, s: Situation) -> Proposal:
    """Without the processing time that was asked for, up is allowed and down is not."""
    if isinstance(s.observation.processing, Unavailable) and p.replicas < s.current:
        return p.to(
            s.current,
            LimitReason.LEARNING_CAPACITY,
            "no down while the processing time is unknown",
            DecisionReason.HOLD_PROCESSING_TIME_UNKNOWN,
        )
    return p


def _may_raise(p: Proposal, s: Situation) -> bool:
    """An up whose pods are not there yet may be raised, once."""
    history = s.history
    starting = history.raised_to is not None and history.ready_at is None
    return p.replicas > s.current and starting and not history.raised_again


def unsettled_too_long(history: History, now: float) -> bool:
    """Pods or group have not come to rest for twice as long as an up takes: something is broken, not on its way."""
    since = history.unsettled_since
    return since is not None and now - since > 2 * (history.start_seconds + history.rebalance_seconds)


def _highest(s: Situation) -> int:
    return s.levels.counts[-1]


LIMITS: tuple[Limit, ...] = (
    partitions_with_lag,
    useful_steps,  # after it: 8 consumers of 10 partitions leave two of those that lag to one of them
    partition_limit,
    max_replicas,
    ineffective,
    min_replicas,
    step_limit,
    slow_down,
    cooldown,
    enough_history,
    processing_time_known,
    rebalancing,
    members_leaving,
    pods_starting,
)
