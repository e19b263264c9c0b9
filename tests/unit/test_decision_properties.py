"""What holds in every life of an autoscaler: whatever is read, fails, is edited or restarted, in whatever order.

`make test` plays some hundreds of lives, `make test-all` ten thousand; PROPERTY_LIVES chooses another number.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.unit.decision_sequences import BEGIN, Frame, Life, Poll, Restart, lives, play, policies

from consumer_autoscaler.decision.advance import advance, after_scaling
from consumer_autoscaler.decision.bundle import Bundle, dump, load
from consumer_autoscaler.decision.capacity import capacity_of
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import DecisionReason, GroupState, LimitReason
from consumer_autoscaler.decision.values import (
    GroupReading,
    Mode,
    Observation,
    PartitionReading,
    Policy,
    Scale,
    Unavailable,
)

POLL = 5.0
FEW, MANY = 100, int(os.environ.get("PROPERTY_LIVES", "10000"))
DOWNS_AFTER_SECONDS = 300.0


def within_the_bounds(frame: Frame) -> None:
    """Minimum and maximum of the spec; never up beyond what partitions can use, unless the minimum is."""
    desired = frame.decision.desired
    if desired is None or frame.policy.mode is Mode.PAUSED:
        return
    assert frame.policy.min_replicas <= desired <= frame.policy.max_replicas
    group = frame.observation.group
    if frame.step > 0 and isinstance(group, GroupReading):
        pods = math.ceil(group.partition_ceiling / frame.policy.consumers_per_pod)
        assert desired <= max(pods, frame.policy.min_replicas)


def an_unknown_lag_never_lowers(frame: Frame) -> None:
    """Except down to the maximum of the spec."""
    if isinstance(frame.observation.group, Unavailable) and frame.current is not None:
        assert frame.decision.desired is not None
        assert frame.decision.desired >= min(frame.current, frame.policy.max_replicas)


def no_failing_source_lowers(frame: Frame) -> None:
    """Neither lag nor count nor processing time; except by the bounds of the spec."""
    observed = frame.observation
    failed = any(isinstance(part, Unavailable) for part in (observed.group, observed.scale, observed.processing))
    if failed and not frame.by_bounds:
        assert frame.step >= 0


def nothing_within_the_cooldown(frame: Frame) -> None:
    """Since the last change by whomever, a restart between or not; except by the bounds and from zero."""
    if not frame.step or frame.by_bounds or frame.current == 0 or frame.changed_at is None:
        return
    policy = frame.policy
    need = policy.scale_up_cooldown_seconds if frame.step > 0 else policy.scale_down_cooldown_seconds
    assert frame.now - frame.changed_at >= need


def no_opposite_steps_within_a_cooldown(frame: Frame) -> None:
    """The operator never takes back its own step before the cooldown of the way back has passed."""
    if frame.written is None or frame.step != -frame.written[1] or frame.by_bounds or frame.current == 0:
        return
    policy = frame.policy
    need = policy.scale_up_cooldown_seconds if frame.step > 0 else policy.scale_down_cooldown_seconds
    assert frame.now - frame.written[0] >= need


def deciding_again_changes_nothing(frame: Frame) -> None:
    """At the same moment, with the count that was just written, and its pods not there yet.

    Except after a try of one level less, which goes against what is believed of a replica, to measure it, and after
    an edited bound, which counts before the partitions are looked at.
    """
    scale, desired, policy = frame.observation.scale, frame.decision.desired, frame.policy
    if not isinstance(scale, Scale) or desired is None or not frame.step or frame.by_bounds:
        return
    if frame.step < 0 and any(step.name == LimitReason.LEARNING_CAPACITY for step in frame.decision.steps):
        return
    again = replace(frame.observation, scale=replace(scale, replicas=desired, ready=min(scale.ready, desired)))
    second = decide(policy, again, after_scaling(frame.history, desired, frame.now), frame.now)
    limited = policy.scale_up_max_step is not None or policy.scale_down_max_step_percent < 100
    if not limited and scale.replicas > 0:
        assert second.desired == desired, f"{frame.decision.message} | {second.message}"


def paused_changes_nothing(frame: Frame) -> None:
    """Whatever is seen."""
    if frame.policy.mode is Mode.PAUSED and frame.current is not None:
        assert frame.decision.desired == frame.current


def no_down_before_five_minutes_were_seen(frame: Frame) -> None:
    """By this process itself; except by the bounds, and to zero after idleSeconds."""
    if frame.step >= 0 or frame.by_bounds:
        return
    assert frame.first_reading_at is not None
    idle = frame.policy.idle_seconds if frame.decision.desired == 0 else DOWNS_AFTER_SECONDS
    assert frame.now - frame.first_reading_at >= min(DOWNS_AFTER_SECONDS, idle)


def no_down_while_group_or_pods_are_not_at_rest(frame: Frame) -> None:
    """Except by the bounds, and to zero, where nobody is left to be disturbed."""
    scale, group = frame.observation.scale, frame.observation.group
    if frame.step >= 0 or frame.by_bounds or not frame.decision.desired:
        return
    assert isinstance(scale, Scale)
    assert isinstance(group, GroupReading)
    assert not group.state.rebalancing
    assert scale.ready >= scale.replicas


def more_lag_asks_for_no_fewer(frame: Frame) -> None:
    """The demand before all limits, of the same history with more lag on every partition.

    Except while a capacity that nobody knows yet is being measured: an up waits for that when there is a backlog.
    """
    group = frame.observation.group
    if frame.history.saturation is not None and not capacity_of(frame.policy, frame.history).known:
        return
    if not isinstance(group, GroupReading) or not frame.decision.steps or frame.decision.steps[0].name != "Demand":
        return
    for more in (1, 1000):
        behind = tuple(
            replace(p, committed_offset=(p.committed_offset or 0) - more, lag_messages=(p.lag_messages or 0) + more)
            for p in group.partitions
        )
        observation = replace(frame.observation, group=replace(group, partitions=behind))
        second = decide(frame.policy, observation, frame.history, frame.now)
        assert second.steps[0].replicas >= frame.decision.steps[0].replicas


ROWS: Sequence[Callable[[Frame], None]] = (
    within_the_bounds,
    an_unknown_lag_never_lowers,
    no_failing_source_lowers,
    nothing_within_the_cooldown,
    no_opposite_steps_within_a_cooldown,
    deciding_again_changes_nothing,
    paused_changes_nothing,
    no_down_before_five_minutes_were_seen,
    no_down_while_group_or_pods_are_not_at_rest,
    more_lag_asks_for_no_fewer,
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
@settings(max_examples=FEW, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(life=lives)
def test_it_holds_in_every_life(row: Callable[[Frame], None], life: Life) -> None:
    """Each row of the invariants."""
    for frame in play(life):
        row(frame)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(
    max_examples=MANY, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None
)
@given(life=lives)
def test_everything_holds_in_ten_thousand_lives(life: Life) -> None:
    """All rows at once, in other lives each time."""
    for frame in play(life):
        for row in ROWS:
            row(frame)


def test_the_lives_are_worth_their_name() -> None:
    """Among a few hundred lives there are ups and downs, restarts, holds and every fault that a row is about."""
    seen: set[str] = set()

    @settings(max_examples=250, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(life=lives)
    def look(life: Life) -> None:
        seen.update(type(event).__name__ for event in life.events)
        seen.update(event.fault for event in life.events if isinstance(event, Poll))
        for frame in play(life):
            seen.add(str(frame.decision.reason))

    look()
    assert {"Edit", "Restart", "Outside", "lag", "scale", "processing", "reset", "upper bound", "not scalable"} <= seen
    wanted = {
        DecisionReason.SCALE_UP, DecisionReason.SCALE_DOWN, DecisionReason.SCALE_TO_ZERO,
        DecisionReason.SCALE_FROM_ZERO, DecisionReason.BOUNDS_ENFORCED, DecisionReason.PAUSED,
        DecisionReason.HOLD_LAG_UNKNOWN, DecisionReason.HOLD_SCALE_UNKNOWN, DecisionReason.AT_DEMAND,
    }  # fmt: skip
    assert {str(reason) for reason in wanted} <= seen


def test_the_minimum_counts_even_where_nothing_can_be_scaled_by() -> None:
    """At zero with a lag that is known and no ground for a count, as with partitions that were assigned by hand."""
    policy = Policy(min_replicas=2, max_replicas=19, lag_per_replica=757)
    (frame,) = play(Life(policy, 6, 0, (Poll(175, 171, fault="not scalable"),)))
    assert (frame.decision.desired, frame.decision.reason) == (2, DecisionReason.BOUNDS_ENFORCED)


@settings(max_examples=FEW, deadline=None)
@given(policies(paused=False), st.integers(2, 12), st.sampled_from([1.0, 400.0]))
def test_after_a_restart_an_up_needs_no_more_than_two_readings(policy: Policy, partitions: int, away: float) -> None:
    """Far behind with a known capacity: readings tell the lag at once, and the rate with the second one."""
    policy = replace(
        policy, min_replicas=1, max_replicas=30, max_delay_seconds=60, lag_per_replica=None,
        expected_records_per_second=10.0, consumers_per_pod=1, scale_up_cooldown_seconds=0,
    )  # fmt: skip
    growing = Poll(arrived=5000, processed=50)
    frames = play(Life(policy, partitions, 1, (Poll(0, 0), Restart(away), growing, growing)))
    assert frames[-1].decision.desired is not None
    assert frames[-1].decision.desired > 1


class Fluid:
    """A group of equal partitions under a constant load: new pods work after `start`, a change stops it for `pause`."""

    def __init__(self, rate: float, each: float, partitions: int, start: float, pause: float) -> None:
        self.rate, self.each, self.partitions, self.start, self.pause = rate, each, partitions, start, pause
        self.now, self.arrived, self.done = BEGIN, 0.0, 0.0
        self.working = 0
        self.coming: list[tuple[float, int]] = []
        self.stopped_until = BEGIN

    def ask_for(self, replicas: int) -> None:
        if replicas > self.working:
            self.coming = [(self.now + self.start, replicas)]
        else:
            self.coming, self.working, self.stopped_until = [], replicas, self.now + self.pause

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            until = min([end, *(at for at, _ in self.coming), *([self.stopped_until] if self.stopped else [])])
            span = until - self.now
            self.arrived += self.rate * span
            if not self.stopped and self.working:
                worth = self.partitions / math.ceil(self.partitions / min(self.working, self.partitions))
                self.done = min(self.arrived, self.done + self.each * worth * span)
            self.now = until
            if self.coming and self.coming[0][0] <= self.now:
                self.working, self.coming, self.stopped_until = self.coming[0][1], [], self.now + self.pause

    @property
    def stopped(self) -> bool:
        return self.now < self.stopped_until

    def observe(self, replicas: int) -> Observation:
        ends, commits = self._spread(self.arrived), self._spread(self.done)
        group = GroupReading(
            at=self.now,
            state=GroupState.PREPARING_REBALANCE if self.stopped else GroupState.STABLE,
            members=self.working,
            partitions=tuple(
                PartitionReading("t", n, commit, 0, end, end - commit)
                for n, (end, commit) in enumerate(zip(ends, commits, strict=True))
            ),
            partition_ceiling=self.partitions,
        )
        return Observation(at=self.now, group=group, scale=Scale(replicas=replicas, ready=min(self.working, replicas)))

    def _spread(self, total: float) -> list[int]:
        return [(int(total) + self.partitions - 1 - n) // self.partitions for n in range(self.partitions)]


constant_loads = st.tuples(
    st.floats(1, 500),  # records per second
    st.floats(5, 200),  # of one replica
    st.sampled_from([6, 12, 24]),
    st.sampled_from([5, 15]),
    st.sampled_from([60, 300]),
    st.booleans(),
    st.integers(1, 12),
    st.floats(10, 60),
    st.floats(1, 15),
)
SETTLES_SECONDS, STAYS_SECONDS = 3600.0, 1800.0
TRIES = 4  # two levels less and back, or one with a way back in steps


def it_settles(load: tuple[float, float, int, int, int, bool, int, float, float]) -> None:
    """After an hour of a constant load at most a few tries of one level less follow, and no backlog grows.

    A load within some percent of what a level can do is such that nobody can say whether it suffices but by a try.
    """
    rate, each, partitions, poll, promise, known, replicas, start, pause = load
    policy = Policy(
        min_replicas=1, max_replicas=partitions, max_delay_seconds=promise, poll_interval_seconds=poll,
        expected_records_per_second=each if known else None,
    )  # fmt: skip
    group, history = Fluid(rate, each, partitions, start, pause), History()
    group.working = replicas = min(replicas, partitions)
    writes: list[float] = []
    while group.now < BEGIN + SETTLES_SECONDS + STAYS_SECONDS:
        group.pass_time(poll)
        observation = group.observe(replicas)
        history = advance(policy, history, observation, group.now)
        desired = decide(policy, observation, history, group.now).desired
        assert desired is not None
        if desired != replicas:
            history, replicas = after_scaling(history, desired, group.now), desired
            group.ask_for(desired)
            writes.append(group.now - BEGIN)
    assert sum(at > SETTLES_SECONDS for at in writes) <= TRIES, f"still moves: {writes[-6:]}"
    if each * partitions > 1.2 * rate:
        assert group.arrived - group.done <= rate * promise


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(constant_loads)
def test_under_a_constant_load_it_settles(load) -> None:  # type: ignore[no-untyped-def]
    """Whatever the load, the replicas' pace and the group's times, known or not."""
    it_settles(load)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=max(1, MANY // 50), deadline=None, phases=[Phase.generate], database=None)
@given(constant_loads)
def test_under_many_constant_loads_it_settles(load) -> None:  # type: ignore[no-untyped-def]
    """The same, a fiftieth as often as the lives: each is an hour and a half long."""
    it_settles(load)


@settings(max_examples=100, deadline=None)
@given(lives)
def test_a_bundle_as_json_gives_the_same_decision(life: Life) -> None:
    """What `explain --live --json` prints is all that decide() was given."""
    for frame in play(life)[-10:]:
        bundle = Bundle(policy=frame.policy, observation=frame.observation, history=frame.history, now=frame.now)
        again = load(json.loads(json.dumps(dump(bundle))))
        assert decide(again.policy, again.observation, again.history, again.now) == frame.decision


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
