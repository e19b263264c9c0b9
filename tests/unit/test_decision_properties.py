"""What holds for every sequence of observations, faults and edits."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer_autoscaler.decision.advance import advance, after_scaling, resumed
from consumer_autoscaler.decision.bundle import Bundle, dump, load
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import DecisionReason, GroupState, SourceReason
from consumer_autoscaler.decision.values import (
    GroupReading,
    Mode,
    Observation,
    PartitionReading,
    Policy,
    ReplicaSteps,
    Scale,
    Unavailable,
)

POLL = 5.0


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    low = draw(st.integers(0, 6))
    by_promise = draw(st.booleans())
    return Policy(
        min_replicas=low,
        max_replicas=draw(st.integers(max(1, low), 30)),
        max_delay_seconds=draw(st.sampled_from([10, 60, 600])) if by_promise else None,
        lag_per_replica=None if by_promise else draw(st.integers(1, 1000)),
        expected_records_per_second=draw(st.none() | st.floats(0.5, 500)),
        consumers_per_pod=draw(st.integers(1, 3)),
        poll_interval_seconds=5,
        replica_steps=draw(st.sampled_from(ReplicaSteps)),
        scale_up_cooldown_seconds=draw(st.sampled_from([0, 30])),
        scale_down_cooldown_seconds=draw(st.sampled_from([0, 60, 300])),
        scale_up_max_step=draw(st.none() | st.integers(1, 5)),
        scale_down_max_step_percent=draw(st.integers(1, 100)),
        activation_lag_messages=draw(st.sampled_from([0, 10])),
        idle_seconds=draw(st.sampled_from([0, 30, 300])),
    )


# One poll: how many arrive and are processed on each partition, the state, what is wrong, whether pods lag behind.
polls = st.tuples(
    st.integers(0, 2000),
    st.integers(0, 2000),
    st.sampled_from([GroupState.STABLE] * 4 + list(GroupState)),
    st.sampled_from(["nothing"] * 6 + ["lag", "scale", "reset"]),
    st.integers(0, 3),
)
runs = st.tuples(policies(), st.integers(1, 12), st.integers(0, 30), st.lists(polls, min_size=1, max_size=40))


def play(  # type: ignore[no-untyped-def]
    run: tuple[Policy, int, int, list[tuple[int, int, GroupState, str, int]]], history: History | None = None
):
    """Yields (policy, history before, observation, history, decision, now) for each poll, writes being accepted."""
    policy, partitions, replicas, steps = run
    history, now, ends, done = history or History(), 1_000_000.0, 0, 0
    for arrived, processed, state, wrong, unready in steps:
        now += POLL
        ends += arrived
        done = min(ends, done + processed)
        if wrong == "reset":
            ends = done = arrived
        group: GroupReading | Unavailable = GroupReading(
            at=now,
            state=state,
            members=0 if state in (GroupState.EMPTY, GroupState.DEAD) else replicas,
            partitions=tuple(PartitionReading("t", p, done, 0, ends, ends - done) for p in range(partitions)),
            partition_ceiling=partitions,
        )
        scale: Scale | Unavailable = Scale(replicas=replicas, ready=max(0, replicas - unready))
        if wrong == "lag":
            group = Unavailable(SourceReason.PARTIAL_READING, "a broker did not answer")
        if wrong == "scale":
            scale = Unavailable(SourceReason.NOT_READ_YET, "unknown")
        observation = Observation(at=now, group=group, scale=scale)
        before = history
        history = advance(policy, history, observation, now)
        decision = decide(policy, observation, history, now)
        yield policy, before, observation, history, decision, now
        if decision.desired is not None and decision.desired != replicas:
            replicas = decision.desired
            history = after_scaling(history, replicas, now)


@settings(max_examples=300, deadline=None)
@given(runs)
def test_the_limits_hold_after_every_decision(run) -> None:  # type: ignore[no-untyped-def]
    """Within minimum and maximum, and never up beyond the partitions unless the minimum is."""
    for policy, _, observation, _, decision, _ in play(run):
        if decision.desired is None:
            continue
        assert policy.min_replicas <= decision.desired <= policy.max_replicas
        assert isinstance(observation.scale, Scale)
        if decision.desired > observation.scale.replicas and isinstance(observation.group, GroupReading):
            pods = math.ceil(observation.group.partition_ceiling / policy.consumers_per_pod)
            assert decision.desired <= max(pods, policy.min_replicas)


@settings(max_examples=300, deadline=None)
@given(runs)
def test_an_unknown_lag_never_lowers_the_count(run) -> None:  # type: ignore[no-untyped-def]
    """Except down to the maximum of the spec."""
    for policy, _, observation, _, decision, _ in play(run):
        if isinstance(observation.group, Unavailable) and isinstance(observation.scale, Scale):
            assert decision.desired is not None
            assert decision.desired >= min(observation.scale.replicas, policy.max_replicas)


@settings(max_examples=300, deadline=None)
@given(runs)
def test_no_change_within_the_cooldown(run) -> None:  # type: ignore[no-untyped-def]
    """Except by the bounds of the spec and from zero."""
    for policy, before, observation, _, decision, now in play(run):
        if not isinstance(observation.scale, Scale) or decision.desired is None or before.changed_at is None:
            continue
        current = observation.scale.replicas
        if decision.desired == current or current == 0 or decision.reason is DecisionReason.BOUNDS_ENFORCED:
            continue
        up = decision.desired > current
        need = policy.scale_up_cooldown_seconds if up else policy.scale_down_cooldown_seconds
        assert now - before.changed_at >= need


@settings(max_examples=200, deadline=None)
@given(runs)
def test_deciding_again_after_the_write_changes_nothing(run) -> None:  # type: ignore[no-untyped-def]
    """At the same moment, with the count that was just decided, and its pods not there yet."""
    for policy, _, observation, history, decision, now in play(run):
        scale = observation.scale
        if not isinstance(scale, Scale) or decision.desired in (None, scale.replicas):
            continue
        again = replace(
            observation, scale=replace(scale, replicas=decision.desired, ready=min(scale.ready, decision.desired))
        )
        written = after_scaling(history, decision.desired, now)
        second = decide(policy, again, written, now)
        assert second.desired is not None
        limited = policy.scale_up_max_step is not None or policy.scale_down_max_step_percent < 100
        if not limited and scale.replicas > 0:
            assert second.desired == decision.desired


@settings(max_examples=200, deadline=None)
@given(runs)
def test_paused_never_changes_anything(run) -> None:  # type: ignore[no-untyped-def]
    """Whatever is seen."""
    policy, *rest = run
    for _, _, observation, _, decision, _ in play((replace(policy, mode=Mode.PAUSED), *rest)):
        if isinstance(observation.scale, Scale):
            assert decision.desired == observation.scale.replicas


@settings(max_examples=200, deadline=None)
@given(policies(), st.lists(st.integers(0, 10_000), min_size=1, max_size=12), st.integers(1, 20), st.integers(0, 5000))
def test_more_lag_never_asks_for_fewer_by_lag_per_replica(
    policy: Policy, lags: list[int], replicas: int, more: int
) -> None:
    """All else equal."""
    policy = replace(policy, max_delay_seconds=None, lag_per_replica=100)
    wanted = []
    for add in (0, more):
        group = GroupReading(
            at=1000.0,
            state=GroupState.STABLE,
            members=replicas,
            partitions=tuple(PartitionReading("t", p, 0, 0, lag + add, lag + add) for p, lag in enumerate(lags)),
            partition_ceiling=len(lags),
        )
        observation = Observation(at=1000.0, group=group, scale=Scale(replicas=replicas, ready=replicas))
        history = advance(policy, History(began_at=0.0, active_at=999.0), observation, 1000.0)
        wanted.append(decide(policy, observation, history, 1000.0).desired)
    assert wanted[0] is not None
    assert wanted[1] is not None
    assert wanted[0] <= wanted[1]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 400), st.integers(1, 20), st.integers(0, 20_000), st.integers(0, 20_000), st.floats(1, 300))
def test_more_lag_never_means_fewer_on_the_way_up_to_keep_a_promise(
    rate: int, replicas: int, lag: int, more: int, per_replica: float
) -> None:
    """The same arrivals and the same capacity, the commits further behind."""
    policy = Policy(
        min_replicas=1, max_replicas=20, max_delay_seconds=60, poll_interval_seconds=5,
        expected_records_per_second=per_replica,
    )  # fmt: skip
    wanted = []
    for behind in (lag, lag + more):
        history, now = History(), 1000.0
        for poll in range(15):  # the commits rest: nothing is learned, the lag is what differs
            now += POLL
            end = 1_000_000 + 5 * rate * poll
            partitions = tuple(PartitionReading("t", p, 0, 0, end, behind + 5 * rate * poll) for p in range(5))
            group = GroupReading(
                at=now, state=GroupState.STABLE, members=replicas, partitions=partitions, partition_ceiling=5
            )
            observation = Observation(at=now, group=group, scale=Scale(replicas=replicas, ready=replicas))
            history = advance(policy, history, observation, now)
        desired = decide(policy, observation, history, now).desired
        assert desired is not None
        wanted.append(max(desired, replicas))
    assert wanted[0] <= wanted[1]


@settings(max_examples=150, deadline=None)
@given(runs, st.integers(0, 39), st.integers(0, 400))
def test_after_a_restart_nothing_goes_down_for_five_minutes(run, restart_at: int, ago: int) -> None:  # type: ignore[no-untyped-def]
    """Whatever is seen first, and whatever the status knew; except by the bounds, and to zero by idleSeconds."""
    policy, partitions, replicas, steps = run
    status = resumed(capacity_per_replica=50.0, start_seconds=5.0, rebalance_seconds=None, changed_at=1_000_000.0 - ago)
    first_at = None
    for _, _, observation, _, decision, now in play(
        (policy, partitions, replicas, steps[restart_at:] or steps), status
    ):
        if first_at is None and isinstance(observation.group, GroupReading):
            first_at = now
        if not isinstance(observation.scale, Scale) or decision.reason is DecisionReason.BOUNDS_ENFORCED:
            continue
        assert decision.desired is not None
        if decision.desired < observation.scale.replicas:
            assert first_at is not None
            need = min(300, policy.idle_seconds) if decision.desired == 0 else 300
            assert now - first_at >= need


@settings(max_examples=200, deadline=None)
@given(runs)
def test_nothing_goes_down_while_the_group_or_its_pods_are_not_at_rest(run) -> None:  # type: ignore[no-untyped-def]
    """Except by the bounds, and to zero, where nobody is left to be disturbed."""
    for _, _, observation, _, decision, _ in play(run):
        scale, group = observation.scale, observation.group
        if not isinstance(scale, Scale) or not isinstance(group, GroupReading) or not decision.desired:
            continue
        if decision.desired < scale.replicas and decision.reason is not DecisionReason.BOUNDS_ENFORCED:
            assert not group.state.rebalancing
            assert scale.ready >= scale.replicas


@settings(max_examples=100, deadline=None)
@given(runs)
def test_a_bundle_as_json_gives_the_same_decision(run) -> None:  # type: ignore[no-untyped-def]
    """What `explain --live --json` prints is all that decide() was given."""
    for policy, _, observation, history, decision, now in play(run):
        text = json.dumps(dump(Bundle(policy=policy, observation=observation, history=history, now=now)))
        bundle = load(json.loads(text))
        assert decide(bundle.policy, bundle.observation, bundle.history, bundle.now) == decision
