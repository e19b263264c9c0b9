"""What a person has paused: all of it, at a count, or one direction. It stands above every other rule."""

from __future__ import annotations

from consumer_autoscaler.decision.limits import Proposal
from consumer_autoscaler.decision.reasons import DecisionReason, LimitReason
from consumer_autoscaler.decision.values import Mode, Policy, Step


def why_paused(policy: Policy) -> str | None:
    """Why nothing is decided at all, None when something is."""
    if policy.mode is Mode.PAUSED:
        return "`mode` is Paused"
    if policy.paused_replicas is not None:
        return f"paused at {policy.paused_replicas} replicas by an annotation"
    return "paused by an annotation" if policy.paused else None


def paused_at(policy: Policy, current: int) -> Proposal | None:
    """The way to the count at which a person paused, None when no such count is given, or `mode` is Paused."""
    count = policy.paused_replicas
    if count is None or policy.mode is Mode.PAUSED:
        return None
    present = Proposal(current, (Step("Present", current, "replicas of the target"),))
    return present.to(count, LimitReason.PAUSED_REPLICAS, f"{count} by the annotation paused-replicas")


def paused_direction(policy: Policy, p: Proposal, current: int) -> Proposal:
    """Holds what would go in a direction that is paused, whatever asked for it."""
    if policy.paused_scale_in and p.replicas < current:
        why = "downs are paused by the annotation paused-scale-in"
        return p.to(current, LimitReason.PAUSED_SCALE_IN, why, DecisionReason.HOLD_PAUSED)
    if policy.paused_scale_out and p.replicas > current:
        why = "ups are paused by the annotation paused-scale-out"
        return p.to(current, LimitReason.PAUSED_SCALE_OUT, why, DecisionReason.HOLD_PAUSED)
    return p
