"""The oracle: the cheapest plan for a load that is known beforehand, under the same physics.

Backward dynamic programming over (time, replicas, backlog in buckets), then a forward roll-out with the exact backlog
that looks one step ahead in the table. The roll-out is a plan that can be carried out, so its cost is an upper bound of
the optimum; the same programme with every backlog rounded down is a lower bound. Cost in replica-seconds:

    sum of replicas * step  +  late * step * [oldest message too old]  +  switch * (number of scalings)

A scaling is one macro step: an up works on at the old pace for the start time, stands still for the pause, then works
at the new pace until the step is over; a down begins with the pause. It is billed at the larger count. Age is looked at
at the end of each step, and when a pause is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consumer_autoscaler.simulation.trace import Floats

Ints = NDArray[np.int64]
Small = NDArray[np.float32]

INDEX_STEPS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """`arrivals` in records by step; `sustained` records per second by count of `counts` (ascending)."""

    arrivals: Floats
    step_seconds: float
    counts: tuple[int, ...]
    sustained: tuple[float, ...]
    start_seconds: float = 30.0
    pause_seconds: float = 10.0
    promise_seconds: float = 60.0
    switch_cost: float = 10.0
    late_cost: float = 1000.0  # replicas that one second with a late message is worth
    buckets: int = 220


@dataclass(frozen=True, slots=True)
class Solution:
    """`plan` is (step, replicas) from the first step on; costs in replica-seconds, late and switches included."""

    plan: tuple[tuple[int, int], ...]
    cost: float
    replica_seconds: float
    late_steps: int
    table_cost: float  # what the table promised for the first state
    lower_bound: float | None


def solve(problem: Problem, *, bound: bool = False, progress: Callable[[float], None] | None = None) -> Solution:
    """The roll-out, and with `bound` the certified lower bound, which takes twice as long again."""
    lowest = None
    if bound:  # the finer the buckets, the less is lost by rounding down
        fine = _Solver(replace(problem, buckets=2 * problem.buckets))
        lowest = float(fine.table(exact=False, keep=False, progress=progress)[0][:, 0].min())
    solver = _Solver(problem)
    table = solver.table(exact=True, keep=True, progress=progress)
    return solver.roll_out(table, lowest)


class _Solver:
    def __init__(self, problem: Problem) -> None:
        self.p = p = problem
        self.steps = len(p.arrivals)
        self.counts = np.array(p.counts, dtype=np.float32)
        self.work = np.array(p.sustained) * p.step_seconds  # records by step
        self.up_steps = max(1, math.ceil((p.start_seconds + p.pause_seconds) / p.step_seconds - 1e-9))
        self.down_steps = max(1, math.ceil(p.pause_seconds / p.step_seconds - 1e-9))
        cumulative = np.concatenate([[0.0], np.cumsum(p.arrivals)])
        times: Floats = np.arange(self.steps + 1, dtype=np.float64) * p.step_seconds
        rate = p.arrivals[0] / p.step_seconds if self.steps else 0.0

        def within_promise(now: Floats) -> Floats:
            """What arrived in the last promise: more backlog than that, and the oldest message is too old."""
            then = now - p.promise_seconds
            past = np.interp(then, times, cumulative) + np.minimum(then, 0) * rate
            recent: Floats = np.interp(now, times, cumulative) - past
            return recent

        self.limits = within_promise(times)
        self.up_limits = within_promise(times + p.start_seconds + p.pause_seconds)  # when the pause of a switch is over
        self.down_limits = within_promise(times + p.pause_seconds)
        self.up_part = (p.start_seconds + p.pause_seconds) / p.step_seconds - (self.up_steps - 1)  # of its last step
        self.down_part = p.pause_seconds / p.step_seconds - (self.down_steps - 1)
        self.buckets = self._buckets()
        top, k = float(self.buckets[-1]), len(self.buckets)
        self._unit = np.float32(INDEX_STEPS / top)
        marks = np.arange(INDEX_STEPS + 1) * (top / INDEX_STEPS)
        self._index = np.minimum(np.searchsorted(self.buckets, marks + 1e-9, side="right") - 1, k - 2).astype(np.int64)
        self._low = self.buckets.astype(np.float32)
        self._slope = (1 / np.diff(self.buckets)).astype(np.float32)
        pairs = [(low, high) for low in range(len(p.counts)) for high in range(low + 1, len(p.counts))]
        self.up_from = np.array([low for low, _ in pairs], dtype=np.int64)
        self.up_to = np.array([high for _, high in pairs], dtype=np.int64)
        first_of = [next(i for i, (low, _) in enumerate(pairs) if low == count) for count in range(len(p.counts) - 1)]
        self.up_groups = np.array(first_of, dtype=np.int64)
        # Work done in each step of a macro step: before it stops at the old pace, after it at the new one.
        self.up_old, self.up_new = self._shares(self.up_steps, p.start_seconds, p.start_seconds + p.pause_seconds)
        _, self.down_new = self._shares(self.down_steps, 0.0, p.pause_seconds)

    def _buckets(self) -> Floats:
        """Half of them linear up to four promises of one replica's work, half geometric up to the worst backlog."""
        p = self.p
        half = p.buckets // 2
        fine = 4 * p.sustained[0] * p.promise_seconds
        window = max(1, round(max(600.0, 4 * p.promise_seconds) / p.step_seconds))
        sums = np.concatenate([[0.0], np.cumsum(p.arrivals)])
        most = float((sums[min(window, self.steps) :] - sums[: -min(window, self.steps)]).max()) if self.steps else 0.0
        worst = max(2 * fine, most)
        return np.concatenate([np.linspace(0, fine, half), np.geomspace(fine, worst, p.buckets - half + 1)[1:]])

    def _shares(self, steps: int, stops: float, goes_on: float) -> tuple[list[float], list[float]]:
        """By step the share of it before `stops` and the share after `goes_on`."""
        d = self.p.step_seconds
        before = [min(1.0, max(0.0, stops / d - j)) for j in range(steps)]
        after = [min(1.0, max(0.0, (j + 1) - goes_on / d)) for j in range(steps)]
        return before, after

    def _value(self, table: Small, rows: Ints, backlog: Small, *, exact: bool) -> Small:
        """The table's value of each backlog, in the row of its count."""
        at = self._index.take((backlog * self._unit).astype(np.int64), mode="clip")
        # The index is of the mark below, so it may be one bucket too low, never too high: still a lower bound.
        flat = table.ravel()
        place = at + rows[:, None] * table.shape[1]
        value: Small = flat.take(place, mode="clip")
        if exact:
            share = np.minimum(
                (backlog - self._low.take(at, mode="clip")) * self._slope.take(at, mode="clip"), np.float32(2.0)
            )
            value = value + share * (flat.take(place + 1, mode="clip") - value)
        return value

    def table(self, *, exact: bool, keep: bool, progress: Callable[[float], None] | None) -> list[Small]:
        """The cost to go, by step, count and bucket; only the last few steps' when not kept, the first one first."""
        p = self.p
        b = self._low[None, :]
        d, late = np.float32(p.step_seconds), np.float32(p.late_cost * p.step_seconds)
        rows = np.arange(len(p.counts))
        bill = (self.counts * d)[:, None]
        work = self.work.astype(np.float32)[:, None]
        end = np.repeat(
            b / np.float32(p.sustained[0] / p.counts[0]), len(p.counts), axis=0
        )  # what is left is worked off
        tables: list[Small] = [end]  # newest last, that is, backwards in time
        a, limits = p.arrivals.astype(np.float32), self.limits.astype(np.float32)
        reach = max(self.up_steps, self.down_steps)
        for i in range(self.steps - 1, -1, -1):
            after = np.maximum(b + a[i] - work, 0)
            best = bill + late * (after > limits[i + 1]) + self._value(tables[-1], rows, after, exact=exact)
            if i + self.up_steps <= self.steps and len(self.up_from):
                cost, after = self._ups(i, b, work, a, limits, late)
                cost += self._value(tables[-self.up_steps], self.up_to, after, exact=exact)
                cost += (self.counts[self.up_to] * d * self.up_steps + np.float32(p.switch_cost))[:, None]
                cheapest = np.minimum.reduceat(cost, self.up_groups, axis=0)
                best[:-1] = np.minimum(best[:-1], cheapest)
            if i + self.down_steps <= self.steps and len(rows) > 1:
                cost, after = self._downs(i, b, work, a, limits, late)
                later = tables[-self.down_steps]
                cost = cost + self._value(later, rows, after, exact=exact)
                cheapest = np.minimum.accumulate(cost, axis=0)[:-1] + bill[1:] * self.down_steps
                best[1:] = np.minimum(best[1:], cheapest + np.float32(p.switch_cost))
            tables.append(best)
            if not keep and len(tables) > reach + 1:
                tables.pop(0)
            if progress is not None and i % 500 == 0:
                progress(1 - i / self.steps)
        tables.reverse()
        return tables

    def _ups(self, i: int, b: Small, work: Small, a: Small, limits: Small, late: np.float32) -> tuple[Small, Small]:
        """By pair of counts: cost of lateness in the macro step, and the backlog after it."""
        backlog = np.repeat(b, len(self.counts), axis=0)
        cost = np.zeros_like(backlog)
        last = self.up_steps - 1
        for j in range(last):
            backlog = np.maximum(backlog + a[i + j] - work * np.float32(self.up_old[j]), 0)
            cost += late * (backlog > limits[i + j + 1])
        paused = backlog + a[i + last] * np.float32(self.up_part) - work * np.float32(self.up_old[last])
        cost += late * (paused > np.float32(self.up_limits[i]))
        backlog = np.maximum(backlog + a[i + last] - work * np.float32(self.up_old[last]), 0)[self.up_from]
        backlog = np.maximum(backlog - work[self.up_to] * np.float32(self.up_new[last]), 0)
        return cost[self.up_from] + late * (backlog > limits[i + last + 1]), backlog

    def _downs(self, i: int, b: Small, work: Small, a: Small, limits: Small, late: np.float32) -> tuple[Small, Small]:
        """By count gone to."""
        backlog = np.repeat(b, len(self.counts), axis=0)
        cost = np.zeros_like(backlog)
        for j in range(self.down_steps):
            if j == self.down_steps - 1:
                cost += late * (backlog + a[i + j] * np.float32(self.down_part) > np.float32(self.down_limits[i]))
            backlog = np.maximum(backlog + a[i + j] - work * np.float32(self.down_new[j]), 0)
            cost += late * (backlog > limits[i + j + 1])
        return cost, backlog

    def roll_out(self, tables: list[Small], lower_bound: float | None) -> Solution:
        """Forward with the exact backlog, each time what is cheapest with the table's cost to go."""
        p, d = self.p, self.p.step_seconds
        at = int(np.argmin(tables[0][:, 0]))
        plan = [(0, p.counts[at])]
        i, backlog, seconds, late, switches = 0, 0.0, 0.0, 0, 0
        while i < self.steps:
            best: tuple[float, int, int, float, float, int] | None = None
            for to in range(len(p.counts)):
                moved = self._move(i, at, to, backlog)
                if moved is None:
                    continue
                steps, after, bill, lates = moved
                cost = bill + p.late_cost * d * lates + (p.switch_cost if to != at else 0.0)
                cost += self._worth(tables[i + steps], to, after)
                if best is None or cost < best[0]:
                    best = (cost, to, steps, after, bill, lates)
            assert best is not None  # to stay is always possible
            _, to, steps, backlog, bill, lates = best
            if to != at:
                plan.append((i, p.counts[to]))
                switches += 1
            at, i, seconds, late = to, i + steps, seconds + bill, late + lates
        left = backlog * p.counts[0] / p.sustained[0]
        cost = seconds + late * p.late_cost * d + switches * p.switch_cost + left
        return Solution(tuple(plan), cost, seconds, late, float(tables[0][:, 0].min()), lower_bound)

    def _worth(self, table: Small, row: int, backlog: float) -> float:
        where = min(int(np.searchsorted(self.buckets, backlog, side="right")) - 1, len(self.buckets) - 2)
        share = (backlog - self.buckets[where]) / (self.buckets[where + 1] - self.buckets[where])
        low, high = float(table[row, where]), float(table[row, where + 1])
        return float(low + share * (high - low))

    def _move(self, i: int, at: int, to: int, backlog: float) -> tuple[int, float, float, int] | None:
        """(steps, backlog after, replica-seconds, late steps) of staying or of a switch; None beyond the end."""
        p = self.p
        if to == at:
            steps, before, after = 1, [1.0], [0.0]
        elif to > at:
            steps, before, after = self.up_steps, self.up_old, self.up_new
        else:
            steps, before, after = self.down_steps, [0.0] * self.down_steps, self.down_new
        if i + steps > self.steps:
            return None
        lates = 0
        for j in range(steps):
            arrived = float(p.arrivals[i + j])
            if j == steps - 1 and to != at:
                part, limits = (self.up_part, self.up_limits) if to > at else (self.down_part, self.down_limits)
                lates += backlog + arrived * part - self.work[at] * before[j] > limits[i]
            backlog = max(0.0, backlog + arrived - self.work[at] * before[j])
            backlog = max(0.0, backlog - self.work[to] * after[j])
            lates += backlog > self.limits[i + j + 1]
        return steps, backlog, max(p.counts[at], p.counts[to]) * steps * p.step_seconds, lates
