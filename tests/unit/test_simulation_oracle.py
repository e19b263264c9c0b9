"""The oracle against trying everything, and against the figures that were found by others."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.traces import TRACES
from tests.unit.simulation_support import planned

from consumer_autoscaler.simulation.oracle import Problem, solve
from consumer_autoscaler.simulation.planner import plan, useful_counts
from consumer_autoscaler.simulation.run import Window
from consumer_autoscaler.simulation.trace import QUIET, constant, read_trace, steps
from consumer_autoscaler.simulation.world import World, skewed_weights

COUNTS = (1, 2, 3, 4, 5, 6, 8, 12, 24)
SUSTAINED = tuple(2400 / math.ceil(24 / count) for count in COUNTS)


def tried_out(p: Problem) -> float:
    """The least cost of all plans, written down once more in the plainest way."""
    d = p.step_seconds
    sums = [0.0, *np.cumsum(p.arrivals)]

    def arrived(seconds: float) -> float:
        if seconds < 0:
            return seconds * float(p.arrivals[0]) / d
        return float(np.interp(seconds, np.arange(len(sums)) * d, sums))

    def late(step: float, backlog: float) -> bool:
        return backlog > arrived(step * d) - arrived(step * d - p.promise_seconds)

    @cache
    def least(step: int, count: int, backlog: float) -> float:
        if step == len(p.arrivals):
            return backlog * p.counts[0] / p.sustained[0]
        best = math.inf
        for to in range(len(p.counts)):
            start = p.start_seconds if to > count else 0.0
            macro = 1 if to == count else math.ceil((start + p.pause_seconds) / d)
            if step + macro > len(p.arrivals):
                continue
            b, cost = backlog, 0.0 if to == count else p.switch_cost
            for j in range(macro):
                if to == count:
                    old, new = 1.0, 0.0
                else:
                    old = min(1.0, max(0.0, start / d - j))
                    new = min(1.0, max(0.0, j + 1 - (start + p.pause_seconds) / d))
                came, did = float(p.arrivals[step + j]), old * p.sustained[count] * d
                if to != count and j == macro - 1:
                    part = (start + p.pause_seconds) / d - j
                    cost += p.late_cost * d if late(step + j + part, b + part * came - did) else 0.0
                b = max(0.0, b + came - did)
                b = max(0.0, b - new * p.sustained[to] * d)
                cost += max(p.counts[count], p.counts[to]) * d + (p.late_cost * d if late(step + j + 1, b) else 0.0)
            best = min(best, cost + least(step + macro, to, b))
        return best

    return min(least(0, count, 0.0) for count in range(len(p.counts)))


@given(
    rates=st.lists(st.sampled_from([0.0, 60.0, 150.0, 250.0, 390.0]), min_size=4, max_size=9),
    switch=st.sampled_from([0.0, 10.0, 300.0]),
    start=st.sampled_from([5.0, 30.0]),
)
@settings(max_examples=25, deadline=None)
def test_no_plan_is_better_and_the_bound_is_below_all(rates: list[float], switch: float, start: float) -> None:
    """Tiny cases, every plan tried: the roll-out is at most a few percent above the best, the bound never above it."""
    problem = Problem(
        arrivals=np.array(rates) * 10.0,
        step_seconds=10.0,
        counts=(1, 2, 4),
        sustained=(100.0, 200.0, 400.0),
        start_seconds=start,
        promise_seconds=30.0,
        switch_cost=switch,
        late_cost=20.0,
        buckets=220,
    )
    best, found = tried_out(problem), solve(problem, bound=True)
    assert found.lower_bound is not None
    assert found.lower_bound <= best + 0.01
    assert best - 0.01 <= found.cost <= best * 1.1 + 20.0 * 10.0
    assert best * 0.9 - 20.0 * 10.0 <= found.lower_bound


@pytest.mark.parametrize(
    ("name", "step", "hours"),
    [("azure_llm_conv_steady", 5.0, 5.7), ("azure_llm_code_onoff", 5.0, 1.7), ("iot_cars_rush_hours", 30.0, 93.6)],
)
def test_it_needs_as_much_as_was_found_before(name: str, step: float, hours: float) -> None:
    """Replica-hours within 4 % of another implementation's, with nothing late."""
    trace = read_trace(TRACES / f"{name}.csv")
    starts = np.arange(int(trace.end // step)) * step
    arrivals = trace.mean_over(starts, starts + step) * step
    found = solve(Problem(arrivals=arrivals, step_seconds=step, counts=COUNTS, sustained=SUSTAINED))
    assert found.replica_seconds / 3600 == pytest.approx(hours, rel=0.04)
    assert found.late_steps == 0
    assert found.cost == pytest.approx(found.table_cost, rel=0.03)


def test_the_bound_is_close() -> None:
    """Within a few percent of the roll-out."""
    trace = read_trace(TRACES / "azure_llm_conv_steady.csv")
    starts = np.arange(int(trace.end // 5)) * 5.0
    arrivals = trace.mean_over(starts, starts + 5) * 5
    problem = Problem(arrivals=arrivals, step_seconds=5.0, counts=COUNTS, sustained=SUSTAINED)
    found = solve(problem, bound=True)
    assert found.lower_bound is not None
    assert 0.95 * found.cost < found.lower_bound <= found.cost


def test_a_constant_load_needs_what_carries_it_less_what_may_wait() -> None:
    """450/s for 2000 s: five replicas at most, and no more is saved than a promise's worth of messages."""
    found = solve(Problem(arrivals=np.full(200, 4500.0), step_seconds=10.0, counts=COUNTS, sustained=SUSTAINED))
    assert max(count for _, count in found.plan) == 5
    assert found.late_steps == 0
    assert 4.5 * 2000 - 450 * 60 / 100 <= found.replica_seconds <= 5 * 2000


def test_its_plan_holds_in_the_modelled_group() -> None:
    """The plan is made in steps of 5 s and carried out in the group's own time: almost nothing is late."""
    load = steps((200.0, 600.0), (900.0, 600.0), (100.0, 1200.0))
    window = Window(first=0.0, last=load.end)
    found = plan(load, World(), window=window, noise=QUIET, seed=1, promise_seconds=60.0, low=1, high=24)
    outcome = planned(load, *found.steps[1:], replicas=found.steps[0][1])
    assert outcome.lateness.late_share < 0.001
    assert outcome.replica_hours * 3600 <= found.cost
    cheaper = planned(load, *[(at, max(1, count - 2)) for at, count in found.steps[1:]], replicas=1)
    assert cheaper.lateness.late_share > 0.05


def test_counts_that_help_are_found_under_skew_too() -> None:
    """Equal partitions: the useful counts. One partition with half of the load: two replicas' worth at most."""
    assert useful_counts(World(), 1, 24) == (COUNTS, pytest.approx(SUSTAINED))
    assert useful_counts(World(), 2, 7)[0] == (2, 3, 4, 5, 6)
    skewed = World(weights=(0.5, *([0.5 / 23] * 23)))
    counts, sustained = useful_counts(skewed, 1, 24)
    assert sustained[-1] == pytest.approx(200.0)
    assert counts[-1] <= 24
    assert useful_counts(World(weights=skewed_weights(24, 1.0)), 1, 24)[1][0] == pytest.approx(100.0)


def test_constant_oracle_is_deterministic() -> None:
    """Twice the same."""
    window = Window(first=0.0, last=600.0)

    def once() -> object:
        return plan(
            constant(300.0, 600.0), World(), window=window, noise=QUIET, seed=2, promise_seconds=60.0, low=1, high=24
        )

    assert once() == once()
