"""KEDA with the HPA, and Flink's rules, against what their sources say happens."""

from __future__ import annotations

import math
import random
import re
from itertools import pairwise

import numpy as np
import pytest
import yaml
from tests.unit.simulation_support import planned

from consumer_autoscaler.decision.values import PartitionReading
from consumer_autoscaler.simulation.flink import QUICK, Flink, FlinkSettings, align
from consumer_autoscaler.simulation.keda import (
    Behavior,
    Hpa,
    KafkaTrigger,
    Keda,
    KedaLoop,
    KedaSettings,
    ScalingPolicy,
)
from consumer_autoscaler.simulation.run import Outcome, Window, simulate
from consumer_autoscaler.simulation.scaled_object import BadScaledObject, keda_settings
from consumer_autoscaler.simulation.trace import QUIET, Trace, constant, steps
from consumer_autoscaler.simulation.world import Duration, World


def readings(lags: list[int], committed: int | None = 100) -> tuple[PartitionReading, ...]:
    return tuple(PartitionReading("t", p, committed, 0, (committed or 0) + lag, lag) for p, lag in enumerate(lags))


def settled(settings: KedaSettings, partitions: int, lag: int, replicas: int = 1) -> int:
    """Where the HPA comes to rest at this lag, ten minutes of syncs later."""
    hpa, trigger = Hpa(settings), KafkaTrigger(settings)
    each = [lag // partitions + (p < lag % partitions) for p in range(partitions)]
    for sync in range(60):
        metric, _ = trigger.lag(readings(each))
        replicas = hpa.sync(sync * 15.0, replicas, replicas, metric)
    return replicas


@pytest.mark.parametrize(
    ("partitions", "stuck", "reaches"),
    [(12, [11], 10), (24, [22, 23], 21), (64, [59, 63], 58), (100, [91, 99], 90)],
)
def test_the_cap_and_the_tolerance_keep_it_below_the_partitions(
    partitions: int, stuck: list[int], reaches: int
) -> None:
    """kedacore/keda #2908: with any lag it stays at 11 of 12; from 10 it would have gone to 12."""
    settings = KedaSettings(lag_threshold=10, max_replica_count=200)
    for replicas in stuck:
        assert settled(settings, partitions, 1_000_000, replicas) == replicas
    assert settled(settings, partitions, 1_000_000, reaches) == partitions


@pytest.mark.parametrize("partitions", [9, 24])
def test_integer_division_lets_it_go_one_above_the_partitions(partitions: int) -> None:
    """kedacore/keda #4483: lag just above P * T is not capped; from nine partitions on it then stays there."""
    settings = KedaSettings(lag_threshold=100, max_replica_count=200)
    hpa, trigger = Hpa(settings), KafkaTrigger(settings)
    metric, _ = trigger.lag(readings([101] * partitions))
    assert metric == 101 * partitions
    assert hpa.sync(0.0, partitions // 2, partitions // 2, metric) == min(partitions + 1, max(4, partitions // 2 * 2))
    top = hpa.sync(15.0, partitions, partitions, 100 * partitions * 1.2)
    assert top == math.ceil(1.2 * partitions)
    assert settled(settings, partitions, 1_000_000, partitions + 1) == partitions + 1
    assert settled(settings, 5, 1_000_000, 6) == 5


def test_the_ladder_of_ups_and_its_other_form_with_a_behavior() -> None:
    """Without a behavior max(2N, 4) a sync: 1, 4, 8, 16; a behavior with defaults: 1, 5, 10, 20."""
    legacy, explicit = Hpa(KedaSettings()), Hpa(KedaSettings(behavior=Behavior()))
    counts: list[list[int]] = []
    for hpa in (legacy, explicit):
        replicas, seen = 1, []
        for sync in range(4):
            replicas = hpa.sync(sync * 15.0, replicas, replicas, 1e6)
            seen.append(replicas)
        counts.append(seen)
    assert counts == [[4, 8, 16, 32], [5, 10, 20, 40]]
    assert Hpa(KedaSettings(lag_threshold=5)).sync(0.0, 1, 1, 108.0) == 4  # a user's report


def test_a_behavior_of_pods_disabled_or_least_is_kept() -> None:
    """selectPolicy Min takes the smaller step, Disabled none."""
    slow = Behavior(up=(ScalingPolicy("Pods", 2, 60), ScalingPolicy("Percent", 100, 15)), up_select="Min")
    hpa = Hpa(KedaSettings(behavior=slow))
    assert [hpa.sync(t * 15.0, r, r, 1e6) for t, r in ((0, 4), (1, 6), (2, 6), (4, 6))] == [6, 6, 6, 8]
    assert Hpa(KedaSettings(behavior=Behavior(up_select="Disabled"))).sync(0.0, 4, 4, 1e6) == 4
    assert Hpa(KedaSettings(behavior=Behavior(down_select="Disabled"))).sync(0.0, 4, 4, 0.0) == 4


def test_downs_wait_for_the_highest_recommendation_of_five_minutes() -> None:
    """The lag is gone at 15 s; 8 were wanted at 0 s; down at the first sync after 300 s."""
    hpa, replicas, went = Hpa(KedaSettings(min_replica_count=1)), 8, []
    for sync in range(30):
        before = replicas
        replicas = hpa.sync(sync * 15.0, replicas, replicas, 80.0 if sync == 0 else 0.0)
        if replicas != before:
            went.append((sync * 15, replicas))
    assert went == [(315, 1)]


@pytest.mark.parametrize(
    ("target", "mean", "worst"), [(1, 15.0, 30), (4, 21.6, 43), (8, 36.6, 58), (16, 51.6, 73), (64, 81.6, 103)]
)
def test_from_nothing_to_many_takes_as_long_as_the_two_loops_and_the_ladder(
    target: int, mean: float, worst: float
) -> None:
    """Poll 30 s, then syncs of 15 s with doublings; 400 random phases, without pod start and rebalance."""
    dice = random.Random(5)
    took = []
    for _ in range(400):
        settings = KedaSettings(lag_threshold=10)
        loop, hpa, trigger = KedaLoop(settings), Hpa(settings), KafkaTrigger(settings)
        poll, sync, replicas = dice.uniform(0, 30), dice.uniform(0, 15), 0
        metric, activity = trigger.lag(readings([10] * target))
        while replicas < target:
            if poll <= sync:
                now, replicas = poll, loop.poll(poll, replicas, activity)
                poll += 30
            else:
                now, replicas = sync, hpa.sync(sync, replicas, replicas, metric)
                sync += 15
        took.append(now)
    assert np.mean(took) == pytest.approx(mean, abs=1.5)
    assert max(took) <= worst + 2


def test_to_zero_only_after_the_cooldown_since_the_last_active_poll() -> None:
    """And from there to one when lag exceeds the activation."""
    loop = KedaLoop(KedaSettings(activation_lag_threshold=5))
    assert loop.poll(0.0, 3, 10.0) == 3
    assert [loop.poll(float(t), 3, 5.0) for t in (30, 270, 300)] == [3, 3, 3]
    assert loop.poll(330.0, 3, 5.0) == 0
    assert loop.poll(360.0, 0, 5.0) == 0
    assert loop.poll(390.0, 0, 6.0) == 1
    idle = KedaLoop(KedaSettings(min_replica_count=2, idle_replica_count=0))
    assert idle.poll(0.0, 0, 1.0) == 2


def test_the_knobs_of_the_trigger() -> None:
    """Each as the source has it."""
    lags = [50, 0, 0, 30, 0, 0]

    def metric(**knobs: object) -> float:
        return KafkaTrigger(KedaSettings(lag_threshold=10, **knobs)).lag(readings(lags))[0]  # type: ignore[arg-type]

    assert metric() == 60  # 80 capped at 6 partitions
    assert metric(allow_idle_consumers=True) == 80
    assert metric(limit_to_partitions_with_lag=True) == 20
    assert metric(ensure_even_distribution_of_partitions=True) == 60
    assert metric(partition_limitation=(3, 4)) == 20
    assert KafkaTrigger(KedaSettings(lag_threshold=30, ensure_even_distribution_of_partitions=True)).lag(
        readings([14] * 6)
    ) == (90.0, 84.0)
    stuck = KafkaTrigger(KedaSettings(lag_threshold=10, exclude_persistent_lag=True))
    assert stuck.lag(readings([5, 5])) == (10.0, 10.0)
    assert stuck.lag(readings([6, 6])) == (0.0, 12.0)  # nothing committed since the last call
    never = readings([7, 7], committed=None)
    assert KafkaTrigger(KedaSettings()).lag(never)[0] == 2
    assert KafkaTrigger(KedaSettings(offset_reset_policy="earliest")).lag(never)[0] == 14
    assert KafkaTrigger(KedaSettings(scale_to_zero_on_invalid_offset=True)).lag(never)[0] == 0


def test_value_counts_ready_pods() -> None:
    """metricType Value: the ratio times the pods that are ready."""
    hpa = Hpa(KedaSettings(lag_threshold=100, metric_type="Value"))
    assert hpa.sync(0.0, 8, 4, 200.0) == 8
    assert hpa.sync(15.0, 8, 6, 200.0) == 12


@pytest.mark.parametrize(
    ("threshold", "scalings", "pods"),
    [(10, (38, 48), (20.5, 22.5)), (1000, (34, 48), (18, 21)), (5000, (30, 45), (8, 9.5))],
)
def test_lag_by_threshold_finds_no_rest_at_a_constant_load(
    threshold: int, scalings: tuple[int, int], pods: tuple[float, float]
) -> None:
    """700/s, 100/s each, 24 partitions: 7 are needed; 37 to 45 scalings an hour were found by others."""
    rates, counts = [], []
    for seed in range(3):
        phases = np.random.default_rng(seed).random(2)
        keda = Keda(
            KedaSettings(lag_threshold=threshold, min_replica_count=1),
            poll_phase=30 * phases[0],
            sync_phase=15 * phases[1],
        )
        outcome = _against(constant(700.0, 9000.0), keda, World(start=Duration(15.0), commit_seconds=1.0), first=1800.0)
        rates.append(outcome.scalings / 2)
        counts.append(outcome.replica_hours / 2)
    assert scalings[0] <= np.mean(rates) <= scalings[1]
    assert pods[0] <= np.mean(counts) <= pods[1]


def test_flink_sizes_by_the_rate_and_its_restart() -> None:
    """560/s on 24: with its defaults need is 1.595 times the rate, which is 8.9 replicas: 12 is the next that helps.

    560 of 2400 is below 0.375, so a down is recommended, and done after an hour.
    """
    outcome = _against(constant(560.0, 9000.0), Flink(FlinkSettings(), first_look=1.0), World(), replicas=24)
    assert [count for _, count in outcome.replicas] == [24, 12]
    assert outcome.replicas[1][0] == pytest.approx(3600 + 1200, abs=60)


def test_flink_goes_up_when_a_backlog_shows_what_it_can_do() -> None:
    """600/s on 4 of 24 partitions: saturated, so 400/s is its capacity; the step is to what clears the backlog."""
    outcome = _against(constant(600.0, 3600.0), Flink(QUICK, first_look=1.0), World(), replicas=4)
    assert outcome.replicas[1][0] == pytest.approx(360, abs=31)
    assert outcome.replicas[1][1] > 12
    assert _against(constant(280.0, 7200.0), Flink(QUICK, first_look=1.0), World(), replicas=4).scalings == 0


def test_flink_starts_its_window_anew_after_a_scaling() -> None:
    """A step down in load: no second change before stabilization and window are over once more."""
    load = steps((560.0, 3000.0), (2000.0, 3000.0))
    outcome = _against(load, Flink(QUICK, first_look=1.0), World(), replicas=12)
    times = [at for at, _ in outcome.replicas[1:]]
    assert len(times) >= 1
    assert all(later - earlier >= 360 for earlier, later in pairwise(times))


def test_flink_aligns_to_the_partitions() -> None:
    """The next divisor, or the next count that lowers floor(N / p)."""
    assert [align(24, target, 24) for target in (5, 7, 9, 13, 24)] == [6, 8, 12, 24, 24]
    assert align(100, 34, 100) == 50
    assert align(24, 13, 20) == 13


def _against(trace: Trace, scaler: Keda | Flink, world: World, *, first: float = 0.0, replicas: int = 1) -> Outcome:
    window = Window(first=first, last=trace.end, warm_up=first)
    return simulate(trace, world, scaler, window=window, promise_seconds=60.0, noise=QUIET, seed=1, replicas=replicas)


def test_a_plan_is_carried_out_and_billed_from_the_request_on() -> None:
    """6 replicas for 1000 s, 12 for 1000 s, 3 for 1600 s; the second change is no reversal, it comes too late."""
    outcome = planned(constant(10.0, 3600.0), (1000.0, 12), (2000.0, 3), replicas=6)
    assert outcome.replica_hours == pytest.approx((6 * 1000 + 12 * 1000 + 3 * 1600) / 3600)
    assert (outcome.scalings, outcome.reversals) == (2, 0)
    assert outcome.rebalance_share == pytest.approx(20 / 3600)
    assert planned(constant(10.0, 3600.0), (1000.0, 12), (1500.0, 3), replicas=6).reversals == 1


SCALED_OBJECT = """
spec:
  scaleTargetRef: {name: payments}
  pollingInterval: 10
  minReplicaCount: 2
  maxReplicaCount: 40
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown: {stabilizationWindowSeconds: 60, policies: [{type: Pods, value: 1, periodSeconds: 30}]}
        scaleUp: {tolerance: 50m}
  triggers:
  - type: kafka
    useCachedMetrics: true
    metadata: {topic: orders, consumerGroup: g, lagThreshold: "50", limitToPartitionsWithLag: "true",
               partitionLimitation: "1,4-6"}
"""


def test_a_scaled_object_is_taken_as_it_stands() -> None:
    """What it does not say has KEDA's default; an HPA behavior in part is completed as the API server does."""
    assert keda_settings(yaml.safe_load(SCALED_OBJECT)) == KedaSettings(
        lag_threshold=50,
        limit_to_partitions_with_lag=True,
        partition_limitation=(1, 4, 5, 6),
        min_replica_count=2,
        max_replica_count=40,
        polling_interval=10,
        use_cached_metrics=True,
        tolerance_up=0.05,
        behavior=Behavior(down=(ScalingPolicy("Pods", 1, 30),), down_window_seconds=60),
    )


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("type: kafka", "type: cron", "spec.triggers must be one trigger of type kafka"),
        ('"50"', '"many"', "lagThreshold: must be a whole number from 0 on, not 'many'"),
        ('"true"', '"yes"', "limitToPartitionsWithLag: must be true or false"),
        ("type: Pods", "type: Nodes", "type must be Pods or Percent"),
        ("  advanced:", "  advanced: {scalingModifiers: {formula: x}}\n  other:", "scalingModifiers is not modelled"),
    ],
)
def test_a_scaled_object_that_cannot_be_played_is_refused(old: str, new: str, says: str) -> None:
    """By field, with what it must be."""
    with pytest.raises(BadScaledObject, match=re.escape(says)):
        keda_settings(yaml.safe_load(SCALED_OBJECT.replace(old, new)))
