"""Rates as the decision reckons with them, and the virtual queue of a count that is not there."""

from __future__ import annotations

import pytest
from tests.unit.decision_model import promise, reading

from consumer_autoscaler.decision.downs import QUEUE_RELIEF, follow_levels
from consumer_autoscaler.decision.history import History, Sample
from consumer_autoscaler.decision.levels import levels_for
from consumer_autoscaler.decision.signals import signals_of
from consumer_autoscaler.decision.values import Scale

POLICY = promise(poll_interval_seconds=15, expected_records_per_second=100.0)
LEVELS = levels_for(POLICY, 20)


def history_of(rates: list[float], *, last_seconds: float = 15.0) -> History:
    """Polls with these rates, the last of them so many seconds after the one before."""
    samples = [Sample(0.0, 0, 0)]
    for number, rate in enumerate(rates, start=1):
        before, seconds = samples[-1], 15.0 if number < len(rates) else last_seconds
        samples.append(Sample(before.at + seconds, before.arrived + round(rate * seconds), 0))
    return History(began_at=0.0, samples=tuple(samples), replicas=10)


def test_five_minutes_that_are_high_by_chance_count_less() -> None:
    """To and fro between polls by 200/s; what the last five minutes are above a quarter of an hour explains itself."""
    history = history_of([190.0, 390.0] * 20 + [420.0, 220.0] * 10)
    signals = signals_of(POLICY, history, reading([0] * 20), 10, LEVELS)
    assert signals is not None
    assert signals.rate_long == pytest.approx(320)
    assert signals.rate_quarter == pytest.approx(300)
    assert signals.rate == pytest.approx(300)


def test_five_minutes_of_another_load_count_in_full() -> None:
    history = history_of([300.0] * 40 + [320.0] * 20)
    signals = signals_of(POLICY, history, reading([0] * 20), 10, LEVELS)
    assert signals is not None
    assert signals.rate == pytest.approx(320)


def test_the_queue_of_a_smaller_count_grows_by_what_has_arrived_since_the_last_reading() -> None:
    """Also after four seconds, in which there was another load than in the poll before."""
    history = history_of([300.0] * 40 + [1500.0], last_seconds=4.0)
    before = history.samples[-2].at
    moved = follow_levels(POLICY, history, LEVELS, Scale(replicas=10, ready=10), before)
    queues = {level.replicas: level.queue_messages for level in moved.levels}
    assert queues[5] == pytest.approx(4 * (1500 - QUEUE_RELIEF * 500))
