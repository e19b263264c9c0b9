"""Processing time that changes under way, as a payment provider's does: followed, without thrash.

The bounds are what was measured, with some room: over four hours of a walk between 50 and 2000 ms, 7 to 12 scalings an
hour, 0.1 to 0.7 % late and 1.3 to 1.5 times the replica-hours that the very time of each moment would need.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tests.unit.simulation_support import ours

from consumer_autoscaler.decision.advance import advance, after_scaling
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.values import Observation, ProcessingTime, Unavailable
from consumer_autoscaler.simulation.group import Group
from consumer_autoscaler.simulation.policy import Ours
from consumer_autoscaler.simulation.run import Outcome, Window, simulate
from consumer_autoscaler.simulation.trace import Noise, constant
from consumer_autoscaler.simulation.world import World
from consumer_autoscaler.sources.measured import unavailable

HOUR = 3600.0
FAST_SECONDS, SLOW_SECONDS = 0.05, 2.0
PER_SECOND = 12.0  # arriving: 0.6 to 24 replicas' worth
PARTITIONS = 48
Changes = tuple[tuple[float, float], ...]


def walk(seed: int, *, hours: float) -> Changes:
    """(second, records per second of a replica): every five minutes by about a third, reflected at both ends."""
    random = np.random.default_rng(seed)
    low, high = np.log(FAST_SECONDS), np.log(SLOW_SECONDS)
    at, log_seconds, changes = -HOUR, float(np.log(0.3)), []
    while at < hours * HOUR:
        changes.append((at, float(np.exp(-log_seconds))))
        log_seconds += float(random.normal(0, 0.35))
        log_seconds = 2 * low - log_seconds if log_seconds < low else log_seconds
        log_seconds = 2 * high - log_seconds if log_seconds > high else log_seconds
        at += 300.0
    return tuple(changes)


def world(changes: Changes) -> World:
    return World(
        topics=(PARTITIONS,), records_per_second=1 / 0.3, capacity_changes=changes, processing_cv=0.5, pod_metrics=True
    )


def mean(steps: Sequence[tuple[float, float]], *, until: float) -> float:
    """Over time from 0 on, of (second, value from then on)."""
    ends = [at for at, _ in steps[1:]] + [until]
    return sum(v * max(0.0, end - max(0.0, at)) for (at, v), end in zip(steps, ends, strict=True)) / until


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_time_that_wanders_between_50_and_2000_ms_is_followed_without_thrash(seed: int) -> None:
    """The promise is nearly kept, the price stays near the need, and replicas do not follow every breath."""
    changes, hours = walk(seed, hours=4), 4
    outcome, _ = ours(
        constant(PER_SECOND, hours * HOUR), world=world(changes), warm_up=HOUR / 2, noise=Noise(), known=False,
        seed=seed, replicas=4, max_replicas=PARTITIONS,
    )  # fmt: skip
    needed = mean([(at, PER_SECOND / pace) for at, pace in changes], until=hours * HOUR)
    assert outcome.replica_hours / hours <= 1.8 * needed
    assert outcome.scalings / hours <= 16
    assert outcome.lateness.late_share <= 0.02


def test_replicas_come_down_again_when_records_have_become_cheap() -> None:
    """A slow hour taught a low capacity; the time that is told corrects it, without another saturated stretch."""
    changes: Changes = ((-HOUR, 1.0), (HOUR, 10.0))
    outcome, _ = ours(
        constant(PER_SECOND, 3 * HOUR), world=world(changes), warm_up=HOUR / 2, noise=Noise(), known=False, replicas=4,
        max_replicas=PARTITIONS,
    )  # fmt: skip
    assert max(count for at, count in outcome.replicas if at < HOUR) >= 12
    assert outcome.replicas[-1][1] <= 3


class SourceFails(Ours):
    """The operator's decision whose source of processing time fails from some moment on."""

    fails_from = HOUR

    def look(self, group: Group) -> int | None:
        now = group.seconds
        self.next_look += self.policy.poll_interval_seconds
        told: ProcessingTime | Unavailable | None = group.observe_processing()
        if now >= self.fails_from:
            told = unavailable("nobody answers")
        observation = Observation(at=now, group=group.observe(), scale=group.observe_scale(), processing=told)
        self.history = advance(self.policy, self.history, observation, now)
        decision = decide(self.policy, observation, self.history, now)
        if decision.desired is None or decision.desired == group.replicas:
            return None
        self.history = after_scaling(self.history, decision.desired, now)
        return decision.desired


@pytest.mark.parametrize("expected", [None, 50.0])
def test_losing_the_source_moves_nothing_under_a_constant_load(expected: float | None) -> None:
    """Not while its last value stands, and not when it has aged out; whatever the user expects of a replica."""
    policy = ours(constant(1.0, 1.0))[1].policy
    scaler = SourceFails(
        type(policy)(min_replicas=1, max_replicas=24, max_delay_seconds=60, expected_records_per_second=expected),
        first_look=5.0 - HOUR / 2,
    )
    outcome: Outcome = simulate(
        constant(250.0, 3 * HOUR), World(pod_metrics=True), scaler,
        window=Window(first=HOUR, last=3 * HOUR, warm_up=1.5 * HOUR), promise_seconds=60.0, noise=Noise(), seed=1,
        replicas=4,
    )  # fmt: skip
    assert outcome.scalings == 0
    assert outcome.lateness.late_share == 0
