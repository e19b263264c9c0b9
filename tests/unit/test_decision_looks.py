"""The second look: after a jump of the load the group is read once more before the next poll."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.decision_model import promise

from consumer_autoscaler.decision.history import History, Sample
from consumer_autoscaler.decision.looks import LEAST_JUMP, SOON_SECONDS, look_again_seconds


def seen(rates: list[float], *, poll: float = 15.0, last: float | None = None) -> History:
    """A history of polls with these rates; the last one was `last` seconds after the one before."""
    at, arrived, samples = 0.0, 0.0, [Sample(0.0, 0, 0)]
    for number, rate in enumerate(rates):
        elapsed = last if last is not None and number == len(rates) - 1 else poll
        at, arrived = at + elapsed, arrived + rate * elapsed
        samples.append(Sample(at, round(arrived), 0))
    return History(samples=tuple(samples))


def test_a_jump_is_looked_at_again() -> None:
    assert look_again_seconds(promise(poll_interval_seconds=15), seen([100.0] * 40 + [300.0])) == SOON_SECONDS


def test_an_even_load_and_one_that_falls_are_not() -> None:
    policy = promise(poll_interval_seconds=15)
    assert look_again_seconds(policy, seen([100.0] * 40)) is None
    assert look_again_seconds(policy, seen([100.0] * 40 + [20.0])) is None


def test_chance_is_no_jump() -> None:
    """Of a load that swings by a third, four hundred polls ask for hardly any second look."""
    dice = random.Random(7)
    rates = [max(0.0, dice.gauss(300, 100)) for _ in range(440)]
    policy = promise(poll_interval_seconds=15)
    asked = sum(look_again_seconds(policy, seen(rates[:end][-61:])) is not None for end in range(40, 440))
    assert asked <= 4


def test_a_second_look_asks_for_no_third() -> None:
    policy = promise(poll_interval_seconds=15)
    assert look_again_seconds(policy, seen([100.0] * 40 + [300.0, 900.0], last=4.0)) is None


def test_whoever_does_not_answer_is_not_asked_more_often() -> None:
    """What was seen last was a jump, and every reading since has failed."""
    history = replace(seen([100.0] * 40 + [300.0]), unavailable_since=615.0)
    assert look_again_seconds(promise(poll_interval_seconds=15), history) is None


@pytest.mark.parametrize(
    "policy",
    [promise(poll_interval_seconds=5), promise(max_delay_seconds=None, lag_per_replica=10, poll_interval_seconds=15)],
    ids=["polls that are close", "no promise"],
)
def test_without_need_nothing_is_looked_at_twice(policy: object) -> None:
    assert look_again_seconds(policy, seen([100.0] * 40 + [900.0])) is None  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 10_000), max_size=70), st.sampled_from([8, 15, 30]), st.floats(0.5, 40))
def test_whatever_was_seen_a_second_look_comes_before_the_next_poll_and_after_a_rise(
    rates: list[float], poll: int, last: float
) -> None:
    history = seen(rates, poll=poll, last=last)
    soon = look_again_seconds(promise(poll_interval_seconds=poll), history)
    if soon is not None:
        assert 0 < soon <= poll / 2 <= last
        assert rates[-1] * 1.01 + 1 > (1 + LEAST_JUMP) * rates[-2]
