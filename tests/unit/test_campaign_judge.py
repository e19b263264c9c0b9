"""The judge of the fault campaign: what it calls wrong, and what it lets pass."""

from __future__ import annotations

import pytest
from tests.campaign.judge import STATUS_WRITES_TO_SPARE, Condition, Expected, Outcome, judge

UP = (1, 3)
CONDITIONS: list[Condition] = [("Ready", "True", "Working")]


def outcome(*counts: int, **named: object) -> Outcome:
    """As a run that went well, but for what is said."""
    good: dict[str, object] = {
        "scale_writes": len(counts) - 1,
        "status_writes": 5,
        "events": {"ConsumerAutoscaler TargetScaledUp": 1},
        "conditions": CONDITIONS,
    }
    return Outcome("X1", "fault", "up", 0, counts=[*counts], **{**good, **named})  # type: ignore[arg-type]


def judged(run: Outcome, expected: Expected | None = None) -> Outcome:
    judge(run, [outcome(1, 3), outcome(1, 3)], expected or Expected(), UP)
    return run


def test_a_run_that_is_as_without_the_fault_has_no_finding() -> None:
    assert not judged(outcome(1, 3)).bad


@pytest.mark.parametrize(
    ("counts", "wrong", "double"),
    [
        ((1, 3, 5), 0, 1),  # one step further
        ((1, 3, 1), 1, 0),  # and back
        ((1, 0, 3), 1, 0),  # from nothing known
        ((1, 2, 3), 1, 0),  # a step of its own
        ((1, 3, 5, 7), 0, 2),
    ],
)
def test_counts_that_the_story_does_not_ask_for(counts: tuple[int, ...], wrong: int, double: int) -> None:
    found = judged(outcome(*counts))
    assert (found.wrong_scale_writes, found.double_steps) == (wrong, double)


def test_a_count_that_is_written_twice_is_a_double_step_although_nothing_moves() -> None:
    assert judged(outcome(1, 3, scale_writes=2)).double_steps == 1


def test_who_does_not_arrive_is_stuck() -> None:
    assert judged(outcome(1)).stuck == "ended at [1], not at [1, 3]"


def test_who_did_not_even_begin_has_written_nothing() -> None:
    found = judged(outcome(scale_writes=0, stuck="no broker"))
    assert (found.wrong_scale_writes, found.double_steps, found.stuck) == (0, 0, "no broker")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"restarts": 1}, "1 restarts, expected 0 to 0"),
        ({"status_writes": 5 + STATUS_WRITES_TO_SPARE + 1}, "9 status writes, at most 8"),
        ({"conditions": [("Ready", "False", "Working")]}, "conditions at the end"),
        ({"events": {}}, "Event ConsumerAutoscaler TargetScaledUp 1 times less"),
        ({"events": {"ConsumerAutoscaler TargetScaledUp": 2}}, "Event ConsumerAutoscaler TargetScaledUp 1 times more"),
    ],
)
def test_what_is_different(named: dict[str, object], words: str) -> None:
    (difference,) = judged(outcome(1, 3, **named)).differences
    assert difference.startswith(words)


def test_what_a_fault_may_change_is_no_difference() -> None:
    expected = Expected(
        restarts=(1, 1), events=frozenset({"ScaleFailed"}), events_may_be_lost=True, status_writes=4, counts=(1, 3, 2)
    )
    run = outcome(1, 3, 2, restarts=1, status_writes=12, events={"ConsumerAutoscaler ScaleFailed": 1})
    assert not judged(run, expected).bad


def test_a_fault_that_met_nothing_is_not_compared_but_its_counts_are() -> None:
    run = judged(outcome(1, 3, 5, happened=False, restarts=1))
    assert run.differences == []
    assert run.double_steps == 1
