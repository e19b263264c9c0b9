"""The operator's decision in the modelled group: what the law must do there, whatever its parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.traces import TRACES
from tests.unit.decision_model import Group, promise
from tests.unit.simulation_support import ours
from tests.unit.turns_model import TurnsGroup

from consumer_autoscaler.decision.reasons import DecisionReason
from consumer_autoscaler.simulation.policy import Ours
from consumer_autoscaler.simulation.run import Window, simulate
from consumer_autoscaler.simulation.trace import QUIET, Noise, constant, read_trace, steps
from consumer_autoscaler.simulation.world import Assignor, Duration, Order, Rebalance, World


@pytest.mark.parametrize("rate", [250.0, 700.0])
@pytest.mark.parametrize("order", list(Order))
def test_a_constant_load_is_left_alone(rate: float, order: Order) -> None:
    """With Poisson noise; an hour in, nothing moves and nothing is late."""
    outcome, _ = ours(constant(rate, 7200.0), world=World(order=order), warm_up=3600.0, noise=Noise())
    assert outcome.scalings == 0
    assert outcome.lateness.late_share == 0


@pytest.mark.parametrize("known", [True, False])
def test_ten_times_the_load_within_capacity_is_met(known: bool) -> None:
    """80/s, 800/s for ten minutes, back. With a known capacity nothing is late; it comes down again."""
    load = steps((80.0, 900.0), (800.0, 600.0), (80.0, 3600.0))
    outcome, _ = ours(load, known=known, warm_up=1800.0)
    assert outcome.lateness.late_share <= (0.0 if known else 0.15)
    assert max(count for _, count in outcome.replicas) >= 8
    assert outcome.replicas[-1][1] <= 2


@pytest.mark.parametrize(
    "world",
    [
        World(rebalance=Rebalance.COOPERATIVE, assignor=Assignor.STICKY, pause=Duration(3.0)),
        World(rebalance=Rebalance.CONSUMER, assignor=Assignor.UNIFORM, pause=Duration(3.0)),
        World(topics=(12, 12), assignor=Assignor.RANGE),
        World(start=Duration(20.0, 0.4), pause=Duration(5.0, 0.4), processing_cv=1.0),
    ],
    ids=["cooperative", "kip-848", "range-two-topics", "varying"],
)
def test_other_groups_are_scaled_within_their_limits(world: World) -> None:
    """Never more replicas than can have a partition, and enough for the load in the end."""
    outcome, scaler = ours(steps((100.0, 600.0), (500.0, 2400.0)), world=world, warm_up=900.0, noise=Noise())
    most = max(world.topics) if world.assignor is Assignor.RANGE else sum(world.topics)
    assert 5 <= outcome.replicas[-1][1] <= most
    assert max(count for _, count in outcome.replicas) <= most
    assert outcome.lateness.late_share < 0.02
    assert scaler.decisions


def test_a_jump_right_before_a_poll_is_met_within_seconds() -> None:
    """The poll at 605 s has seen one second of it; the second look, four seconds later, sees how large it is."""
    outcome, _ = ours(steps((100.0, 604.0), (1500.0, 600.0)))
    assert max(count for at, count in outcome.replicas if at <= 610) >= 15
    assert outcome.lateness.late_share == pytest.approx(0, abs=1e-9)


def test_a_load_that_goes_on_and_off_is_carried_without_a_replica_for_each_of_its_peaks() -> None:
    """Recorded, twice as high: 238/s on average, peaks of 4000/s for seconds. Its queue says what is enough."""
    recorded = read_trace(TRACES / "azure_llm_code_onoff.csv")
    load = replace(recorded, rates=2 * recorded.rates)
    outcome, _ = ours(load)
    assert outcome.lateness.late_share == pytest.approx(0, abs=1e-9)
    assert outcome.replica_hours * 3600 / load.end <= 8


def test_to_zero_and_back() -> None:
    """An idle group goes to zero after five minutes, and the first messages wake it up."""
    load = steps((50.0, 600.0), (0.0, 1200.0), (50.0, 900.0))
    outcome, scaler = ours(load, warm_up=600.0, min_replicas=0)
    assert 0 in [count for _, count in outcome.replicas]
    assert outcome.replicas[-1][1] >= 1
    assert scaler.decisions is not None
    reasons = {decision.reason for decision in scaler.decisions}
    assert {DecisionReason.SCALE_TO_ZERO, DecisionReason.SCALE_FROM_ZERO} <= reasons


@pytest.mark.parametrize(("order", "model"), [(Order.FAIR, Group), (Order.TURNS, TurnsGroup)])
def test_another_model_of_the_same_group_agrees(order: Order, model: type[Group]) -> None:
    """The plain models of the decision's own tests, written apart: the same counts in the end and at the top, and
    delays within a few seconds.
    """

    def rate(seconds: float) -> float:
        """80/s, up to 800/s within 50 s, 90 s there, and back within 25 s."""
        t = seconds - 600
        return 80.0 if t < 0 else 80 + 720 * min(1.0, t / 50) if t < 140 else max(80.0, 800 - 720 * (t - 140) / 25)

    policy = promise(expected_records_per_second=100.0)
    plain = model(policy, rate, start_seconds=30.0, pause_seconds=10.0, commit_seconds=1.0).run(1500)
    ages = sorted((age, records) for records, age in plain.ages)
    share = np.cumsum([records for _, records in ages]) / sum(records for _, records in ages)
    p95, p99 = (ages[int(np.searchsorted(share, quantile))][0] for quantile in (0.95, 0.99))

    load = steps(*((rate(second + 0.5), 1.0) for second in range(1500)))
    world = World(topics=(20,), commit_seconds=1.0, order=order, tick_seconds=0.5)
    scaler = Ours(policy, first_look=5.0)
    outcome = simulate(
        load, world, scaler, window=Window(first=0.0, last=1500.0), promise_seconds=60.0, noise=QUIET, seed=1
    )
    assert outcome.lateness.p95 == pytest.approx(p95, abs=4)
    assert outcome.lateness.p99 == pytest.approx(p99, abs=4)
    assert outcome.lateness.longest == pytest.approx(ages[-1][0], abs=4)
    assert max(count for _, count in outcome.replicas) == max(to for _, _, to in plain.writes)
    assert outcome.replicas[-1][1] == plain.replicas
