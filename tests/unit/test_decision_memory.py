"""What the history takes from a reading, and what it must not take from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from tests.unit.decision_model import promise

from consumer_autoscaler.decision.advance import advance, after_scaling, resumed
from consumer_autoscaler.decision.capacity import MEASURED, capacity_of
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import DecisionReason, GroupState, SourceReason
from consumer_autoscaler.decision.values import (
    Decision,
    GroupReading,
    Observation,
    PartitionReading,
    Policy,
    Scale,
    Unavailable,
)

DOWN = Unavailable(SourceReason.BROKER_UNREACHABLE, "no broker answers")


@dataclass
class Watch:
    """A history fed by hand: each poll says what arrived and what was done on each of ten partitions."""

    policy: Policy = field(default_factory=promise)
    history: History = field(default_factory=History)
    now: float = 10_000.0
    replicas: int = 5
    end: int = 0
    done: int = 0
    decision: Decision | None = None

    def poll(
        self,
        arrived: int = 0,
        processed: int = 0,
        *,
        ready: int | None = None,
        state: GroupState = GroupState.STABLE,
        members: int | None = None,
        rolling: bool = False,
        reading: bool = True,
        times: int = 1,
    ) -> Decision:
        for _ in range(times):
            self.now += self.policy.poll_interval_seconds
            self.end += arrived
            self.done = min(self.end, self.done + processed)
            group = GroupReading(
                at=self.now,
                state=state,
                members=self.replicas if members is None else members,
                partitions=tuple(
                    PartitionReading("t", p, self.done, 0, self.end, self.end - self.done) for p in range(10)
                ),
                partition_ceiling=10,
            )
            scale = Scale(replicas=self.replicas, ready=self.replicas if ready is None else ready, rolling=rolling)
            observation = Observation(at=self.now, group=group if reading else DOWN, scale=scale)
            self.history = advance(self.policy, self.history, observation, self.now)
            self.decision = decide(self.policy, observation, self.history, self.now)
        assert self.decision is not None
        return self.decision

    def scale(self, replicas: int) -> None:
        self.history = after_scaling(self.history, replicas, self.now)
        self.replicas = replicas


def test_start_and_pause_of_an_up_are_learned_apart() -> None:
    """Ready 20 s after the write, stable 10 s later: that is what is reckoned with from then on."""
    watch = Watch()
    watch.poll(10, 10, times=3)
    watch.scale(10)
    watch.poll(10, 10, ready=5, times=3)
    watch.poll(10, 10, state=GroupState.PREPARING_REBALANCE, times=2)
    watch.poll(10, 10)
    assert watch.history.start_seconds == 17.5  # it became ready some time between two readings
    assert watch.history.rebalance_seconds == 10


def test_the_slowest_of_the_last_three_starts_is_reckoned_with() -> None:
    """A start that is believed too short breaks the promise: one fast start does not undo a slow one, three do."""
    watch = Watch()
    found = []
    for polls_to_start in (6, 1, 1, 1):
        watch.poll(10, 10, times=3)
        watch.scale(watch.replicas + 1)
        watch.poll(10, 10, ready=watch.replicas - 1, times=polls_to_start - 1)
        watch.poll(10, 10, times=2)
        found.append(watch.history.start_seconds)
    assert found == [27.5, 27.5, 27.5, 2.5]  # half a poll earlier than seen


def test_pods_that_are_missing_are_no_rebalance() -> None:
    """A node is lost for ten minutes: the pause that a scaling costs has not become ten minutes."""
    watch = Watch()
    watch.poll(10, 10, times=3)
    watch.poll(10, 10, ready=4, times=120)
    watch.poll(10, 10, times=3)
    assert watch.history.rebalance_seconds_seen == ()
    watch.poll(10, 0, ready=4, state=GroupState.PREPARING_REBALANCE, times=3)
    watch.poll(10, 10, ready=4, times=60)
    watch.poll(10, 10)
    assert watch.history.rebalance_seconds_seen == (15.0,)


@pytest.mark.parametrize("by_lag", [False, True])
def test_the_first_good_reading_begins_the_five_minutes_before_a_down(by_lag: bool) -> None:
    """No broker answers for ten minutes after a start: the first reading afterwards lowers nothing."""
    more: dict[str, object] = {"max_delay_seconds": None, "lag_per_replica": 10} if by_lag else {}
    watch = Watch(promise(expected_records_per_second=100.0, **more))
    watch.poll(reading=False, times=120)
    seconds = 0
    while watch.poll(10, 10).desired == 5:
        seconds += 5
        assert seconds < 1200
    assert seconds >= 300


def test_lag_per_replica_goes_down_to_the_highest_count_wanted_within_the_cooldown() -> None:
    """The last scaling was long ago, but five were wanted just now: a moment without lag lowers nothing."""
    watch = Watch(promise(max_delay_seconds=None, lag_per_replica=10, scale_down_cooldown_seconds=60))
    watch.poll(5, 0)
    watch.poll(5, 5, times=120)
    watch.done = watch.end
    decision = watch.poll(0, 0)
    assert decision.desired == 5
    assert decision.reason is DecisionReason.HOLD_COOLDOWN
    assert watch.poll(0, 0, times=12).desired == 1


def test_a_long_outage_begins_them_anew() -> None:
    """Lag per replica with an hour without readings: the count is not lowered on the first one, but in five minutes."""
    watch = Watch(promise(max_delay_seconds=None, lag_per_replica=10, scale_down_cooldown_seconds=60))
    watch.poll(50, 50, times=70)
    watch.end += 20
    watch.poll(0, 0, times=2)
    watch.poll(reading=False, times=720)
    watch.done = watch.end
    decision = watch.poll(0, 0)
    assert decision.desired == 5
    assert decision.reason is DecisionReason.HOLD_HISTORY
    assert watch.poll(0, 0, times=61).desired == 1


def test_levels_are_not_credited_for_what_nobody_saw() -> None:
    """Ten minutes without a reading do not pay for a down."""
    watch = Watch()
    watch.poll(100, 100, times=3)
    before = {level.replicas: level.coped_seconds for level in watch.history.levels}
    watch.poll(reading=False, times=120)
    watch.poll(100, 100)
    for level in watch.history.levels:
        assert level.coped_seconds <= before[level.replicas] + 10


def test_offsets_that_were_reset_are_no_capacity() -> None:
    """Someone moves the commits a million ahead: nobody has worked so fast."""
    watch = Watch()
    watch.poll(50, 50, times=24)
    usual = watch.history.seen_per_replica
    assert usual == pytest.approx(50 * 10 / 5 / 5)
    watch.poll(1_000_000, 50)
    watch.poll(50, 1_000_000)
    watch.poll(50, 50, times=24)
    assert watch.history.seen_per_replica == pytest.approx(usual, rel=0.1)


def test_what_more_pods_than_asked_for_have_done_is_no_capacity() -> None:
    """During a rollout twice the pods work: that does not make each of them faster."""
    watch = Watch()
    watch.poll(50, 50, times=24)
    usual = watch.history.seen_per_replica
    watch.poll(100, 100, rolling=True, members=10, times=24)
    watch.poll(50, 50, times=24)
    assert watch.history.seen_per_replica == pytest.approx(usual)


def test_capacity_is_measured_under_saturation_only() -> None:
    """All partitions lag for 30 s: what was committed is what five replicas can do, 100/s each."""
    watch = Watch()
    watch.poll(100, 100, times=3)
    watch.poll(400, 250, times=10)
    capacity = capacity_of(watch.policy, watch.history)
    assert capacity.source == MEASURED
    assert capacity.per_replica == pytest.approx(250 * 10 / 5 / 5, rel=0.05)


def test_what_was_measured_briefly_is_cut_by_what_one_commit_could_have_brought() -> None:
    """Ten seconds hold the work of up to fifteen; what is only believed so far is not yet called measured."""
    watch = Watch()
    watch.poll(100, 100, times=3)
    watch.poll(400, 250, times=6)
    capacity = capacity_of(watch.policy, watch.history)
    assert capacity.known
    assert capacity.source != MEASURED
    assert 0.6 * 100 < capacity.per_replica < 0.8 * 100


def test_consumers_that_were_idle_at_first_are_no_measurement() -> None:
    """A load that comes back after a lull: what they did until it was there is not what they can do."""
    watch = Watch()
    watch.poll(100, 100, times=12)
    watch.poll(0, 0, times=12)
    watch.poll(10, 0)
    watch.poll(400, 50)
    watch.poll(400, 250)
    assert watch.history.capacity_per_replica is None
    watch.poll(400, 250, times=6)
    assert watch.history.capacity_per_replica == pytest.approx(100, rel=0.01)


def test_briefly_measured_again_and_again_is_as_good_as_measured_once_for_long() -> None:
    """Short stretches are pooled: a group that is saturated for a moment now and then is learned, too."""
    watch = Watch()
    for _ in range(4):
        watch.poll(100, 100, times=3)
        watch.poll(400, 250, times=6)
        watch.poll(0, 250, times=4)
    capacity = capacity_of(watch.policy, watch.history)
    assert capacity.source == MEASURED
    assert capacity.per_replica == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("how", ["rebalance", "rollout", "starting"])
def test_nothing_is_measured_while_the_group_is_not_at_rest(how: str) -> None:
    """A saturated group with half of its pods says nothing about a full one."""
    watch = Watch()
    watch.poll(100, 100, times=3)
    if how == "rebalance":
        watch.poll(400, 50, state=GroupState.PREPARING_REBALANCE, times=8)
    elif how == "rollout":
        watch.poll(400, 50, rolling=True, times=8)
    else:
        watch.poll(400, 50, ready=3, times=8)
    assert watch.history.capacity_per_replica is None


def test_a_measurement_is_given_up_where_a_stretch_contradicts_it_and_on_the_safe_side_at_first() -> None:
    """Believing in too much is what breaks promises: falls count at once, rises less what one commit may explain."""
    down, up = Watch(), Watch()
    for watch, processed in ((down, 125), (up, 500)):
        watch.history = resumed(capacity_per_replica=100.0, start_seconds=None, rebalance_seconds=None, changed_at=None)
        watch.poll(200, 200, times=3)
        watch.poll(5000, 200)
        watch.poll(600, processed, times=3)
    assert down.history.capacity_per_replica == pytest.approx(50, rel=0.2)
    assert 100 < (up.history.capacity_per_replica or 0) <= 0.75 * 200


def test_a_count_that_somebody_else_wrote_is_a_change_and_its_pods_are_waited_for() -> None:
    """It restarts the cooldown, and the up that is under way is known."""
    watch = Watch()
    watch.poll(10, 10, times=3)
    watch.replicas = 8
    watch.poll(10, 10, ready=5)
    assert watch.history.changed_at == watch.now
    assert watch.history.scaled_at is None
    assert watch.history.raised_to == 8


def test_a_resumed_history_knows_what_was_measured_and_has_seen_nothing() -> None:
    """What is not known stays a prior; the last scaling restarts the cooldown."""
    history = resumed(capacity_per_replica=80.0, start_seconds=12.0, rebalance_seconds=None, changed_at=900.0)
    assert capacity_of(promise(), history).per_replica == 80
    assert history.start_seconds == 12
    assert history.rebalance_seconds == 10
    assert history.changed_at == history.scaled_at == 900
    assert history.began_at is None
    assert history.samples == ()


def test_the_memory_stays_small() -> None:
    """Hours at one poll a second with a lag that falls all the time: samples, levels and wishes are bounded."""
    policy = promise(max_delay_seconds=None, lag_per_replica=1, poll_interval_seconds=1)
    watch = Watch(replace(policy, scale_down_cooldown_seconds=3600))
    watch.poll(5000, 0)
    watch.poll(1, 2, times=2000)
    assert len(watch.history.samples) < 150
    assert len(watch.history.wanted) <= policy.max_replicas
