"""Ups that bring nothing: found, blocked, undone, lifted; and those that only look so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.decision_model import promise
from tests.unit.simulation_support import ours

from consumer_autoscaler.decision.effect import doubtful, follow, most_useful, slow_downstream
from consumer_autoscaler.decision.history import History, Pace, Sample, Saturation, Useless
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.reasons import BackpressureReason, ConditionType, GroupState, LimitReason
from consumer_autoscaler.decision.values import Decision, GroupReading, Policy, Scale
from consumer_autoscaler.simulation.trace import Noise, Trace, constant, steps
from consumer_autoscaler.simulation.world import SlowDownstream, World

LEVELS = Levels(tuple(range(1, 21)), 0, 1)
POLICY = promise()


def after_an_up(
    done: float,
    *,
    before: float = 400.0,
    replicas: int = 8,
    lasts: float = 60.0,
    saturated: bool = True,
    **more: object,
) -> History:
    """Settled at 1000 after an up from 4 replicas, which did `before`; since then `done` records per second."""
    samples = tuple(Sample(1000.0 + 5 * i, int(2000 * 5 * i), int(done * 5 * i)) for i in range(int(lasts / 5) + 1))
    stretch = Saturation(1000.0, 0, 0, replicas, None, 0.0) if saturated else None
    values: dict[str, object] = {
        "began_at": 0.0, "samples": samples, "settled_since": 1000.0, "replicas": replicas, "saturation": stretch,
        "behind": True, "pace": Pace(4, 4.0, before, before / 4, True), **more,
    }  # fmt: skip
    return History(**values)  # type: ignore[arg-type]


def followed(history: History, policy: Policy = POLICY) -> History:
    now = history.samples[-1].at
    group = GroupReading(at=now, state=GroupState.STABLE, members=history.replicas or 0)
    return follow(
        policy, history, LEVELS, group, Scale(replicas=history.replicas or 0, ready=history.replicas or 0), now
    )


@pytest.mark.parametrize(
    ("done", "useless"),
    [(400.0, True), (415.0, True), (430.0, True), (600.0, False), (800.0, False), (2000.0, False)],
)
def test_an_up_of_a_saturated_group_that_brings_under_a_tenth_was_useless(done: float, useless: bool) -> None:
    """4 replicas did 400/s, so 8 should do 800/s."""
    assert (slow_downstream(followed(after_an_up(done))) is not None) == useless


def test_a_group_that_keeps_up_says_nothing_against_its_up() -> None:
    """A good up returns to the rate of arrivals once the lag is gone."""
    assert slow_downstream(followed(after_an_up(400.0, saturated=False))) is None


def test_it_is_not_judged_before_a_minute() -> None:
    history = followed(after_an_up(400.0, lasts=55.0))
    assert slow_downstream(history) is None
    assert doubtful(POLICY, history, LEVELS, 1055.0)
    assert not doubtful(POLICY, after_an_up(700.0, lasts=55.0), LEVELS, 1055.0)


def test_records_that_take_longer_in_proportion_are_an_early_sign() -> None:
    """10 ms each with 4 replicas, 20 ms with 8: half a minute is enough."""
    pace = Pace(4, 4.0, 400.0, 100.0, True, 0.010)
    slower = after_an_up(400.0, lasts=30.0, pace=pace, busy_per_replica=50.0)
    found = slow_downstream(followed(slower))
    assert found is not None
    assert (found.busy_seconds_before, found.busy_seconds) == (0.010, 0.020)
    assert slow_downstream(followed(replace(slower, busy_per_replica=100.0))) is None


def test_a_group_that_does_less_after_an_up_has_become_slower_itself() -> None:
    """4 did 400/s, 8 do 300/s: the up cannot have taken that away, so nothing is known about it."""
    assert slow_downstream(followed(after_an_up(300.0))) is None


def test_a_step_that_should_bring_next_to_nothing_is_not_judged() -> None:
    """From 19 to 20 replicas."""
    history = after_an_up(1900.0, before=1900.0, replicas=20, pace=Pace(19, 19.0, 1900.0, 100.0, True))
    assert slow_downstream(followed(history)) is None


def test_the_count_that_is_kept_could_do_a_little_more_than_what_was_seen() -> None:
    """100/s a replica at 4, and 430/s with 8: 5 replicas have 15 % in reserve, so that a recovery shows."""
    found = slow_downstream(followed(after_an_up(430.0)))
    assert found is not None
    assert (found.keep, found.from_replicas, found.to_replicas, found.until - 1060.0) == (5, 4, 8, 600.0)


def blocked(**more: object) -> Useless:
    values: dict[str, object] = {
        "since": 900.0, "until": 1500.0, "times": 1, "keep": 5, "from_replicas": 4, "to_replicas": 8,
        "per_second_before": 400.0, "per_second": 430.0, **more,
    }  # fmt: skip
    return Useless(**values)  # type: ignore[arg-type]


def at_rest(done: float, now: float = 2000.0, **more: object) -> History:
    """Five replicas, settled and saturated for long."""
    samples = tuple(Sample(now - 100 + 5 * i, 2000 * 5 * i, int(done * 5 * i)) for i in range(21))
    values: dict[str, object] = {
        "began_at": 0.0, "samples": samples, "settled_since": now - 100, "replicas": 5, "behind": True,
        "saturation": Saturation(now - 100, 0, 0, 5, None, 0.0), "pace": Pace(5, 5.0, done, done / 5, True), **more,
    }  # fmt: skip
    return History(**values)  # type: ignore[arg-type]


def test_a_block_is_lifted_when_the_group_does_more() -> None:
    assert slow_downstream(followed(at_rest(500.0, useless=blocked(until=3000.0)))) is None
    assert slow_downstream(followed(at_rest(440.0, useless=blocked(until=3000.0)))) is not None


def test_a_block_is_lifted_when_the_load_has_fallen() -> None:
    history = at_rest(430.0, useless=blocked(until=3000.0), behind=False, saturation=None)
    assert slow_downstream(followed(history)) is None


def test_a_new_process_keeps_a_block_until_it_has_seen_for_itself() -> None:
    history = at_rest(430.0, useless=blocked(until=3000.0), behind=False, saturation=None, began_at=1970.0)
    assert slow_downstream(followed(history)) is not None


def test_what_is_confirmed_goes_on_without_another_try_for_longer_each_time() -> None:
    """10 minutes, then 20, then 40; then one up is tried again."""
    history = followed(at_rest(430.0, useless=blocked(confirmed=True)))
    assert history.useless is not None
    assert (history.useless.times, history.useless.until) == (2, 2000.0 + 1200.0)
    third = followed(at_rest(430.0, now=4000.0, useless=history.useless))
    assert third.useless is not None
    assert third.useless.until == 4000.0 + 2400.0
    last = followed(at_rest(430.0, now=7000.0, useless=third.useless))
    assert most_useful(last, 7000.0) is None
    assert slow_downstream(last) is not None  # it still is the reason, until the next up has been judged


def test_what_is_not_confirmed_is_tried_again_when_its_time_is_over() -> None:
    history = followed(at_rest(430.0, useless=blocked()))
    assert most_useful(history, 1499.0) == 5
    assert most_useful(history, 2000.0) is None


@pytest.mark.parametrize(("done", "holds", "keep"), [(430.0, True, 5), (390.0, True, 6), (300.0, False, None)])
def test_the_way_back_tells_whether_the_replicas_were_of_use(done: float, holds: bool, keep: int | None) -> None:
    """From 8 to 5: as much is confirmed, a little less takes one more, much less says that they were of use."""
    history = at_rest(done, useless=blocked(until=3000.0), pace=Pace(8, 8.0, 430.0, 100.0, True))
    found = followed(history)
    assert most_useful(found, 2000.0) == keep
    assert (slow_downstream(found) is not None) == holds
    if holds:
        assert found.useless is not None
        assert found.useless.confirmed


def said(decision: Decision) -> str:
    return next(c.reason for c in decision.conditions if c.type is ConditionType.BACKPRESSURED)


def shared(limit: float, load: Trace, **more: object) -> tuple[list[Decision], tuple[tuple[float, int], ...]]:
    """A limit downstream from 600 s to 1800 s."""
    world = World(faults=(SlowDownstream(at=600.0, seconds=1200.0, limit_per_second=limit),))
    outcome, scaler = ours(load, world=world, replicas=4, noise=Noise(), **more)  # type: ignore[arg-type]
    assert scaler.decisions is not None
    return scaler.decisions, outcome.replicas


@pytest.mark.parametrize("more", [{}, {"known": False}, {"max_delay_seconds": None, "lag_per_replica": 1000}])
def test_a_shared_limit_costs_one_up_and_ends_where_it_began(more: dict[str, object]) -> None:
    """250/s of 300/s: SlowDownstream within minutes, one up, which is taken back; and it recovers afterwards."""
    decisions, replicas = shared(250.0, constant(300.0, 2700.0), **more)
    during = [count for at, count in replicas if 600 <= at < 1800]
    before = [count for at, count in replicas if at < 600][-1]
    assert sum(1 for a, b in zip([before, *during], during, strict=False) if b > a) == 1
    assert during[-1] < max(during)
    late = [decision for decision in decisions if 1000 <= decision.at < 1800]
    assert {said(decision) for decision in late} - {"Rebalancing"} == {BackpressureReason.SLOW_DOWNSTREAM}
    assert any(
        c.reason == LimitReason.INEFFECTIVE
        for decision in late
        for c in decision.conditions
        if c.type is ConditionType.SCALING_LIMITED
    )
    assert said(decisions[-1]) == BackpressureReason.KEEPING_UP


def test_consumers_that_are_slower_each_by_itself_get_more_replicas() -> None:
    world = World(faults=(SlowDownstream(at=600.0, seconds=1200.0, factor=0.4),))
    outcome, scaler = ours(constant(300.0, 1800.0), world=world, replicas=4, noise=Noise())
    assert scaler.decisions is not None
    assert BackpressureReason.SLOW_DOWNSTREAM not in {said(decision) for decision in scaler.decisions}
    assert outcome.replicas[-1][1] >= 8


def test_a_rising_load_within_reach_is_no_slow_downstream() -> None:
    _, scaler = ours(steps((80.0, 900.0), (800.0, 900.0)), replicas=2, noise=Noise())
    assert scaler.decisions is not None
    assert BackpressureReason.SLOW_DOWNSTREAM not in {said(decision) for decision in scaler.decisions}
