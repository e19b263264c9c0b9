"""The status as it is written: built from the values of one cycle, and written only when it says something new.

Plain dicts, no models on the way: a thousand resources pass here every few seconds. That the result fits the
schema of status_schema.py is a matter of tests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from consumer_autoscaler.decision.reasons import (
    BackpressureReason,
    ConditionStatus,
    ConditionType,
    PromiseReason,
    SourceReason,
)
from consumer_autoscaler.decision.values import (
    Condition,
    Decision,
    Figures,
    ProcessingTime,
    Scale,
    Step,
    Unavailable,
)
from consumer_autoscaler.resource.memory import Learned, alerts_part, rfc3339, useless_part
from consumer_autoscaler.resource.status_schema import (
    MAX_MESSAGE,
    MAX_NUMBER,
    MAX_STEPS,
    DecisionPart,
    IneffectivePart,
    LagPart,
    LearnedPart,
    ProcessingTimePart,
    RatesPart,
    ReplicasPart,
    Status,
)

MAX_STATUS_BYTES = 4096

QUIET_SECONDS = 60.0
CHANGE_FACTOR = 2.0
# Below these a change says nothing: consumers commit every few seconds, so lag and delay look like a saw.
SMALL_LAG_MESSAGES = 100
SMALL_SECONDS = 10

# Longest message of a condition (and of the decision), longest of a step, most steps: tried in turn until
# the status is small enough.
_SIZES = (
    (MAX_MESSAGE, 200, MAX_STEPS),
    (400, 120, MAX_STEPS),
    (200, 60, MAX_STEPS),
    (120, 0, MAX_STEPS),
    (60, 0, 0),
)

_NOT_YET = "nothing was decided yet"
_UNKNOWN: tuple[Condition, ...] = tuple(
    Condition(type_, ConditionStatus.UNKNOWN, reason, message)
    for type_, reason, message in (
        (ConditionType.READY, SourceReason.NOT_READ_YET, _NOT_YET),
        (ConditionType.SOURCE_HEALTHY, SourceReason.NOT_READ_YET, "the source was not read yet"),
        (ConditionType.ABLE_TO_SCALE, SourceReason.NOT_READ_YET, "the target was not read yet"),
        (ConditionType.SCALING_LIMITED, SourceReason.NOT_READ_YET, _NOT_YET),
        (ConditionType.BACKPRESSURED, BackpressureReason.LAG_UNKNOWN, "the lag is not known"),
        (ConditionType.PROMISE_KEPT, PromiseReason.LAG_UNKNOWN, "the lag is not known"),
    )
)


def build(
    *,
    generation: int,
    now: float,
    conditions: Iterable[Condition],
    previous: Mapping[str, Any],
    learned: Learned,
    decision: Decision | None = None,
    scale: Scale | Unavailable | None = None,
    processing: ProcessingTime | Unavailable | None = None,
) -> dict[str, Any]:
    """The whole status, at most MAX_STATUS_BYTES of JSON: where needed messages are cut, numbers never.

    `conditions` are added to those of the decision and win over them; a type that nobody speaks about is
    Unknown. The transition time of a condition stays as in `previous` until its status flips. What is not
    known is absent; `learned` is written as given, so give it also when there is no decision.
    """
    said = {condition.type: condition for condition in _UNKNOWN}
    said.update((condition.type, condition) for condition in (decision.conditions if decision else ()))
    said.update((condition.type, condition) for condition in conditions)
    since = _transition_times(previous)
    status: dict[str, Any] = {"observedGeneration": generation, "conditions": []}
    status |= _numbers(decision, scale, processing)
    if learned.last_scale_at is not None:
        status["lastScaleTime"] = rfc3339(learned.last_scale_at)
    if kept := _learned(learned):
        status["learned"] = kept
    if learned.useless is not None:
        status["ineffective"] = useless_part(learned.useless)
    if learned.alerts:
        status["alerts"] = alerts_part(learned.alerts)
    for limit, step_limit, max_steps in _SIZES:
        status["conditions"] = [_condition(each, generation, since, now, limit) for each in said.values()]
        if decision is not None:
            steps = decision.steps[:max_steps]
            status["decision"] = {"reason": decision.reason.value, "message": _cut(decision.message, limit)}
            status["decision"] |= {"steps": [_step(step, step_limit) for step in steps]} if steps else {}
        if _bytes(status) <= MAX_STATUS_BYTES:
            break
    return status


def material_change(
    previous: Mapping[str, Any], new: Mapping[str, Any], now: float, last_write_at: float | None
) -> bool:
    """Whether `new` says something that is worth a write.

    At once: replicas (current, ready, desired), a condition's status, reason or generation, the message
    of `Ready` (it names who else scales the target), the decision's reason, the time of the last scaling, an up that
    brought nothing, which alerts fire. Once QUIET_SECONDS have passed since the
    last write: lag or delay changed by CHANGE_FACTOR or more or became known or unknown, what was learned changed
    as much, or nobody is let in for another cause than the one that is written.
    """
    if not previous or _outline(previous) != _outline(new):
        return True
    if last_write_at is not None and now - last_write_at < QUIET_SECONDS:
        return False
    if _refusal(previous) != _refusal(new):
        return True
    lag, new_lag = previous.get("lag", {}), new.get("lag", {})
    floor = max(SMALL_LAG_MESSAGES, SMALL_SECONDS * _arrival_per_second(new))
    if _moved(lag.get("messages"), new_lag.get("messages"), floor):
        return True
    if _moved(lag.get("delaySeconds"), new_lag.get("delaySeconds"), SMALL_SECONDS):
        return True
    learned, new_learned = previous.get("learned", {}), new.get("learned", {})
    return any(_moved(learned.get(key), new_learned.get(key), 1) for key in learned.keys() | new_learned.keys())


def _refusal(status: Mapping[str, Any]) -> str:
    """Why the source lets nobody in: a person works on it, and must see what is wrong now, not what was at first."""
    refused = (SourceReason.AUTHENTICATION_FAILED, SourceReason.AUTHORIZATION_FAILED)
    found = (c["message"] for c in status.get("conditions", ()) if c["reason"] in refused)
    return next(found, "")


def merge_patch(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status as the body of a JSON merge patch that also removes what is absent, whatever was there before."""
    return {"status": _with_nulls(status, _FIELDS)}


def _optional_fields(model: type[BaseModel]) -> dict[str, None]:
    return {field.alias or name: None for name, field in model.model_fields.items()}


_FIELDS: dict[str, dict[str, None] | None] = {
    **_optional_fields(Status),
    "replicas": _optional_fields(ReplicasPart),
    "lag": _optional_fields(LagPart),
    "rates": _optional_fields(RatesPart),
    "processingTime": _optional_fields(ProcessingTimePart),
    "decision": _optional_fields(DecisionPart),
    "learned": _optional_fields(LearnedPart),
    "ineffective": _optional_fields(IneffectivePart),
}


def _with_nulls(status: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _with_nulls(value, inner) if inner and (value := status.get(name)) else status.get(name)
        for name, inner in fields.items()
    }


def _outline(status: Mapping[str, Any]) -> tuple[object, ...]:
    replicas = status.get("replicas", {})
    return (
        replicas.get("current"),
        replicas.get("ready"),
        replicas.get("desired"),
        status.get("decision", {}).get("reason"),
        status.get("lastScaleTime"),
        status.get("ineffective"),
        status.get("alerts"),
        {
            condition["type"]: (condition["status"], condition["reason"], condition.get("observedGeneration"))
            for condition in status.get("conditions", ())
        },
        [
            condition["message"]
            for condition in status.get("conditions", ())
            if condition["type"] == ConditionType.READY
        ],
    )


def _arrival_per_second(status: Mapping[str, Any]) -> float:
    per_minute: float = status.get("rates", {}).get("arrivalPerMinute", 0)
    return per_minute / 60


def _moved(old: float | None, new: float | None, floor: float) -> bool:
    """Whether a number became known or unknown, or changed by the factor; below `floor` all are the same."""
    if old is None or new is None:
        return old is not new
    low, high = sorted((max(old, floor), max(new, floor)))
    return high >= CHANGE_FACTOR * low


def _transition_times(previous: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    return {
        (condition["type"], condition["status"]): condition["lastTransitionTime"]
        for condition in previous.get("conditions", ())
    }


def _condition(
    condition: Condition, generation: int, since: Mapping[tuple[str, str], str], now: float, limit: int
) -> dict[str, Any]:
    return {
        "type": condition.type.value,
        "status": condition.status.value,
        "observedGeneration": generation,
        "lastTransitionTime": since.get((condition.type, condition.status)) or rfc3339(now),
        "reason": str(condition.reason),
        "message": _cut(condition.message, limit),
    }


def _numbers(
    decision: Decision | None,
    scale: Scale | Unavailable | None,
    processing: ProcessingTime | Unavailable | None,
) -> dict[str, dict[str, Any]]:
    figures = decision.figures if decision else Figures()
    seen = scale if isinstance(scale, Scale) else None
    time = processing if isinstance(processing, ProcessingTime) else None
    parts: dict[str, dict[str, int | str | None]] = {
        "replicas": {
            "current": seen.replicas if seen else None,
            "ready": seen.ready if seen else None,
            "desired": decision.desired if decision else None,
            "recommended": decision.recommended if decision else None,
        },
        "lag": {
            "messages": figures.lag_messages,
            "delaySeconds": _whole(figures.delay_seconds),
            "partitions": figures.partitions,
            "partitionsWithLag": figures.partitions_with_lag,
        },
        "rates": {
            "arrivalPerMinute": _whole(figures.arrival_per_second, 60),
            "consumedPerMinute": _whole(figures.consumed_per_second, 60),
            "capacityPerReplicaPerMinute": _whole(figures.capacity_per_replica_per_second, 60),
        },
        "processingTime": {
            "meanMicroseconds": _whole(time.seconds_per_record, 1e6) if time else None,
            "p50Microseconds": _whole(time.p50_seconds, 1e6) if time else None,
            "p95Microseconds": _whole(time.p95_seconds, 1e6) if time else None,
            "p99Microseconds": _whole(time.p99_seconds, 1e6) if time else None,
            "source": _cut(time.source, 256) if time and time.source else None,
        },
    }
    known = {name: {key: n for key, n in part.items() if n is not None} for name, part in parts.items()}
    return {name: part for name, part in known.items() if part}


def _step(step: Step, limit: int) -> dict[str, Any]:
    written: dict[str, Any] = {"name": _cut(step.name, 64), "replicas": step.replicas}
    if step.message and limit:
        written["message"] = _cut(step.message, limit)
    return written


def _learned(learned: Learned) -> dict[str, int]:
    numbers = {
        "capacityPerReplicaPerMinute": _whole(learned.capacity_per_replica_per_second, 60),
        "startSeconds": _whole(learned.start_seconds),
        "rebalanceSeconds": _whole(learned.rebalance_seconds),
    }
    # A zero here would be read as "no capacity" or "no time at all"; both are only too small to be written.
    return {name: max(1, number) for name, number in numbers.items() if number is not None}


def _whole(value: float | None, unit: float = 1) -> int | None:
    """The nearest whole number of a unit; None stays None, and so does what is no number."""
    if value is None or not math.isfinite(value):
        return None
    return min(MAX_NUMBER, max(0, round(value * unit)))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _bytes(status: Mapping[str, Any]) -> int:
    return len(json.dumps(status, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))
