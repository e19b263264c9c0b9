"""Why a group is behind: hot and stuck partitions, what partitions and maximum allow, and the words for a person."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.decision_model import decided, promise

from consumer_autoscaler.decision.advance import advance
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import BackpressureReason as Reason
from consumer_autoscaler.decision.reasons import ConditionStatus, ConditionType, GroupState, LimitReason
from consumer_autoscaler.decision.stuck import delay_without, lag_without, stuck_partitions
from consumer_autoscaler.decision.values import (
    Condition,
    Decision,
    GroupKind,
    GroupReading,
    Observation,
    PartitionReading,
    Policy,
    Scale,
)

POLL = 15


def policy(**more: object) -> Policy:
    return promise(poll_interval_seconds=POLL, expected_records_per_second=100.0, **more)


def watched(
    arriving: list[float],
    finished: list[float],
    *,
    replicas: int,
    polls: int = 30,
    rules: Policy | None = None,
    **more: object,
) -> tuple[Decision, History, GroupReading]:
    """A settled group whose partitions get and finish so many records per second, after so many polls."""
    rules = rules or policy()
    history, scale = History(), Scale(replicas=replicas, ready=replicas)
    for poll in range(polls):
        at = float(POLL * poll)
        readings = tuple(
            PartitionReading("t", p, int(b * at), 0, int(a * at), int(a * at) - int(b * at))
            for p, (a, b) in enumerate(zip(arriving, finished, strict=True))
        )
        values: dict[str, object] = {
            "at": at, "state": GroupState.STABLE, "members": replicas, "partitions": readings,
            "assignor": "roundrobin", "partition_ceiling": len(readings), **more,
        }  # fmt: skip
        group = GroupReading(**values)  # type: ignore[arg-type]
        observation = Observation(at=at, group=group, scale=scale)
        history = advance(rules, history, observation, at)
        decision = decide(rules, observation, history, at)
    return decision, history, group


def behind(decision: Decision) -> Condition:
    return next(c for c in decision.conditions if c.type is ConditionType.BACKPRESSURED)


def limited(decision: Decision) -> str:
    return next(c.reason for c in decision.conditions if c.type is ConditionType.SCALING_LIMITED)


def test_a_hot_partition_is_named_with_what_it_gets_and_what_a_consumer_does() -> None:
    decision, _, _ = watched([200.0, 30.0, 30.0, 30.0], [100.0, 30.0, 30.0, 30.0], replicas=4)
    condition = behind(decision)
    assert condition.reason == Reason.PARTITION_SKEW
    assert "t-0 gets 200.0/s, 69% of all, and one consumer does " in condition.message
    assert "more than 4 replicas help nothing" in condition.message


def test_no_replicas_are_added_for_hot_partitions_alone() -> None:
    """With 4 of 8 replicas, and only the hot one waits."""
    arriving, finished = [200.0, *[30.0] * 7], [100.0, *[30.0] * 7]
    decision, _, _ = watched(arriving, finished, replicas=4)
    assert decision.desired == 4
    assert limited(decision) == LimitReason.INEFFECTIVE


@pytest.mark.parametrize(
    ("arriving", "finished"),
    [
        ([110.0] * 4, [60.0] * 4),  # all alike
        ([120.0, 100.0, 100.0, 100.0], [60.0, 100.0, 100.0, 100.0]),  # one is behind, and gets no more than others
    ],
)
def test_lag_of_partitions_with_equal_rates_is_no_skew(arriving: list[float], finished: list[float]) -> None:
    assert behind(watched(arriving, finished, replicas=2)[0]).reason != Reason.PARTITION_SKEW


def test_the_members_of_a_share_group_share_all_partitions() -> None:
    """There is no hot partition, and no end to what more replicas can do but the maximum."""
    decision, _, _ = watched(
        [400.0, 30.0, 30.0, 30.0], [310.0, 30.0, 30.0, 30.0], replicas=4, kind=GroupKind.SHARE, partition_ceiling=0
    )
    assert behind(decision).reason == Reason.UNDER_PROVISIONED
    decision, _, _ = watched(
        [400.0] * 4, [100.0] * 4, replicas=4, rules=policy(max_replicas=4), kind=GroupKind.SHARE, partition_ceiling=0
    )
    condition = behind(decision)
    assert condition.reason == Reason.MAX_REPLICAS
    assert "raise it to 18" in condition.message


@pytest.mark.parametrize(("polls", "stuck"), [(20, False), (23, True)])
def test_a_partition_that_stands_still_while_others_go_on_is_stuck_after_300_s(polls: int, stuck: bool) -> None:
    decision, history, group = watched([30.0] * 4, [30.0, 0.0, 30.0, 30.0], replicas=2, polls=polls)
    assert (behind(decision).reason == Reason.STUCK_PARTITION) == stuck
    assert stuck_partitions(policy(), group, history) == (frozenset({("t", 1)}) if stuck else frozenset())
    if stuck:
        assert "no commit on t-1 for" in behind(decision).message


def test_neither_lag_nor_delay_of_a_stuck_partition_counts() -> None:
    _, history, group = watched([30.0] * 4, [30.0, 0.0, 29.0, 30.0], replicas=2)
    assert history.delay_seconds == pytest.approx(435, abs=20)
    assert delay_without(group, history, frozenset({("t", 1)})) == pytest.approx(14.5, abs=5)
    assert lag_without(group, frozenset({("t", 1)})) == 435
    assert delay_without(group, history, frozenset()) == history.delay_seconds


def test_no_replicas_are_added_for_a_partition_that_does_not_move() -> None:
    """From a minute on, long before it is called stuck."""
    decision, _, _ = watched([95.0] * 4, [95.0, 0.0, 95.0, 95.0], replicas=4, polls=10, partition_ceiling=20)
    assert decision.desired == 4
    assert behind(decision).reason != Reason.STUCK_PARTITION


def test_partitions_that_wait_for_their_turn_are_not_stuck() -> None:
    """Most of those with lag stand still, as their consumer is busy with one of them."""
    decision, _, _ = watched([20.0] * 8, [30.0, *[0.0] * 7], replicas=1, polls=30)
    assert behind(decision).reason != Reason.STUCK_PARTITION


def test_when_nothing_moves_at_all_it_is_said_and_is_no_reason_to_ignore_the_lag() -> None:
    decision, history, group = watched([30.0] * 2, [0.0] * 2, replicas=2)
    assert behind(decision).reason == Reason.STUCK_PARTITION
    assert stuck_partitions(policy(), group, history) == frozenset()


def test_too_few_partitions_says_how_many_carry_the_load() -> None:
    """4 consumers at 100/s and 600/s: 7 partitions with a tenth in reserve."""
    condition = behind(watched([150.0] * 4, [100.0] * 4, replicas=4)[0])
    assert condition.reason == Reason.PARTITION_LIMIT
    assert "600.0/s arrive and a consumer does 100.0/s: add partitions, 7 carry the load" in condition.message


@pytest.mark.parametrize(
    ("partitions", "says"), [(12, "raise it to 6"), (4, "raise it to 4 and add partitions, or the load is not carried")]
)
def test_too_low_a_maximum_says_how_high(partitions: int, says: str) -> None:
    """500/s need 5.5 replicas at 100/s, and 2 are allowed."""
    each = 500.0 / partitions
    decision, _, _ = watched(
        [each] * partitions, [0.4 * each] * partitions, replicas=2, rules=policy(max_replicas=2)
    )  # fmt: skip
    condition = behind(decision)
    assert condition.reason == Reason.MAX_REPLICAS
    assert says in condition.message


def test_a_group_that_works_off_what_is_left_says_how_long_it_takes() -> None:
    """Also with a consumer for each partition: more partitions would not be worth while."""
    _, history, group = watched([50.0] * 4, [20.0] * 4, replicas=4)
    quick = replace(history, capacity_per_replica=100.0, evidence_seconds=60.0, seen_per_replica=0.0)
    observation = Observation(at=group.at, group=group, scale=Scale(replicas=4, ready=4))
    condition = behind(decide(policy(), observation, quick, group.at))
    assert condition.reason == Reason.UNDER_PROVISIONED
    assert "it catches up in about 261 s" in condition.message


def test_pods_that_are_missing_are_named_first() -> None:
    _, history, group = watched([150.0] * 4, [100.0] * 4, replicas=4)
    observation = Observation(at=group.at, group=group, scale=Scale(replicas=4, ready=3))
    condition = behind(decide(policy(), observation, history, group.at))
    assert (condition.reason, "3 of 4 pods are ready" in condition.message) == (Reason.UNDER_PROVISIONED, True)


def test_without_a_promise_two_minutes_count_and_the_reasons_are_the_same() -> None:
    rules = promise(poll_interval_seconds=POLL, max_delay_seconds=None, lag_per_replica=100)
    decision, _, _ = watched([200.0, 30.0, 30.0, 30.0], [90.0, 30.0, 30.0, 30.0], replicas=4, rules=rules)
    assert behind(decision).reason == Reason.PARTITION_SKEW
    decision, _, _ = watched([150.0] * 4, [100.0] * 4, replicas=4, rules=rules)
    assert behind(decision).reason == Reason.PARTITION_LIMIT


def test_a_group_that_keeps_up_or_is_not_known_is_not_accused() -> None:
    decision, _, _ = watched([30.0] * 4, [30.0] * 4, replicas=2)
    assert (behind(decision).status, behind(decision).reason) == (ConditionStatus.FALSE, Reason.KEEPING_UP)
    unknown = decided(policy(), replace(watched([1.0], [1.0], replicas=1)[2], lag_is_upper_bound=True),
                      Scale(replicas=1, ready=1))  # fmt: skip
    assert (behind(unknown).status, behind(unknown).reason) == (ConditionStatus.UNKNOWN, Reason.LAG_UNKNOWN)
