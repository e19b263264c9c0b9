"""A group's past as Prometheus keeps it, on an even grid of times: the load, the lag, the partitions, the replicas.

Unknown is not zero: a point that is missing is NaN until the load is made from the rest. Where offsets are known, the
end of the log is what was committed plus the lag, both of the same scrape; what arrived in a gap is then known exactly,
only not when, and is spread evenly. A step in which a partition came or went, or offsets fell, tells no rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consumer_autoscaler.simulation.ledger import arrived_at
from consumer_autoscaler.simulation.trace import BadTrace, Floats, Trace

LEAST_SECONDS = 300.0  # of history: less says nothing about a load
MOST_MISSING = 0.5  # of the points; beyond that what is filled in would decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was answered, point by point, NaN where there was nothing. `start` in seconds since 1970.

    Either `committed` (offsets, summed) or `arrivals` (records per second in the step before the point) is there.
    """

    exporter: str
    start: float
    step_seconds: float
    lag: Floats
    partitions: Floats
    replicas: Floats
    replicas_from: str | None
    committed: Floats | None = None
    arrivals: Floats | None = None
    behind: Floats | None = None  # partitions whose lag is at least a quarter of the mean


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """`rates[i]` is records per second between points i and i + 1; the other arrays have a value for each point."""

    exporter: str
    start: float
    step_seconds: float
    rates: Floats
    lag: Floats
    replicas: Floats  # NaN where unknown
    replicas_from: str | None
    partitions: int
    behind: Floats  # the partitions whose lag is at least a quarter of the mean; NaN where unknown
    missing_share: float

    @property
    def seconds(self) -> float:
        return len(self.rates) * self.step_seconds

    @property
    def end(self) -> float:
        return self.start + self.seconds

    def trace(self, name: str) -> Trace:
        starts = np.arange(len(self.rates), dtype=float) * self.step_seconds
        return Trace(name, starts, self.rates, self.seconds)

    def consumed(self) -> Floats:
        """Records per second that were committed in each step; NaN where the lag is unknown."""
        consumed: Floats = np.maximum(self.rates - np.diff(self.lag) / self.step_seconds, 0.0)
        return consumed

    def replica_steps(self) -> tuple[tuple[float, int], ...]:
        """(second since the start, replicas from then on); empty where nothing is known. Gaps keep what was before."""
        known = np.flatnonzero(np.isfinite(self.replicas))
        steps: list[tuple[float, int]] = []
        for at in known.tolist():
            count = int(self.replicas[at])
            if not steps or steps[-1][1] != count:
                steps.append((at * self.step_seconds if steps else 0.0, count))
        return tuple(steps)

    def replica_hours(self) -> float | None:
        steps = self.replica_steps()
        if not steps:
            return None
        ends = [at for at, _ in steps[1:]] + [self.seconds]
        return sum((end - at) * count for (at, count), end in zip(steps, ends, strict=True)) / 3600

    def delays(self) -> Floats:
        """How long the oldest record that was not committed had waited, in seconds, as if all partitions were alike;
        NaN where the lag is unknown.
        """
        times = np.arange(len(self.lag), dtype=float) * self.step_seconds
        arrived = np.concatenate([[0.0], np.cumsum(self.rates * self.step_seconds)])
        done = arrived - np.nan_to_num(self.lag)
        since = arrived_at(np.maximum(done, 0.0), times, arrived, after=True)
        first = max(float(self.rates[: max(1, len(self.rates) // 100)].mean()), 1e-9)
        before = np.maximum(-done, 0.0) / first  # waited since before the history began
        waited: Floats = np.where(done < arrived, np.maximum(times - since, 0.0) + before, 0.0)
        waited[~np.isfinite(self.lag)] = np.nan
        return waited

    def late_seconds(self, promise_seconds: float) -> float:
        """How long a record was waiting that had waited longer than promised, as far as the points tell."""
        return float(np.count_nonzero(self.delays() > promise_seconds) * self.step_seconds)


def history_of(recorded: Recorded) -> History:
    """Raises BadTrace where too little is there to replay."""
    step = recorded.step_seconds
    known = np.isfinite(recorded.lag)
    if recorded.committed is not None:
        ends = recorded.lag + recorded.committed
        rates, measured = _rates_of_ends(ends, recorded.partitions, step)
    elif recorded.arrivals is not None:
        known &= np.isfinite(recorded.arrivals)
        rates = np.maximum(recorded.arrivals[1:], 0.0)
        measured = np.isfinite(rates)
    else:
        raise ValueError("neither committed offsets nor arrivals")
    where = np.flatnonzero(measured)
    length = (where[-1] + 1 - where[0]) * step if len(where) else 0.0
    if length < LEAST_SECONDS:
        raise BadTrace(
            f"Prometheus has {length:.0f} s of this group's past ({recorded.exporter}), at least {LEAST_SECONDS:.0f} s"
            " are needed: ask for more with --days, or wait"
        )
    first, last = int(where[0]), int(where[-1]) + 1
    rates, measured = rates[first:last], measured[first:last]
    missing = 1 - float(measured.mean())
    if missing > MOST_MISSING:
        raise BadTrace(
            f"{missing:.0%} of the points of this group are missing in Prometheus: ask for a time in which it was"
            " scraped (--days), or for one point each scrape (--step)"
        )
    rates = np.interp(np.arange(len(rates)), np.flatnonzero(measured), rates[measured])
    if not rates.any():
        raise BadTrace("nothing arrived for this group in that time: ask for a time with load (--days)")
    partitions = recorded.partitions[first : last + 1]
    lag = np.where(known, recorded.lag, np.nan)[first : last + 1]
    behind = recorded.behind if recorded.behind is not None else np.full(len(recorded.lag), np.nan)
    return History(
        exporter=recorded.exporter,
        start=recorded.start + first * step,
        step_seconds=step,
        rates=rates,
        lag=lag,
        replicas=recorded.replicas[first : last + 1],
        replicas_from=recorded.replicas_from,
        behind=behind[first : last + 1],
        partitions=int(np.nanmax(partitions)) if np.isfinite(partitions).any() else 0,
        missing_share=missing,
    )


def _rates_of_ends(ends: Floats, partitions: Floats, step: float) -> tuple[Floats, NDArray[np.bool_]]:
    """The rate in each step, and whether it is told. Between two points with a gap: their mean."""
    rates = np.full(len(ends) - 1, np.nan)
    counts = partitions if np.isfinite(partitions).any() else np.zeros(len(ends))  # kminion may count topics only
    points = np.flatnonzero(np.isfinite(ends))
    for here, there in pairwise(points.tolist()):
        grown = ends[there] - ends[here]
        if grown >= 0 and counts[here] == counts[there]:
            rates[here:there] = grown / ((there - here) * step)
    return rates, np.isfinite(rates)
