"""What the decision makes of members that have not left, commits that stand still, skew, and lag not to scale by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.decision_model import Group, decided, promise, reading

from consumer_autoscaler.decision.advance import advance, after_scaling
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import (
    BackpressureReason,
    ConditionStatus,
    ConditionType,
    DecisionReason,
    PromiseReason,
    SourceReason,
)
from consumer_autoscaler.decision.tracks import commit_seconds, follow
from consumer_autoscaler.decision.values import (
    Condition,
    Decision,
    GroupReading,
    Observation,
    PartitionReading,
    Policy,
    Scale,
    Unavailable,
)

BY_LAG = promise(max_delay_seconds=None, lag_per_replica=10)


def condition(decision: Decision, type_: ConditionType) -> Condition:
    return next(c for c in decision.conditions if c.type is type_)


def after_a_down(policy: Policy, members: int, seconds: float) -> Decision:
    """Of three replicas one is left, and lag comes; so many are members that many seconds later."""
    history = advance(
        policy, History(began_at=0.0, active_at=0.0), _seen(reading([0] * 3, members=3), 3, 1000.0), 1000.0
    )
    history = after_scaling(history, 1, 1000.0)
    at = 1000.0 + seconds
    observation = _seen(reading([50] * 3, members=members), 1, at)
    return decide(policy, observation, advance(policy, history, observation, at), at)


def _seen(group: GroupReading, replicas: int, at: float) -> Observation:
    return Observation(at=at, group=replace(group, at=at), scale=Scale(replicas=replicas, ready=replicas))


@pytest.mark.parametrize(
    ("members", "seconds", "desired"),
    [(3, 10, 1), (2, 49, 1), (1, 10, 3), (3, 51, 3)],
)
def test_lag_of_members_that_have_not_left_is_no_demand(members: int, seconds: float, desired: int) -> None:
    """For as long as a session lasts; when they are gone, or it is over, lag counts as ever."""
    decision = after_a_down(BY_LAG, members, seconds)
    assert decision.desired == desired
    assert (decision.reason is DecisionReason.HOLD_REBALANCING) == (desired == 1)


def test_pods_with_several_consumers_have_as_many_members() -> None:
    """Three members are one pod's own."""
    assert after_a_down(replace(BY_LAG, consumers_per_pod=3), 3, 10).reason is not DecisionReason.HOLD_REBALANCING


@pytest.mark.parametrize("lags", [[0] * 3, [500] * 3])
def test_a_lag_that_is_not_to_scale_by_holds(lags: list[int]) -> None:
    """Up and down, and SourceHealthy says why; the lag is shown."""
    why = Unavailable(SourceReason.MANUAL_ASSIGNMENT, "they assign")
    decision = decided(BY_LAG, reading(lags, unscalable=why), Scale(replicas=2, ready=2))
    assert (decision.desired, decision.reason) == (2, DecisionReason.HOLD_NOT_SCALABLE)
    healthy = condition(decision, ConditionType.SOURCE_HEALTHY)
    assert (healthy.status, healthy.reason, healthy.message) == (
        ConditionStatus.FALSE,
        "ManualAssignment",
        "they assign",
    )
    assert decision.figures.lag_messages == sum(lags)


def test_a_warning_leaves_the_source_healthy_and_names_itself() -> None:
    """So that the condition's reason changes, which makes an Event."""
    group = reading([5], warning=SourceReason.MESSAGES_LOST, note="lost some")
    healthy = condition(decided(BY_LAG, group, Scale(replicas=1, ready=1)), ConditionType.SOURCE_HEALTHY)
    assert (healthy.status, healthy.reason, healthy.message) == (ConditionStatus.TRUE, "MessagesLost", "lost some")


@pytest.mark.parametrize(("replicas", "desired"), [(0, 1), (2, 2)])
def test_a_group_that_is_not_there_gets_one_consumer_at_zero_only(replicas: int, desired: int) -> None:
    """At zero nobody else could make it; otherwise a reading that failed holds."""
    gone = Unavailable(SourceReason.GROUP_NOT_FOUND, "not there")
    policy = promise(min_replicas=0)
    assert decided(policy, gone, Scale(replicas=replicas, ready=replicas)).desired == desired
    other = Unavailable(SourceReason.BROKER_UNREACHABLE, "nobody answers")
    assert decided(policy, other, Scale(replicas=replicas, ready=replicas)).desired == replicas


def test_pending_messages_keep_the_last_replica() -> None:
    """They are no lag, and still somebody will have to read them."""
    policy = promise(min_replicas=0, max_delay_seconds=None, lag_per_replica=10, idle_seconds=300)
    for pending, desired in ((0, 0), (3, 1)):
        history = History(began_at=0.0, active_at=0.0)
        for at in (400.0, 600.0, 800.0, 1000.0):
            observation = _seen(reading([0], pending_messages=pending), 1, at)
            history = advance(policy, history, observation, at)
        assert decide(policy, observation, history, 1000.0).desired == desired


def _standing(seconds: float, committed: list[tuple[float, int]]) -> Decision:
    """A partition with commits at these times, that much later."""
    policy = promise(max_delay_seconds=30)
    history, at, end = History(began_at=0.0), 0.0, 10_000
    for at, offset in committed:
        history = advance(policy, history, _seen(_group(offset, end), 1, at), at)
    at += seconds
    observation = _seen(_group(committed[-1][1], end), 1, at)
    return decide(policy, observation, advance(policy, history, observation, at), at)


def _group(committed: int, end: int) -> GroupReading:
    return reading([], partitions=(PartitionReading("t", 0, committed, 0, end, end - committed),), partition_ceiling=1)


@pytest.mark.parametrize(
    ("seconds", "committed", "stuck"),
    [
        (299, [(0.0, 1)], False),
        (301, [(0.0, 1)], True),
        (301, [(0.0, 1), (200.0, 2), (400.0, 3)], False),  # a commit every 200 s: stuck after three of them
        (601, [(0.0, 1), (200.0, 2), (400.0, 3)], True),
    ],
)
def test_stuck_is_said_after_five_minutes_and_three_usual_commits(
    seconds: float, committed: list[tuple[float, int]], stuck: bool
) -> None:
    """A long batch is work."""
    reason = condition(_standing(seconds, committed), ConditionType.BACKPRESSURED).reason
    assert (reason == BackpressureReason.STUCK_PARTITION) == stuck


def test_a_partition_without_lag_never_stands_still() -> None:
    """Nor does the time count in which nothing waited."""
    done = PartitionReading("t", 0, 10, 0, 10, 0)
    track = follow(None, done, 0.0)
    track = follow(track, done, 500.0)
    track = follow(track, PartitionReading("t", 0, 10, 0, 15, 5), 600.0)
    assert track.still_since == 500.0
    track = follow(track, PartitionReading("t", 0, 15, 0, 15, 0), 615.0)
    assert (track.still_since, track.commit_gaps[-1]) == (615.0, 115.0)


def test_the_interval_of_commits_is_learned_where_it_is_longer_than_the_polls() -> None:
    """From the shortest of the last few gaps, so that one long batch is not taken for the rule."""
    track = None
    for at, offset in ((0, 0), (5, 0), (10, 0), (15, 0), (20, 100), (40, 200), (110, 300)):
        track = follow(track, PartitionReading("t", 0, offset, 0, 900, 900 - offset), float(at))
    assert track is not None
    assert commit_seconds([track], 5) == 20.0
    assert commit_seconds([track], 15) is None
    assert commit_seconds([], 5) is None


def test_a_promise_shorter_than_the_commits_allow_is_said() -> None:
    """Late is by the commit, so a promise has to leave room for its interval."""
    tracks = (replace(follow(None, PartitionReading("t", 0, 0, 0, 0, 0), 0.0), commit_gaps=(40.0, 45.0)),)
    history = History(
        began_at=0.0, tracks=tracks, start_seconds_seen=(5.0,), rebalance_seconds_seen=(5.0,), delay_seconds=0.0
    )
    observation = _seen(reading([0]), 1, 1000.0)
    kept = condition(decide(promise(max_delay_seconds=50), observation, history, 1000.0), ConditionType.PROMISE_KEPT)
    assert (kept.reason, "commits 40 s" in kept.message) == (PromiseReason.PROMISE_TOO_SHORT, True)


@pytest.mark.parametrize("poll", [5, 15])
@pytest.mark.parametrize("commit", [1.0, 5.0, 10.0, 15.0])
def test_commits_up_to_15_seconds_apart_move_no_count(poll: int, commit: float) -> None:
    """Once the capacity has been measured, constant load is carried by one count however the commits come."""
    policy = promise(poll_interval_seconds=poll)
    group = Group(policy, lambda _: 900.0, commit_seconds=commit, replicas=10, per_replica=100.0).run(600)
    began = group.now
    assert group.run(900).changes(began) == 0


@pytest.mark.parametrize(
    ("members", "scale", "said"),
    [
        (8, Scale(replicas=2, ready=2), True),
        (2, Scale(replicas=2, ready=2), False),
        (7, Scale(replicas=2, ready=2), False),  # some have not joined yet
        (8, Scale(replicas=2, ready=1), False),
        (0, Scale(replicas=2, ready=2), False),
    ],
)
def test_pods_that_bring_another_number_of_consumers_are_a_hint(members: int, scale: Scale, said: bool) -> None:
    """At rest only, when all pods are there."""
    healthy = condition(decided(BY_LAG, reading([5], members=members), scale), ConditionType.SOURCE_HEALTHY)
    assert ("each pod brings 4 consumers, and consumersPerPod is 1" in healthy.message) == said
