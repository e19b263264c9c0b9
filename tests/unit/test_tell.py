"""Which turn of a condition becomes an Event."""

from __future__ import annotations

from typing import Any, cast

import pytest

from consumer_autoscaler.cluster.events import EventRecorder, ObjectRef
from consumer_autoscaler.runtime import tell

REF = ObjectRef("consumerautoscaler.dev/v1alpha1", "ConsumerAutoscaler", "shop", "payments", "uid")


class Recorder:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.notes: list[str] = []

    def record(self, regarding: ObjectRef, kind: str, reason: str, note: str, **more: Any) -> None:
        self.seen.append((kind, str(reason)))
        self.notes.append(note)


def status(type_: str, status_: str, reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": type_, "status": status_, "reason": reason, "message": "words"}]}


@pytest.mark.parametrize(
    ("type_", "before", "after", "events"),
    [
        ("Backpressured", ("False", "KeepingUp"), ("True", "MaxReplicas"), [("Warning", "Backpressured")]),
        ("Backpressured", ("True", "MaxReplicas"), ("True", "PartitionLimit"), [("Warning", "Backpressured")]),
        ("Backpressured", ("True", "MaxReplicas"), ("False", "KeepingUp"), [("Normal", "CaughtUp")]),
        ("Backpressured", ("Unknown", "LagUnknown"), ("False", "KeepingUp"), []),
        ("Backpressured", ("True", "MaxReplicas"), ("True", "MaxReplicas"), []),
        ("PromiseKept", ("True", "WithinPromise"), ("False", "DelayAbovePromise"), [("Warning", "PromiseBroken")]),
        ("PromiseKept", ("False", "DelayAbovePromise"), ("True", "WithinPromise"), [("Normal", "PromiseKeptAgain")]),
        ("SourceHealthy", ("True", "Valid"), ("False", "BrokerUnreachable"), [("Warning", "SourceFailed")]),
        ("SourceHealthy", ("False", "BrokerUnreachable"), ("True", "Valid"), [("Normal", "SourceRecovered")]),
        ("SourceHealthy", ("Unknown", "NotReadYet"), ("True", "Valid"), []),
        ("Ready", ("True", "Working"), ("True", "Paused"), [("Normal", "Paused")]),
        ("Ready", ("True", "Paused"), ("True", "Working"), [("Normal", "Resumed")]),
        ("Ready", ("True", "Working"), ("True", "PartlyPaused"), [("Normal", "Paused")]),
        ("Ready", ("True", "PartlyPaused"), ("True", "Working"), [("Normal", "Resumed")]),
        ("Ready", ("True", "Working"), ("False", "Conflicted"), [("Warning", "ConflictingAutoscaler")]),
        ("Ready", ("False", "Conflicted"), ("True", "Working"), [("Normal", "ReadyAgain")]),
        ("Ready", ("False", "InvalidSpec"), ("True", "Paused"), [("Normal", "Paused")]),
        ("Ready", ("Unknown", "NotReadYet"), ("True", "Working"), []),
        ("Ready", ("True", "Working"), ("False", "TargetNotFound"), [("Warning", "TargetNotFound")]),
        ("AbleToScale", ("True", "ReadyForNewScale"), ("False", "Forbidden"), [("Warning", "ScaleFailed")]),
    ],
)
def test_a_turn_is_told_once(
    type_: str, before: tuple[str, str], after: tuple[str, str], events: list[tuple[str, str]]
) -> None:
    recorder = Recorder()
    tell.transitions(cast(EventRecorder, recorder), REF, status(type_, *before), status(type_, *after))
    assert recorder.seen == events


def test_what_begins_well_is_no_news() -> None:
    recorder = Recorder()
    tell.transitions(cast(EventRecorder, recorder), REF, {}, status("Backpressured", "False", "KeepingUp"))
    tell.transitions(cast(EventRecorder, recorder), REF, {}, status("PromiseKept", "True", "WithinPromise"))
    assert recorder.seen == []


def alerting(message: str, *names: str) -> dict[str, Any]:
    condition = {"type": "AlertFiring", "status": "True", "reason": "ThresholdCrossed", "message": message}
    return {"conditions": [condition] if message else [], "alerts": [{"name": name} for name in names]}


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (alerting("none"), alerting("late: words", "late"), [("Warning", "AlertFiring", "late: words")]),
        (alerting("late: words", "late"), alerting("late: other words", "late"), []),
        (
            alerting("a: words", "a"),
            alerting("b: words", "b"),
            [("Warning", "AlertFiring", "b: words"), ("Normal", "AlertResolved", "a: resolved; b: words")],
        ),
        (
            alerting("words", "b", "a"),
            alerting(""),
            [("Normal", "AlertResolved", "a, b: resolved; the spec has no alerts any more")],
        ),
    ],
)
def test_an_alert_is_told_when_it_begins_and_when_it_ends(
    before: dict[str, Any], after: dict[str, Any], events: list[tuple[str, str, str]]
) -> None:
    recorder = Recorder()
    tell.transitions(cast(EventRecorder, recorder), REF, before, after)
    assert [(kind, reason, note) for (kind, reason), note in zip(recorder.seen, recorder.notes, strict=True)] == events
