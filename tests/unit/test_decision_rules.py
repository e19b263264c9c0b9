"""Single decisions: levels, limits, holds, conditions."""

from __future__ import annotations

import pytest
from tests.unit.decision_model import decided, promise, reading

from consumer_autoscaler.decision.levels import levels_for
from consumer_autoscaler.decision.reasons import (
    BackpressureReason,
    ConditionType,
    DecisionReason,
    GroupState,
    LimitReason,
    ScaleReason,
    SourceReason,
)
from consumer_autoscaler.decision.tracks import follow, waited_seconds
from consumer_autoscaler.decision.values import (
    Decision,
    Mode,
    OffsetReset,
    PartitionReading,
    Policy,
    ReplicaSteps,
    Scale,
    Unavailable,
)


def by_lag(**more: object) -> Policy:
    return promise(max_delay_seconds=None, lag_per_replica=10, **more)


BY_LAG = by_lag()


def reason_of(decision: Decision, type_: ConditionType) -> str:
    return next(c.reason for c in decision.conditions if c.type is type_)


@pytest.mark.parametrize(
    ("partitions", "counts"),
    [(10, (1, 2, 3, 4, 5, 10)), (12, (1, 2, 3, 4, 6, 12)), (24, (1, 2, 3, 4, 5, 6, 8, 12, 24)), (1, (1,))],
)
def test_useful_counts_are_those_that_lower_the_partitions_of_the_fullest_consumer(
    partitions: int, counts: tuple[int, ...]
) -> None:
    """The examples of the docs."""
    assert levels_for(Policy(min_replicas=1, max_replicas=100), partitions).counts == counts


def test_consumers_per_pod_lower_the_ceiling() -> None:
    """Ten partitions and four consumers in each pod: three pods can have work."""
    levels = levels_for(Policy(min_replicas=1, max_replicas=100, consumers_per_pod=4), 10)
    assert levels.counts[-1] == 3
    assert levels.worth(3) == pytest.approx(10 / 4)


def test_any_replica_steps_take_every_count() -> None:
    """`replicaSteps: Any` leaves the choice to the demand alone."""
    policy = Policy(min_replicas=2, max_replicas=5, replica_steps=ReplicaSteps.ANY)
    assert levels_for(policy, 10).counts == (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("lags", "desired"),
    [([5] * 10, 5), ([8] * 10, 10), ([0] * 10, 1), ([1] * 10, 1), ([1000] * 10, 10), ([500, 0, 0], 1)],
)
def test_lag_per_replica_is_divided_rounded_up_and_made_useful(lags: list[int], desired: int) -> None:
    """ceil(lag / 10), then the next useful count, never more than partitions that lag or exist."""
    assert decided(BY_LAG, reading(lags), Scale(replicas=1, ready=1)).desired == desired


@pytest.mark.parametrize(
    ("policy", "lags", "current", "desired", "limit"),
    [
        (by_lag(max_replicas=4), [99] * 10, 1, 4, LimitReason.MAX_REPLICAS),
        (by_lag(), [99] * 10, 1, 10, LimitReason.PARTITION_LIMIT),
        (by_lag(min_replicas=3), [0] * 10, 3, 3, LimitReason.MIN_REPLICAS),
        (by_lag(scale_up_max_step=2), [99] * 10, 1, 3, LimitReason.STEP_LIMIT),
        (by_lag(scale_down_max_step_percent=25), [0] * 10, 10, 8, LimitReason.STEP_LIMIT),
    ],
)
def test_each_limit_is_named_when_it_changed_the_demand(
    policy: Policy, lags: list[int], current: int, desired: int, limit: LimitReason
) -> None:
    """The reason of ScalingLimited is the last limit that acted."""
    decision = decided(policy, reading(lags), Scale(replicas=current, ready=current))
    assert decision.desired == desired
    assert reason_of(decision, ConditionType.SCALING_LIMITED) == limit


@pytest.mark.parametrize(("current", "desired"), [(9, 4), (1, 2)])
def test_bounds_of_the_spec_count_at_once_even_when_the_lag_is_unknown(current: int, desired: int) -> None:
    """An edited minimum or maximum is enforced whatever else is known."""
    policy = promise(min_replicas=2, max_replicas=4)
    unknown = Unavailable(SourceReason.BROKER_UNREACHABLE, "no broker answers")
    decision = decided(policy, unknown, Scale(replicas=current, ready=current))
    assert decision.desired == desired
    assert decision.reason is DecisionReason.BOUNDS_ENFORCED


@pytest.mark.parametrize(
    ("state", "ready", "reason"),
    [
        (GroupState.PREPARING_REBALANCE, 2, DecisionReason.HOLD_REBALANCING),
        (GroupState.RECONCILING, 2, DecisionReason.HOLD_REBALANCING),
        (GroupState.STABLE, 1, DecisionReason.HOLD_PODS_STARTING),
    ],
)
def test_holds_while_the_group_rebalances_or_pods_start(state: GroupState, ready: int, reason: DecisionReason) -> None:
    """Neither up nor down, and the decision says what it waits for."""
    for lags in ([99] * 10, [0] * 10):
        decision = decided(BY_LAG, reading(lags, state=state, members=2), Scale(replicas=2, ready=ready))
        assert decision.desired == 2
        assert decision.reason is reason


def test_the_scale_being_unknown_holds() -> None:
    """Without the present count nothing can be written."""
    decision = decided(BY_LAG, reading([99]), Unavailable(ScaleReason.FAILED_GET_SCALE, "there is no deployment/x"))
    assert decision.desired is None
    assert decision.reason is DecisionReason.HOLD_SCALE_UNKNOWN


def test_paused_changes_nothing_even_outside_of_the_bounds() -> None:
    """Paused stands above everything."""
    decision = decided(promise(mode=Mode.PAUSED, max_replicas=2), reading([99] * 10), Scale(replicas=9, ready=9))
    assert decision.desired == 9


def test_a_group_that_never_committed_under_latest_gets_one_replica() -> None:
    """It would never count any lag otherwise; under Earliest its lag counts by itself."""
    zero = Scale(replicas=0, ready=0)
    fresh = reading([0] * 3, never_committed=True, members=0, state=GroupState.EMPTY)
    assert decided(promise(min_replicas=0), fresh, zero).desired == 1
    assert decided(promise(min_replicas=0, offset_reset=OffsetReset.EARLIEST), fresh, zero).desired == 0


def test_zero_is_left_only_when_lag_exceeds_the_activation() -> None:
    """Greater than, not equal."""
    policy = by_lag(min_replicas=0, activation_lag_messages=2)
    zero = Scale(replicas=0, ready=0)
    assert decided(policy, reading([2, 0, 0], members=0, state=GroupState.EMPTY), zero).desired == 0
    assert decided(policy, reading([2, 1, 0], members=0, state=GroupState.EMPTY), zero).desired == 1


def test_a_partition_of_unknown_lag_makes_the_lag_unknown() -> None:
    """offsetReset None: what a missing commit means is not known, so nothing is decided on the rest."""
    group = reading([50, 50])
    unknown = PartitionReading("t", 2, None, 0, 500, None)
    partial = reading([], partitions=(*group.partitions, unknown), partition_ceiling=3)
    decision = decided(BY_LAG, partial, Scale(replicas=1, ready=1))
    assert decision.reason is DecisionReason.HOLD_LAG_UNKNOWN
    assert decision.figures.lag_messages is None
    assert reason_of(decision, ConditionType.BACKPRESSURED) == BackpressureReason.LAG_UNKNOWN


def test_delay_is_interpolated_between_the_polls() -> None:
    """100 messages a second, the next to be processed is number 450: it arrived at 4.5 s."""
    track = None
    for at in range(11):
        seen = PartitionReading("t", 0, 0, 0, 100 * at, 100 * at)
        track = follow(track, seen, float(at))
    assert track is not None
    seen = PartitionReading("t", 0, 450, 0, 1000, 550)
    track = follow(track, seen, 10.0)
    assert waited_seconds(track, seen, 10.0) == pytest.approx(5.5)
    assert track.ends[0] == 400  # what no unprocessed message needs is dropped


def test_a_topic_made_anew_starts_its_track_anew() -> None:
    """End offsets that fall say nothing about the age of what came before."""
    track = follow(None, PartitionReading("t", 0, 900, 0, 1000, 100), 0.0)
    fresh = PartitionReading("t", 0, None, 0, 5, 5)
    track = follow(track, fresh, 10.0)
    assert track.ends == (5,)
    assert waited_seconds(track, fresh, 10.0) == 0.0
