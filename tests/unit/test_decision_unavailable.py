"""What happens while nothing can be read: hold, or `scaling.unavailable`."""

from __future__ import annotations

import pytest
from tests.unit.decision_model import promise, reading

from consumer_autoscaler.decision.advance import advance
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import DecisionReason, SourceReason
from consumer_autoscaler.decision.values import Decision, GroupReading, Mode, Observation, Policy, Scale, Unavailable

NO_BROKER = Unavailable(SourceReason.BROKER_UNREACHABLE, "no broker answers")


def after(policy: Policy, readings: list[tuple[float, GroupReading | Unavailable]], replicas: int = 2) -> Decision:
    """The decision at the last of these readings."""
    history = History()
    for at, group in readings:
        observation = Observation(at=at, group=group, scale=Scale(replicas=replicas, ready=replicas))
        history = advance(policy, history, observation, at)
    return decide(policy, observation, history, at)


def test_without_the_field_an_outage_holds_for_ever() -> None:
    decision = after(promise(), [(0.0, NO_BROKER), (86_400.0, NO_BROKER)])
    assert (decision.desired, decision.reason) == (2, DecisionReason.HOLD_LAG_UNKNOWN)


@pytest.mark.parametrize(("seconds", "desired"), [(299.0, 2), (300.0, 8), (900.0, 8)])
def test_an_outage_that_lasts_raises_to_the_wanted_count(seconds: float, desired: int) -> None:
    policy = promise(unavailable_after_seconds=300, unavailable_at_least_replicas=8)
    assert after(policy, [(0.0, NO_BROKER), (seconds, NO_BROKER)]).desired == desired


def test_it_never_lowers_and_never_exceeds_the_maximum() -> None:
    policy = promise(unavailable_after_seconds=10, unavailable_at_least_replicas=30)
    outage = [(0.0, NO_BROKER), (60.0, NO_BROKER)]
    assert after(policy, list(outage)).desired == 20
    fewer = promise(unavailable_after_seconds=10, unavailable_at_least_replicas=3)
    assert after(fewer, list(outage), replicas=12).desired == 12


def test_a_good_reading_begins_the_count_anew() -> None:
    policy = promise(unavailable_after_seconds=300, unavailable_at_least_replicas=8)
    seen = [(0.0, NO_BROKER), (250.0, reading([0] * 20)), (260.0, NO_BROKER), (500.0, NO_BROKER)]
    assert after(policy, seen).desired == 2


def test_paused_stays_paused() -> None:
    policy = promise(unavailable_after_seconds=10, unavailable_at_least_replicas=8, mode=Mode.PAUSED)
    assert after(policy, [(0.0, NO_BROKER), (60.0, NO_BROKER)]).desired == 2
