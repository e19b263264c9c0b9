"""Which Events a person gets: one for each scaling, and one when a condition turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumer_autoscaler.cluster.events import EventRecorder, EventType, ObjectRef
from consumer_autoscaler.decision.reasons import (
    BackpressureReason,
    ConditionType,
    DecisionReason,
    EventReason,
    LimitReason,
    PromiseReason,
    ReadyReason,
    ScaleReason,
    SourceReason,
)
from consumer_autoscaler.decision.values import Decision, Mode
from consumer_autoscaler.resource.pauses import PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT
from consumer_autoscaler.resource.spec import Resource

_FALSE_READY = {
    ReadyReason.TARGET_NOT_FOUND: EventReason.TARGET_NOT_FOUND,
    ReadyReason.CONFLICTED: EventReason.CONFLICTING_AUTOSCALER,
    ReadyReason.INVALID_SPEC: EventReason.SPEC_INVALID,
    ReadyReason.INTERNAL_ERROR: EventReason.INTERNAL_ERROR,
}
_PAUSED = (ReadyReason.PAUSED, ReadyReason.PARTLY_PAUSED)


def scaled(
    events: EventRecorder, resource: ObjectRef, target: ObjectRef, before: int, after: int, decision: Decision
) -> None:
    """On the resource and on its target, as people look at either."""
    reason = EventReason.TARGET_SCALED_UP if after > before else EventReason.TARGET_SCALED_DOWN
    if decision.reason is DecisionReason.BOUNDS_ENFORCED:
        reason = EventReason.LIMITS_ENFORCED
    note = f"from {before} to {after} replicas: {decision.message}"
    events.record(resource, "Normal", reason, note, action="Scale", related=target, on_both=True)


def at_work(resource: Resource, target: str) -> tuple[ReadyReason, str]:
    """What `Ready=True` says: whether the target is scaled, and if not or only in part, what holds it back."""
    policy = resource.policy
    if policy.mode is Mode.PAUSED:
        return ReadyReason.PAUSED, "does not scale while `mode` is Paused"
    by_hand = f"remove it, or: kubectl consumer-autoscaler resume {resource.name} -n {resource.namespace}"
    if policy.paused_replicas is not None:
        holds = f"holds {target} at {policy.paused_replicas} replicas"
        if policy.mode is Mode.OBSERVE:
            holds = "would hold the target at the count"
        return ReadyReason.PAUSED, f"{holds} by the annotation {PAUSED_REPLICAS}: {by_hand}"
    if policy.paused:
        return ReadyReason.PAUSED, f"does not scale by the annotation {PAUSED}: {by_hand}"
    if policy.mode is Mode.OBSERVE:
        return ReadyReason.OBSERVING, "computes and reports, does not scale"
    directions = {PAUSED_SCALE_IN: policy.paused_scale_in, PAUSED_SCALE_OUT: policy.paused_scale_out}
    held = [name for name, paused in directions.items() if paused]
    if held:
        words = " and ".join({PAUSED_SCALE_IN: "down", PAUSED_SCALE_OUT: "up"}[name] for name in held)
        return ReadyReason.PARTLY_PAUSED, f"does not scale {target} {words}, by {' and '.join(held)}: {by_hand}"
    return ReadyReason.WORKING, f"scales {target}"


def external_change(events: EventRecorder, resource: ObjectRef, target: ObjectRef, before: int, after: int) -> None:
    note = f"somebody else changed the target from {before} to {after} replicas; the cooldown starts anew"
    events.record(resource, "Warning", EventReason.EXTERNAL_SCALE_DETECTED, note, action="Observe", related=target)


def not_marked(events: EventRecorder, resource: ObjectRef, target: ObjectRef, why: str) -> None:
    note = f"`scaling.deletionCost` could not be followed, the target was scaled all the same: {why}"
    events.record(resource, "Warning", EventReason.DELETION_COST_FAILED, note, action="Scale", related=target)


def transitions(events: EventRecorder, resource: ObjectRef, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """An Event for each condition that turned into something a person wants to know, and for alerts."""
    before = {c["type"]: (c["status"], c["reason"]) for c in old.get("conditions") or ()}
    for condition in new.get("conditions") or ():
        was = before.get(condition["type"])
        now = (condition["status"], condition["reason"])
        if was == now:
            continue
        news = _news(condition["type"], was, *now)
        if news is not None:
            kind, reason = news
            events.record(resource, kind, reason, condition["message"], action="Observe")
    _alerts(events, resource, old, new)


def _alerts(events: EventRecorder, resource: ObjectRef, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """An Event when alerts begin to fire, and one when they do not fire any more."""
    was, now = ({alert["name"] for alert in status.get("alerts") or ()} for status in (old, new))
    conditions = new.get("conditions") or ()
    message = next((c["message"] for c in conditions if c["type"] == ConditionType.ALERT_FIRING), "")
    if now - was:
        events.record(resource, "Warning", EventReason.ALERT_FIRING, message, action="Observe")
    if was - now:
        note = f"{', '.join(sorted(was - now))}: resolved; {message or 'the spec has no alerts any more'}"
        events.record(resource, "Normal", EventReason.ALERT_RESOLVED, note, action="Observe")


def _news(type_: str, was: tuple[str, str] | None, status: str, reason: str) -> tuple[EventType, EventReason] | None:
    turned = was is not None and was[0] != status
    match type_:
        case ConditionType.READY if status == "False" and reason in set(_FALSE_READY):
            return "Warning", _FALSE_READY[ReadyReason(reason)]
        case ConditionType.READY if (
            status == "True" and was is not None and was[0] == "False" and reason not in _PAUSED
        ):
            return "Normal", EventReason.READY_AGAIN
        case ConditionType.READY if reason in _PAUSED:
            return "Normal", EventReason.PAUSED
        case ConditionType.READY if was is not None and was[1] in _PAUSED:
            return "Normal", EventReason.RESUMED
        case ConditionType.SOURCE_HEALTHY if status == "False" and reason != SourceReason.VALID:
            return "Warning", EventReason.SOURCE_FAILED
        case ConditionType.SOURCE_HEALTHY if status == "True" and reason != SourceReason.VALID:
            return "Warning", EventReason(reason)
        case ConditionType.SOURCE_HEALTHY if status == "True" and turned and was is not None and was[0] == "False":
            return "Normal", EventReason.SOURCE_RECOVERED
        case ConditionType.ABLE_TO_SCALE if reason == ScaleReason.REPLICAS_NOT_READY:
            return "Warning", EventReason.REPLICAS_NOT_READY
        case ConditionType.ABLE_TO_SCALE if reason in (ScaleReason.FAILED_UPDATE_SCALE, ScaleReason.FORBIDDEN):
            return "Warning", EventReason.SCALE_FAILED
        case ConditionType.SCALING_LIMITED if reason == LimitReason.PARTITION_LIMIT:
            return "Normal", EventReason.PARTITION_LIMIT_REACHED
        case ConditionType.BACKPRESSURED if status == "True" and reason in set(BackpressureReason):
            return "Warning", EventReason.BACKPRESSURED
        case ConditionType.BACKPRESSURED if reason == BackpressureReason.KEEPING_UP and was and was[0] == "True":
            return "Normal", EventReason.CAUGHT_UP
        case ConditionType.PROMISE_KEPT if status == "False":
            return "Warning", EventReason.PROMISE_BROKEN
        case ConditionType.PROMISE_KEPT if (
            reason == PromiseReason.WITHIN_PROMISE and turned and was and was[0] == "False"
        ):
            return "Normal", EventReason.PROMISE_KEPT_AGAIN
    return None
