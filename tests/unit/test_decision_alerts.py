"""`spec.alerts`: when one fires, when it is resolved, and that what is not known does neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer_autoscaler.decision.alerts import alert_firing, watched
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import AlertMemory, History
from consumer_autoscaler.decision.reasons import (
    AlertReason,
    ConditionStatus,
    ConditionType,
    GroupState,
    SourceReason,
)
from consumer_autoscaler.decision.values import (
    Alert,
    Condition,
    GroupReading,
    Observation,
    PartitionReading,
    Policy,
    Scale,
    Unavailable,
)

START = 1_800_000_000.0  # 2027-01-15T08:00:00Z
STEP_SECONDS = 10.0
LAG = Alert(name="far-behind", lag_messages=10_000, for_seconds=20)
UNKNOWN = Unavailable(SourceReason.BROKER_UNREACHABLE, "no broker answers")
T, F, U = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def policy(*alerts: Alert) -> Policy:
    return Policy(min_replicas=1, max_replicas=5, max_delay_seconds=60, alerts=alerts)


def observed(at: float, lag: int | None, *, upper_bound: bool = False) -> Observation:
    """A reading with so much lag in its one partition; None: there was none."""
    group: GroupReading | Unavailable = UNKNOWN
    if lag is not None:
        partition = PartitionReading("orders", 0, 0, 0, lag, lag)
        group = GroupReading(
            at=at, state=GroupState.STABLE, members=1, partitions=(partition,), partition_ceiling=1,
            lag_is_upper_bound=upper_bound,
        )  # fmt: skip
    return Observation(at=at, group=group, scale=Scale(replicas=1, ready=1))


def run(alert: Alert, lags: Sequence[int | None], history: History | None = None) -> tuple[History, list[Condition]]:
    """The history after these lags, a reading each STEP_SECONDS, and what was said at each."""
    history, said = history or History(), []
    for number, lag in enumerate(lags):
        observation = observed(START + number * STEP_SECONDS, lag)
        history = watched(policy(alert), history, observation)
        condition = alert_firing(policy(alert), observation, history)
        assert condition is not None
        said.append(condition)
    return history, said


def statuses(alert: Alert, lags: Sequence[int | None], history: History | None = None) -> list[ConditionStatus]:
    return [condition.status for condition in run(alert, lags, history)[1]]


@pytest.mark.parametrize(
    ("lags", "expected"),
    [
        ((10_000, 10_000, 10_000, 10_000), (F, F, F, F)),
        ((10_001, 10_001, 10_001, 10_001), (F, F, T, T)),
        ((10_001, 9_000, 10_001, 10_001, 10_001), (F, F, F, F, T)),
        ((20_000, 20_000, 20_000, 9_000, 8_001, 8_000), (F, F, T, T, T, F)),
        ((20_000, 20_000, 20_000, 9_000, 20_000), (F, F, T, T, T)),
        ((20_000, None, 20_000), (F, U, T)),
        ((20_000, 20_000, 20_000, None, None, 8_000), (F, F, T, T, T, F)),
        ((None, 20_000, 7), (U, F, F)),
        ((20_000, None, None, None), (F, U, U, U)),
    ],
)
def test_it_fires_above_its_threshold_for_its_time_and_until_four_fifths(
    lags: tuple[int | None, ...], expected: tuple[ConditionStatus, ...]
) -> None:
    assert tuple(statuses(LAG, lags)) == expected


def test_the_message_says_which_how_much_and_since_when() -> None:
    _, said = run(LAG, (12_000, 12_500, 13_000, None, 7))
    since = "more than 10000 messages since 2027-01-15T08:00:00Z"
    assert [(c.reason, c.message) for c in said] == [
        (AlertReason.WITHIN_THRESHOLDS, f"far-behind: the lag is 12000 messages, {since}, fires when that lasts 20 s"),
        (AlertReason.WITHIN_THRESHOLDS, f"far-behind: the lag is 12500 messages, {since}, fires when that lasts 20 s"),
        (AlertReason.THRESHOLD_CROSSED, f"far-behind: the lag is 13000 messages, {since}"),
        (AlertReason.THRESHOLD_CROSSED, f"far-behind: the lag is not known now, {since}"),
        (AlertReason.WITHIN_THRESHOLDS, "no alert: the lag is 7 messages"),
    ]


def test_a_delay_is_watched_as_well() -> None:
    alert = Alert(name="late", delay_seconds=120)
    history = watched(policy(alert), History(delay_seconds=121.0), observed(START, 5))
    condition = alert_firing(policy(alert), observed(START, 5), history)
    assert condition is not None
    assert condition.status is T
    assert condition.message.startswith("late: the oldest message waits 121 s, more than 120 s since")
    unknown = replace(history, delay_seconds=None)
    assert watched(policy(alert), unknown, observed(START + 10, 5)).alerts == history.alerts


def test_a_lag_that_is_a_bound_only_raises_nothing_and_resolves() -> None:
    """It may be less, and never more."""
    alert = replace(LAG, for_seconds=0)
    bound = watched(policy(alert), History(), observed(START, 20_000, upper_bound=True))
    assert bound.alerts == ()
    firing = History(alerts=(AlertMemory(LAG.name, START, firing=True),))
    assert watched(policy(alert), firing, observed(START, 20_000, upper_bound=True)).alerts == firing.alerts
    assert watched(policy(alert), firing, observed(START, 7, upper_bound=True)).alerts == (AlertMemory(LAG.name),)


def test_an_alert_that_leaves_the_spec_is_forgotten() -> None:
    history, _ = run(LAG, (20_000, 20_000, 20_000))
    other = Alert(name="other", lag_messages=1)
    assert [m.name for m in watched(policy(other), history, observed(START, 5)).alerts] == ["other"]
    assert watched(policy(), history, observed(START, 5)).alerts == ()
    assert alert_firing(policy(), observed(START, 5), history) is None


def test_a_decision_says_it_where_the_spec_has_alerts_and_decides_the_same() -> None:
    history, _ = run(LAG, (20_000, 20_000, 20_000))
    observation = observed(START + 30, 20_000)
    with_alert = decide(policy(LAG), observation, history, START + 30)
    without = decide(policy(), observation, history, START + 30)
    assert [c.type for c in with_alert.conditions][-1] is ConditionType.ALERT_FIRING
    assert with_alert.conditions[:-1] == without.conditions
    assert replace(with_alert, conditions=()) == replace(without, conditions=())


LAGS = st.lists(st.none() | st.integers(0, 30_000), max_size=40)
ALERTS = st.builds(
    Alert, name=st.just("a"), lag_messages=st.integers(1, 20_000), for_seconds=st.sampled_from([0, 10, 25, 60])
)


@given(ALERTS, LAGS)
def test_it_turns_on_known_readings_only(alert: Alert, lags: list[int | None]) -> None:
    """To firing only at a reading above the threshold, from it only at one of four fifths or less."""
    history = History()
    for number, lag in enumerate(lags):
        before = any(memory.firing for memory in history.alerts)
        history = watched(policy(alert), history, observed(START + number * STEP_SECONDS, lag))
        after = any(memory.firing for memory in history.alerts)
        if after and not before:
            assert lag is not None
            assert lag > alert.threshold
        if before and not after:
            assert lag is not None
            assert lag <= 0.8 * alert.threshold


@given(ALERTS, LAGS)
def test_unknown_readings_change_nothing_but_what_is_said(alert: Alert, lags: list[int | None]) -> None:
    """The memory is that of the known readings alone, each at its time."""
    history, known = History(), History()
    for number, lag in enumerate(lags):
        observation = observed(START + number * STEP_SECONDS, lag)
        history = watched(policy(alert), history, observation)
        if lag is not None:
            known = watched(policy(alert), known, observation)
    assert history == known


@given(ALERTS, st.lists(st.integers(0, 30_000), min_size=1, max_size=40))
def test_it_fires_exactly_when_a_model_of_one_sentence_does(alert: Alert, lags: list[int]) -> None:
    """All readings of `for_seconds` were above, and none since was at four fifths or below."""
    firing = False
    for end in range(1, len(lags) + 1):
        seen = lags[:end]
        above = 0  # how many of the last readings are above without a break
        while above < end and seen[-1 - above] > alert.threshold:
            above += 1
        lasted = above > 0 and (above - 1) * STEP_SECONDS >= alert.for_seconds
        firing = lasted or (firing and seen[-1] > 0.8 * alert.threshold)
    assert statuses(alert, lags)[-1] is (T if firing else F)
