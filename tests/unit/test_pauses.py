"""The annotations that pause: how they are read, and that the decision obeys them whatever else it would do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from tests.unit.decision_model import decided, promise, reading
from tests.unit.decision_sequences import Life, lives, play

from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.reasons import DecisionReason, LimitReason, SourceReason
from consumer_autoscaler.decision.values import Mode, Scale, Unavailable
from consumer_autoscaler.resource.pauses import ANNOTATIONS, pauses
from consumer_autoscaler.resource.spec import InvalidSpec, parse
from consumer_autoscaler.resource.status import material_change

P = "consumerautoscaler.dev/"


def annotations(**values: str) -> dict[str, object]:
    return {"annotations": {P + name.replace("_", "-"): value for name, value in values.items()}}


def test_what_is_not_annotated_is_not_paused() -> None:
    for metadata in ({}, {"annotations": None}, {"annotations": {"autoscaling.keda.sh/paused": "true"}}):
        read = pauses(metadata)
        assert (read.paused, read.replicas, read.scale_in, read.scale_out, read.problems) == (
            False, None, False, False, (),
        )  # fmt: skip


def test_each_annotation_is_read() -> None:
    read = pauses(annotations(paused="true", paused_replicas="3", paused_scale_in="True", paused_scale_out="false"))
    assert (read.paused, read.replicas, read.scale_in, read.scale_out) == (True, 3, True, False)
    assert read.problems == ()


@pytest.mark.parametrize("name", ANNOTATIONS)
@pytest.mark.parametrize("value", ["", "yes", "1.5", "-1", "ture", "None", "99999999", "²", "9" * 5000])
def test_a_value_that_says_nothing_is_a_problem_and_pauses_nothing(name: str, value: str) -> None:
    read = pauses({"annotations": {name: value}})
    assert (read.paused, read.replicas, read.scale_in, read.scale_out) == (False, None, False, False)
    assert len(read.problems) == 1
    assert name in read.problems[0]
    assert "correct or remove it" in read.problems[0]


def test_a_count_may_begin_with_zeros() -> None:
    assert [pauses(annotations(paused_replicas=text)).replicas for text in ("0", "007", "0" * 5000, "10000")] == [
        0, 7, 0, 10_000,
    ]  # fmt: skip


def test_a_problem_is_reported_like_one_of_the_spec() -> None:
    body = {"metadata": {"namespace": "shop", "name": "a", "uid": "u", **annotations(paused="yes")}, "spec": {}}
    with pytest.raises(InvalidSpec, match=r"consumerautoscaler\.dev/paused\]: must be 'true' or 'false', not 'yes'"):
        parse(body)


def test_paused_holds_outside_of_the_bounds_too() -> None:
    decision = decided(promise(paused=True, max_replicas=2), reading([99] * 10), Scale(replicas=9, ready=9))
    assert (decision.desired, decision.reason) == (9, DecisionReason.PAUSED)


def test_paused_replicas_is_the_count_even_outside_of_the_bounds() -> None:
    policy = promise(paused_replicas=7, max_replicas=5)
    decision = decided(policy, reading([99] * 10), Scale(replicas=2, ready=2))
    assert (decision.desired, decision.reason) == (7, DecisionReason.PAUSED)
    assert decision.steps[-1].name == LimitReason.PAUSED_REPLICAS
    assert decided(replace(policy, mode=Mode.PAUSED), reading([99]), Scale(replicas=2, ready=2)).desired == 2


@pytest.mark.parametrize(
    ("paused", "present", "limit"),
    [("paused_scale_out", 1, LimitReason.PAUSED_SCALE_OUT), ("paused_scale_in", 9, LimitReason.PAUSED_SCALE_IN)],
)
def test_a_paused_direction_holds_against_the_bounds(paused: str, present: int, limit: LimitReason) -> None:
    policy = promise(min_replicas=3, max_replicas=5, **{paused: True})
    decision = decided(policy, reading([0] * 10), Scale(replicas=present, ready=present))
    assert (decision.desired, decision.reason) == (present, DecisionReason.HOLD_PAUSED)
    assert (decision.steps[-1].name, decision.steps[-1].replicas) == (limit, present)
    limited = next(c for c in decision.conditions if c.type == "ScalingLimited")
    assert (limited.status, limited.reason) == ("True", limit)


def test_a_paused_up_holds_against_a_group_that_does_not_exist_yet() -> None:
    nothing = Unavailable(SourceReason.GROUP_NOT_FOUND, "no such group")
    policy = promise(min_replicas=0, paused_scale_out=True)
    assert decided(policy, nothing, Scale(replicas=0, ready=0)).desired == 0
    assert decided(replace(policy, paused_scale_out=False), nothing, Scale(replicas=0, ready=0)).desired == 1


@settings(deadline=None, max_examples=60)
@given(lives)
def test_a_paused_direction_never_moves_and_the_other_is_as_it_was(life: Life) -> None:
    """Over random lives, with faults, edits and restarts."""
    for frame in play(life):
        current, free = frame.current, frame.decision.desired
        if current is None or free is None:
            continue
        for kind, held in (("paused_scale_in", free < current), ("paused_scale_out", free > current)):
            policy = replace(frame.policy, **{kind: True})
            assert decide(policy, frame.observation, frame.history, frame.now).desired == (current if held else free)


def test_what_ready_says_is_written_at_once_when_it_changes() -> None:
    """Its message names who else scales the target."""

    def status_of(message: str) -> dict[str, object]:
        ready = {"type": "Ready", "status": "True", "reason": "Observing", "message": message}
        limited = {"type": "ScalingLimited", "status": "False", "reason": "DesiredWithinRange", "message": message}
        return {"conditions": [ready, limited]}

    alone, beside = status_of("computes"), status_of("computes; HorizontalPodAutoscaler shop/a scales the same target")
    assert material_change(alone, beside, 10.0, 9.0)
    assert not material_change(alone, {"conditions": [alone["conditions"][0], beside["conditions"][1]]}, 10.0, 9.0)  # type: ignore[index]
