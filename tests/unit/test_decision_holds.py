"""What stops a decision and what may pass: pods on their way, pods that never come, consumers that are not there."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.decision_model import Group, decided, promise, reading

from consumer_autoscaler.decision.advance import advance, after_scaling
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import DecisionReason, GroupState
from consumer_autoscaler.decision.values import Decision, Observation, OffsetReset, PartitionReading, Policy, Scale


def after_an_up(policy: Policy, lags: list[int], before: int, to: int, *, members: int) -> tuple[Decision, Decision]:
    """Two decisions while the pods of an up from `before` to `to` are starting; an up by the first is accepted."""
    history = History(began_at=0.0, active_at=1000.0, replicas=before)
    history = after_scaling(history, to, 1000.0)
    found = []
    for now in (1005.0, 1010.0):
        state = GroupState.STABLE if members else GroupState.EMPTY
        group = reading(lags, at=now, state=state, members=members)
        observation = Observation(at=now, group=group, scale=Scale(replicas=to, ready=before))
        history = advance(policy, history, observation, now)
        decision = decide(policy, observation, history, now)
        found.append(decision)
        assert decision.desired is not None
        if decision.desired != to:
            to = decision.desired
            history = after_scaling(history, to, now)
        lags = [lag * 2 for lag in lags]
    return found[0], found[1]


def test_an_up_that_was_seen_too_early_is_raised_once_and_no_more() -> None:
    """The poll fell into the burst: the rest of it raises the up, a second raise waits for the pods."""
    policy = promise(max_delay_seconds=None, lag_per_replica=100)
    first, second = after_an_up(policy, [40] * 20, 1, 2, members=1)
    assert first.desired == 10
    assert second.desired == 10
    assert second.reason is DecisionReason.HOLD_PODS_STARTING


def test_an_up_from_zero_is_raised_while_nobody_has_joined() -> None:
    """From zero there is nobody in the group whom a raise could disturb."""
    policy = promise(min_replicas=0, max_delay_seconds=None, lag_per_replica=100)
    first, second = after_an_up(policy, [40] * 20, 0, 2, members=0)
    assert first.desired == 10
    assert second.desired == 10


def test_unknown_capacity_is_no_reason_to_raise_an_up() -> None:
    """Nothing is known yet, and the pods of the last doubling are starting: wait for what they can do."""
    history = History(began_at=0.0, active_at=1000.0, replicas=1)
    history = after_scaling(history, 2, 1000.0)
    for poll in range(1, 12):  # longer than start and pause are reckoned with, not yet twice as long
        now = 1000.0 + 5 * poll
        group = reading([2000 * poll] * 20, at=now, members=1)
        observation = Observation(at=now, group=group, scale=Scale(replicas=2, ready=1))
        history = advance(promise(), history, observation, now)
        assert decide(promise(), observation, history, now).desired == 2


def test_pods_that_never_come_do_not_block_the_ups_to_come() -> None:
    """One pod of the first four crash-loops for ever: the load grows three times, and each time the group does."""

    def crash(_: float, observation: Observation) -> Observation:
        scale = observation.scale
        assert isinstance(scale, Scale)
        return replace(observation, scale=replace(scale, ready=scale.ready - 1))

    group = Group(
        promise(expected_records_per_second=100.0),
        lambda t: (250.0, 460.0, 640.0, 1300.0)[min(3, int(t / 800))],
        replicas=4,
        spoil=crash,
    ).run(3200)
    assert group.replicas == 20
    assert group.history.delay_seconds is not None
    assert group.history.delay_seconds < 60


def test_a_minimum_counts_also_when_a_partition_is_not_known() -> None:
    """offsetReset None, nobody ever committed, and the minimum says one."""
    unknown = tuple(PartitionReading("t", p, None, 0, 500, None) for p in range(3))
    group = reading([], partitions=unknown, partition_ceiling=3, never_committed=True, members=0)
    policy = promise(min_replicas=1, offset_reset=OffsetReset.NONE)
    decision = decided(policy, group, Scale(replicas=0, ready=0))
    assert decision.desired == 1
    assert decision.reason is DecisionReason.BOUNDS_ENFORCED


def test_a_rebalance_that_does_not_end_does_not_block_an_up_for_ever() -> None:
    """A group that never comes to rest may still grow, after twice start and pause."""
    policy = promise(max_delay_seconds=None, lag_per_replica=100)
    history, writes = History(), []
    for poll in range(40):
        now = 1000.0 + 5 * poll
        group = reading([1000] * 20, at=now, state=GroupState.PREPARING_REBALANCE, members=2)
        observation = Observation(at=now, group=group, scale=Scale(replicas=2, ready=2))
        history = advance(policy, history, observation, now)
        decision = decide(policy, observation, history, now)
        if decision.desired != 2:
            writes.append((now, decision.desired))
    assert writes
    assert writes[0] == (1085.0, 20)
