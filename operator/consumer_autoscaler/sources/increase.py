"""What happened between two readings of the same counters, and the percentiles of it.

Per series: a count or a sum that fell means that the process began anew, after the earlier reading, so all of
the later one is new. A series that was not there before, in a process that was read before, began at zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from consumer_autoscaler.sources.exposition import Bucket, Family, Series


@dataclass(frozen=True, slots=True)
class Increase:
    """Observations and their sum between two readings, in the metric's own unit.

    `buckets` is None unless every series that moved has the same sound buckets.
    """

    count: float = 0.0
    total: float = 0.0
    buckets: tuple[Bucket, ...] | None = ()


def increase(before: Family, now: Family) -> Increase:
    """The increase over all series of one process; series that vanished add nothing."""
    return combined(_series_increase(before.get(labels), series) for labels, series in now.items())


def combined(parts: Iterable[Increase]) -> Increase:
    """The sum over series, or over pods."""
    count = total = 0.0
    sums: list[float] = []
    bounds: list[float] = []
    sound = True
    for part in parts:
        if part.count <= 0:
            continue
        count += part.count
        total += part.total
        own = [bound for bound, _ in part.buckets or ()]
        if not bounds:
            bounds, sums = own, [0.0] * len(own)
        sound = sound and bool(own) and own == bounds
        if sound:
            sums = [a + b for a, (_, b) in zip(sums, part.buckets or (), strict=True)]
    return Increase(count, total, tuple(zip(bounds, sums, strict=True)) if sound else None)


def _series_increase(before: Series | None, now: Series) -> Increase:
    if before is None or now.count < before.count or now.total < before.total:
        return Increase(now.count, now.total, now.buckets)
    count, total = now.count - before.count, now.total - before.total
    if [bound for bound, _ in before.buckets] != [bound for bound, _ in now.buckets]:
        return Increase(count, total, None)
    moved = tuple(
        (bound, later - earlier) for (bound, later), (_, earlier) in zip(now.buckets, before.buckets, strict=True)
    )
    # A page written while records are counted can show buckets of different moments.
    rising = all(0 <= low[1] <= high[1] for low, high in pairwise(moved))
    return Increase(count, total, moved if rising else None)


def percentile(share: float, buckets: tuple[Bucket, ...] | None) -> float | None:
    """The value below which `share` of the observations lie, linear within its bucket, the lowest one from 0.

    As Prometheus' histogram_quantile, but None where that answers with the highest finite bound: an
    observation in the last, open bucket took longer than any bound, and how much longer is not known. None
    without buckets, too.
    """
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank = share * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, cumulative in buckets[:-1]:
        if cumulative >= rank and cumulative > below:
            return lower + (bound - lower) * max(0.0, rank - below) / (cumulative - below)
        lower, below = bound, cumulative
    return None
