"""The law in a closed loop: a modelled group, scaled by the very functions that run in the operator."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.decision_model import Group, promise
from tests.unit.turns_model import TurnsGroup

from consumer_autoscaler.decision.advance import resumed
from consumer_autoscaler.decision.levels import levels_for
from consumer_autoscaler.decision.reasons import DecisionReason, SourceReason
from consumer_autoscaler.decision.values import Calmness, Mode, Observation, Scale, Unavailable

PARTS = [(5, 3.0, 2.0, 1.0), (5, 30.0, 10.0, 1.0), (15, 15.0, 10.0, 5.0)]  # poll, start, pause, commit interval


def demo_load(seconds: float) -> float:
    """80/s, up to 800/s within 50 s, 90 s there, and back within 25 s."""
    t = seconds - 60
    return 80.0 if t < 0 else 80 + 720 * min(1.0, t / 50) if t < 140 else max(80.0, 800 - 720 * (t - 140) / 25)


@pytest.mark.parametrize(("poll", "start", "pause", "commit"), PARTS)
@pytest.mark.parametrize("rate", [95.0, 420.0, 505.0, 700.0])
def test_constant_load_is_carried_without_a_scaling(
    poll: int, start: float, pause: float, commit: float, rate: float
) -> None:
    """After twenty-five minutes nothing moves any more, and no more than two useful steps above the need are held.

    505/s are 1 % more than five replicas sustain: a try with five is one more up, when its backlog's time is up.
    """
    group = Group(
        promise(poll_interval_seconds=poll),
        lambda _: rate,
        start_seconds=start,
        pause_seconds=pause,
        commit_seconds=commit,
    ).run(5400)
    assert group.changes(since=1500) <= (1 if rate == 505.0 else 0)
    assert group.changes(since=3600) == 0
    assert group.late_share(60) == 0
    levels = levels_for(group.policy, 20)
    need = levels.at_least(rate / 100)
    assert sum(1 for count in levels.counts if need < count <= group.replicas) <= 2


@pytest.mark.parametrize(("rate", "replicas"), [(506.0, 7), (674.0, 10)])
def test_noise_around_a_level_makes_no_scalings(rate: float, replicas: int) -> None:
    """Just above what a level sustains, with Poisson noise: not down whenever a minute happens to be quieter."""
    dice = random.Random(20)
    known = resumed(capacity_per_replica=100.0, start_seconds=5.0, rebalance_seconds=5.0, changed_at=None)
    group = Group(
        promise(poll_interval_seconds=15),
        lambda _: max(0.0, dice.gauss(rate, (2 * rate) ** 0.5)),
        replicas=replicas,
        pause_seconds=5.0,
        history=known,
    ).run(10_800)
    assert group.writes == []
    assert group.late_share(60) == 0


@pytest.mark.parametrize(("poll", "start", "pause", "commit"), PARTS)
def test_ten_times_the_load_and_back_with_unknown_capacity(
    poll: int, start: float, pause: float, commit: float
) -> None:
    """No message is late, the partitions are never exceeded, and the group comes back to within one replica."""
    group = Group(
        promise(poll_interval_seconds=poll), demo_load, start_seconds=start, pause_seconds=pause, commit_seconds=commit
    ).run(600)
    assert group.late_share(60) == 0
    assert max(to for _, _, to in group.writes) <= 20
    assert group.replicas <= 2


@pytest.mark.parametrize("prior", [None, 75.0])
@pytest.mark.parametrize("per_replica", [60.0, 75.0, 100.0])
@pytest.mark.parametrize(("poll", "start", "pause", "commit"), [(5, 3.0, 2.0, 1.0), (5, 15.0, 10.0, 5.0)])
def test_ten_times_the_load_with_slow_and_fast_replicas(
    poll: int, start: float, pause: float, commit: float, per_replica: float, prior: float | None
) -> None:
    """60/s to 600/s within a minute, 90 s there, back in 30 s; declared wrongly or not at all."""

    def load(t: float) -> float:
        t -= 60
        return 60.0 if t < 0 else 60 + 540 * min(1.0, t / 60) if t < 150 else max(60.0, 600 - 540 * (t - 150) / 30)

    group = Group(
        promise(poll_interval_seconds=poll, expected_records_per_second=prior),
        load,
        per_replica=per_replica,
        start_seconds=start,
        pause_seconds=pause,
        commit_seconds=commit,
    ).run(240)
    assert group.late_share(60) == 0
    assert max(to for _, _, to in group.writes) <= 20
    downs_before = [at for at, before, after in group.writes if after < before]
    group.run(180)
    assert not [at for at in downs_before if at < 300]
    assert group.replicas <= 2
    assert group.late_share(60) == 0


@pytest.mark.parametrize("rate", [150.0, 300.0, 420.0, 560.0, 760.0])
@pytest.mark.parametrize(("start", "pause", "commit"), [(3.0, 2.0, 1.0), (5.0, 3.0, 1.0), (10.0, 5.0, 5.0)])
def test_the_last_partition_in_a_consumers_turn_is_not_late_either(
    start: float, pause: float, commit: float, rate: float
) -> None:
    """The demo's load, then a constant one, for consumers that finish one partition's backlog before the next."""
    group = TurnsGroup(
        promise(),
        lambda t: demo_load(t) if t < 360 else min(rate, 80 + (rate - 80) * (t - 360) / 30),
        start_seconds=start,
        pause_seconds=pause,
        commit_seconds=commit,
    ).run(1800)
    assert group.late_share(60) == 0
    assert group.changes(since=900) == 0


@pytest.mark.parametrize("rate", [150.0, 300.0, 420.0])
def test_an_up_is_sized_for_a_load_that_keeps_rising(rate: float) -> None:
    """Slow polls and pods: a step for the rate that was seen would be outgrown before its pods are there."""
    group = TurnsGroup(
        promise(poll_interval_seconds=15),
        lambda t: demo_load(t) if t < 360 else min(rate, 80 + (rate - 80) * (t - 360) / 30),
        start_seconds=15.0,
        pause_seconds=10.0,
        commit_seconds=5.0,
    ).run(900)
    assert group.late_share(60) == 0


SHAPES: dict[str, tuple[Callable[[float], float], int, int]] = {  # the load, and the most scalings in an hour, if quiet
    "step": (lambda t: 60.0 if t < 300 else 600.0, 6, 6),
    "ramp": (lambda t: 60 + max(0.0, min(540.0, 1.8 * (t - 300))), 5, 5),
    "sine": (lambda t: 350 + 300 * math.sin(math.tau * t / 1800), 22, 13),
    "fast sine": (lambda t: 350 + 300 * math.sin(math.tau * t / 300), 55, 12),  # twelve waves, each followed
    "on and off": (lambda t: 600.0 if t % 600 > 300 else 60.0, 25, 21),
    "spike": (lambda t: 900.0 if 600 <= t < 620 else 100.0, 8, 6),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("calmness", Calmness)
@pytest.mark.parametrize(("poll", "start", "pause", "commit"), [(5, 3.0, 2.0, 1.0), (15, 15.0, 10.0, 5.0)])
def test_no_message_is_late_whatever_shape_the_load_has(
    poll: int, start: float, pause: float, commit: float, calmness: Calmness, shape: str
) -> None:
    """With a declared capacity; how often the count changes is for the user to say."""
    load, balanced, quiet = SHAPES[shape]
    group = Group(
        promise(poll_interval_seconds=poll, expected_records_per_second=100.0, calmness=calmness),
        load,
        start_seconds=start,
        pause_seconds=pause,
        commit_seconds=commit,
    ).run(3600)
    assert group.late_share(60) == 0
    if calmness is not Calmness.RESPONSIVE:
        assert len(group.writes) <= (quiet if calmness is Calmness.QUIET else balanced)


@pytest.mark.parametrize(("start", "pause"), [(3.0, 2.0), (15.0, 10.0)])
def test_a_sudden_load_on_unknown_capacity_is_measured_and_then_met_in_one_step(start: float, pause: float) -> None:
    """No doubling by doubling: each step would stop everybody, and the second one would come too late."""
    group = Group(
        promise(poll_interval_seconds=15),
        lambda t: 60.0 if t < 300 else 600.0,
        start_seconds=start,
        pause_seconds=pause,
        commit_seconds=5.0,
    ).run(480)
    ups = [after for _, before, after in group.writes if after > before]
    assert len(ups) == 1
    assert 7 <= ups[0] <= 10  # 7 of 20 partitions' consumers carry 667/s
    assert group.late_share(60) == 0


@pytest.mark.parametrize("believed", [50.0, 150.0])
def test_a_wrong_prior_is_corrected(believed: float) -> None:
    """A replica that does 100/s, believed to do half or half again as much: no late message, and not twice the need."""
    group = Group(promise(expected_records_per_second=believed), lambda _: 700.0).run(2400)
    assert group.late_share(60) == 0
    assert group.replicas == 10  # seven useful replicas would sustain 666/s
    assert group.changes(since=1800) == 0


def test_a_restart_forgets_no_capacity_and_goes_down_only_after_five_minutes() -> None:
    """The load falls while the operator restarts: it stays up for 300 s of new history, then goes down."""
    group = Group(promise(), lambda t: 700.0 if t < 900 else 80.0).run(895)
    up = group.replicas
    assert up >= 7
    group.restart()
    restarted_at = group.now
    group.run(600)
    downs = [at for at, before, after in group.writes if at > restarted_at and after < before]
    assert downs
    assert downs[0] >= restarted_at + 300
    assert not [1 for at, before, after in group.writes if at > restarted_at and after > before]


def test_a_restart_in_the_middle_of_an_up_makes_no_second_step() -> None:
    """The pods of the up are still starting when the operator comes back: it waits for them."""
    group = Group(promise(expected_records_per_second=100.0), lambda t: 80.0 if t < 300 else 600.0, start_seconds=20)
    while group.replicas < 6:  # the first step may have seen a part of the load only, and be raised
        group.run(5)
    steps = len(group.writes)
    group.restart()
    group.run(15)
    assert len(group.writes) == steps


def test_an_unknown_lag_holds_whatever_the_load_does() -> None:
    """While no broker answers nothing is written, and the decision says why."""

    def outage(at: float, observation: Observation) -> Observation:
        if 300 <= at < 420:
            return replace(observation, group=Unavailable(SourceReason.BROKER_UNREACHABLE, "no broker answers"))
        return observation

    group = Group(promise(), lambda t: 80.0 if t < 300 else 700.0, spoil=outage).run(419)
    assert not group.writes
    assert group.decisions[-1].reason is DecisionReason.HOLD_LAG_UNKNOWN
    group.run(300)
    assert group.replicas >= 7


def test_a_pod_that_never_becomes_ready_does_not_block_an_up_for_ever() -> None:
    """One crash-looping pod of four: after twice start and pause the group may still grow."""

    def crash(_: float, observation: Observation) -> Observation:
        scale = observation.scale
        assert isinstance(scale, Scale)
        return replace(observation, scale=replace(scale, ready=max(0, scale.ready - 1)))

    group = Group(
        promise(expected_records_per_second=100.0), lambda t: 250.0 if t < 600 else 700.0, replicas=4, spoil=crash
    ).run(900)
    assert group.replicas > 4


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.PAUSED])
def test_other_modes_write_nothing(mode: Mode) -> None:
    """Observe decides and does not act; Paused does not even decide."""
    group = Group(promise(mode=mode), lambda _: 700.0).run(120)
    assert not group.writes
    wanted = {decision.desired for decision in group.decisions}
    assert (max(wanted, default=0) or 0) > 1 if mode is Mode.OBSERVE else wanted == {1}


def test_lag_per_replica_goes_to_the_final_count_in_one_step_and_comes_down_slowly() -> None:
    """A backlog of 20 × 100 with 100 per replica: 20 replicas at the next poll, and no down for the cooldown."""
    policy = promise(max_delay_seconds=None, lag_per_replica=100, scale_down_cooldown_seconds=300)
    group = Group(policy, lambda t: 4000.0 if t == 401.5 else 0.0).run(460)
    assert [(before, after) for _, before, after in group.writes] == [(1, 20)]
    group.run(600)
    assert group.replicas == 1
    assert group.writes[1][0] >= group.writes[0][0] + 300


def test_to_zero_after_idle_time_and_back_at_once() -> None:
    """Nothing to do for idleSeconds: zero. New work: back within a poll, and no message is late."""
    policy = promise(min_replicas=0, idle_seconds=60, expected_records_per_second=100.0)
    group = Group(policy, lambda t: 50.0 if t < 120 else 0.0 if t < 700 else 400.0).run(699)
    assert group.replicas == 0
    assert len(group.writes) == 1
    group.run(120)
    assert group.writes[1][1] == 0
    assert group.replicas >= 5
    assert group.late_share(60) == 0


def test_a_count_that_somebody_else_wrote_is_not_fought_within_the_cooldown() -> None:
    """A person scales up by hand: the operator notices and waits for its cooldown before it goes down."""
    group = Group(promise(scale_down_cooldown_seconds=240, expected_records_per_second=100.0), lambda _: 80.0).run(400)
    group._scale(10)
    by_hand_at = group.now
    group.run(900)
    assert group.replicas <= 2
    assert all(at >= by_hand_at + 240 for at, _, _ in group.writes)
