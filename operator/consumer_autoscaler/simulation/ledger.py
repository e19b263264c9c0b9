"""How late each message was. A message is finished when it is committed; its delay counts from its arrival.

The fluid is exact here: a commit finishes all messages of a partition between the last committed offset and this one,
and those arrived while the cumulative arrivals went from the one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consumer_autoscaler.simulation.trace import Arrivals, Floats

ROWS = 20_000  # commits kept before they are worked off
FINE_SECONDS, FINE_BINS = 0.1, 72_000  # delays up to two hours
COARSE_SECONDS, COARSE_BINS = 60.0, 60_000  # longer ones, up to 41 days
MOMENTS = 1200  # of the run, for which the longest delay is kept


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of the messages that arrived while it was measured. Seconds; `late_seconds` is for how long one was waiting
    that had waited longer than promised.
    """

    messages: float
    late_share: float
    p50: float
    p95: float
    p99: float
    longest: float
    late_seconds: float


class Ledger:
    """Collects commits, and turns them into delays in lots. Messages count that arrive in [first, last) ticks."""

    def __init__(self, arrivals: Arrivals, *, promise_seconds: float, first: int, last: int) -> None:
        self._arrivals = arrivals
        self._promise, self._tick = promise_seconds / arrivals.tick, arrivals.tick
        self._first, self._last = first, last
        self._ticks: list[Floats] = []
        self._commits: list[Floats] = []
        self._before: Floats = np.zeros(0)
        self._fine = np.zeros(FINE_BINS + 2)
        self._coarse = np.zeros(COARSE_BINS + 2)
        self._late = self._total = self._longest = 0.0
        self._moments = np.full(MOMENTS, -1.0)
        self._late_edges = np.zeros(last + 2, dtype=np.int64)  # +1 where a message becomes late, -1 where it is done

    def add(self, ticks: Floats, commits: Floats) -> None:
        """One row: by partition the tick of its last commit, and what was committed then."""
        if self._commits and len(commits) != len(self._commits[-1]):
            self._work_off()
        self._ticks.append(ticks.copy())
        self._commits.append(commits.copy())
        if len(self._commits) >= ROWS:
            self._work_off()

    def lateness(self) -> Lateness:
        self._work_off()
        total = self._total
        if total <= 0:
            return Lateness(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        fine, coarse = np.cumsum(np.cumsum(self._fine)[:FINE_BINS]), np.cumsum(np.cumsum(self._coarse)[:COARSE_BINS])

        def quantile(share: float) -> float:
            wanted = share * total
            if fine[-1] >= wanted * (1 - 1e-12):
                at = int(np.searchsorted(fine, wanted * (1 - 1e-12)))
                return min((at + 1) * FINE_SECONDS, self._longest)
            at = int(np.searchsorted(coarse, wanted - fine[-1]))
            return min((at + 1) * COARSE_SECONDS, self._longest)

        late_ticks = np.count_nonzero(np.cumsum(self._late_edges)[:-1] > 0)
        return Lateness(
            total, self._late / total, quantile(0.5), quantile(0.95), quantile(0.99), self._longest,
            float(late_ticks * self._tick),
        )  # fmt: skip

    def delays(self) -> list[tuple[float, float]]:
        """(second since the arrivals began, longest delay of the messages that were finished about then)."""
        self._work_off()
        width = self._arrivals.ticks / MOMENTS * self._tick
        return [((i + 0.5) * width, float(delay)) for i, delay in enumerate(self._moments) if delay >= 0]

    def _work_off(self) -> None:
        arrivals = self._arrivals
        if not self._commits:
            return
        ticks, commits = np.array(self._ticks), np.array(self._commits)
        self._ticks, self._commits = [], []
        count = commits.shape[1]
        before = np.append(self._before, np.zeros(count - len(self._before)))
        grid = arrivals.grid[: -(-int(ticks.max()) // arrivals.stride) + 2]
        times = np.arange(len(grid), dtype=float) * arrivals.stride
        bounds = arrivals.before(self._first), arrivals.before(self._last)
        for p in range(count):
            done = np.maximum.accumulate(np.clip(commits[:, p], bounds[0][p], bounds[1][p]))
            start = min(max(before[p], bounds[0][p]), bounds[1][p])
            previous = np.concatenate([[start], done[:-1]])
            rows = np.flatnonzero(done > previous + 1e-9)
            if len(rows) == 0:
                continue
            self._count(ticks[rows, p], previous[rows], done[rows], times, grid[:, p])
        self._before = commits[-1].copy()

    def _count(self, at: Floats, first: Floats, last: Floats, times: Floats, ends: Floats) -> None:
        number = last - first
        limit = np.interp(at - self._promise, times, ends)
        self._late += float(np.clip(limit - first, 0.0, number).sum())
        self._total += float(number.sum())
        longest = np.maximum(at - arrived_at(first, times, ends, after=True), 0.0) * self._tick
        shortest = np.clip(at - arrived_at(last, times, ends, after=False), 0.0, None) * self._tick
        shortest = np.minimum(shortest, longest)
        self._longest = max(self._longest, float(longest.max()))
        late = longest > self._promise * self._tick + 1e-9
        until = np.minimum(at[late], self._last)
        became = np.minimum(until, at[late] - longest[late] / self._tick + self._promise)
        np.add.at(self._late_edges, np.ceil(became - 1e-9).astype(np.int64), 1)
        np.add.at(self._late_edges, until.astype(np.int64), -1)
        moments = np.minimum((at / self._arrivals.ticks * MOMENTS).astype(np.int64), MOMENTS - 1)
        np.maximum.at(self._moments, moments, longest)
        short = longest < FINE_SECONDS * FINE_BINS
        _spread(self._fine, FINE_SECONDS, shortest[short], longest[short], number[short])
        _spread(self._coarse, COARSE_SECONDS, shortest[~short], longest[~short], number[~short])


def arrived_at(count: Floats, times: Floats, ends: Floats, *, after: bool) -> Floats:
    """When the cumulative arrivals passed `count`: the moment from which on there were more, or until there were."""
    upper = np.clip(np.searchsorted(ends, count, side="right" if after else "left"), 1, len(ends) - 1)
    below, above = ends[upper - 1], ends[upper]
    share = np.clip((count - below) / np.maximum(above - below, 1e-12), 0.0, 1.0)
    result: Floats = times[upper - 1] + share * (times[upper] - times[upper - 1])
    return result


def _spread(bins: Floats, width: float, low: Floats, high: Floats, number: Floats) -> None:
    """Adds `number` evenly between `low` and `high`, as steps of a density whose running sum is the histogram."""
    if len(low) == 0:
        return
    top = len(bins) - 2
    first = np.minimum((low / width).astype(np.int64), top - 1)
    last = np.minimum((high / width).astype(np.int64), top - 1) + 1
    each = number / (last - first)
    bins += np.bincount(first, each, len(bins)) - np.bincount(last, each, len(bins))
