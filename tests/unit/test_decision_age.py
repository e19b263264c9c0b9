"""The exact look-up by timestamp: when it is asked for, and that it corrects what was interpolated."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.decision_model import Group, promise

from consumer_autoscaler.decision.advance import advance, age_in_doubt
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import ConditionStatus, ConditionType
from consumer_autoscaler.decision.values import GroupReading, Observation


@pytest.mark.parametrize(
    ("delay", "watched_seconds", "asked"),
    [
        (0.0, 600.0, None),
        (29.0, 600.0, None),
        (31.0, 600.0, 60),
        (300.0, 600.0, 60),
        (1.0, 20.0, 60),  # what came before the first reading may be far older
        (0.0, 20.0, None),  # nothing waits
        (None, 600.0, 60),
    ],
)
def test_an_age_is_looked_up_while_the_promise_may_be_broken(
    delay: float | None, watched_seconds: float, asked: int | None
) -> None:
    history = History(began_at=1000.0 - watched_seconds, delay_seconds=delay)
    assert age_in_doubt(promise(), history, 1000.0) == asked


def test_without_a_promise_nothing_is_looked_up() -> None:
    policy = promise(max_delay_seconds=None, lag_per_replica=100)
    assert age_in_doubt(policy, History(began_at=0.0, delay_seconds=500.0), 1000.0) is None


@pytest.mark.parametrize(("older", "kept"), [(1, ConditionStatus.FALSE), (0, ConditionStatus.TRUE)])
def test_what_was_looked_up_decides_whether_the_promise_is_kept(older: int, kept: ConditionStatus) -> None:
    """Old records behind a restart look young by interpolation; an idle hour makes young ones look old."""

    def looked_up(_: float, observation: Observation) -> Observation:
        assert isinstance(observation.group, GroupReading)
        return replace(observation, group=replace(observation.group, older_than_seconds=60.0, partitions_older=older))

    load = 90.0 if older else 5000.0  # by itself: kept, and broken
    policy = promise(max_replicas=1)
    group = Group(policy, lambda _: load, spoil=looked_up).run(200)
    condition = next(c for c in group.decisions[-1].conditions if c.type is ConditionType.PROMISE_KEPT)
    assert condition.status is kept


def test_a_look_up_that_failed_changes_nothing() -> None:
    group = Group(promise(), lambda _: 90.0).run(100)
    observation = group._observation()
    assert isinstance(observation.group, GroupReading)
    unknown = replace(observation, group=replace(observation.group, older_than_seconds=60.0, partitions_older=None))
    plain = advance(group.policy, group.history, observation, group.now)
    assert advance(group.policy, group.history, unknown, group.now).delay_seconds == plain.delay_seconds
