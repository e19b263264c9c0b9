"""What one replica can do, from a group's past: what was committed in a second while there was always work.

A step counts when the backlog at both its ends would have kept the group busy for half a minute more, and the replicas
had not changed for a minute and a half: then all that the group could do was done. Where the partitions cannot be dealt
out evenly, some consumers have one less; as long as they keep up with what arrives on theirs, they only did that. While
fewer partitions are behind than even that explains, most consumers have nothing to do, and nothing is learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer_autoscaler.simulation.history import History

BUSY_SECONDS = 30.0  # of work waiting; six commit intervals, so that what is only not committed yet is no backlog
SETTLE_SECONDS = 90.0  # a pod start and two rebalances
LEAST_SECONDS = 120.0  # of such steps
MOST_PARTITIONS = 0.75  # of those that must be behind when the load is even


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Records per second of one replica: the median over `seconds` of busy steps, and their quartiles.
    `uneven_seconds` is for how long only some partitions were behind.
    """

    records_per_second: float
    low: float
    high: float
    seconds: float
    uneven_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class NotFitted:
    """Why not, in words, and what a replica has done at least, where that is known."""

    why: str
    at_least: float | None = None


def fit_capacity(history: History, *, partitions: int, consumers_per_pod: int = 1) -> Capacity | NotFitted:
    if not np.isfinite(history.replicas).any():
        return NotFitted("how many replicas ran is not known")
    consumed = history.consumed()
    settled = _settled(history)
    full = np.array([_on_the_fullest(partitions, count * consumers_per_pod) for count in history.replicas[1:].tolist()])
    each = np.array(
        [
            consumers_per_pod * _of_consumer(done, arrived, partitions, replicas * consumers_per_pod)
            for done, arrived, replicas in zip(
                consumed.tolist(), history.rates.tolist(), history.replicas[1:].tolist(), strict=True
            )
        ]
    )
    waiting = np.minimum(history.lag[:-1], history.lag[1:])
    with np.errstate(invalid="ignore"):
        usable = settled & np.isfinite(each) & (consumed > 0)
        behind = usable & (waiting >= BUSY_SECONDS * consumed)
        uneven = behind & (np.minimum(history.behind[:-1], history.behind[1:]) < MOST_PARTITIONS * full)
    busy = behind & ~uneven
    seconds, uneven_seconds = (float(np.count_nonzero(each) * history.step_seconds) for each in (busy, uneven))
    if seconds < LEAST_SECONDS:
        done = each[usable]
        besides = f", and for {uneven_seconds:.0f} s on some of its partitions only" if uneven_seconds else ""
        return NotFitted(
            f"the group was behind for {seconds:.0f} s only while its replicas stayed the same{besides}",
            float(np.percentile(done, 99)) if len(done) else None,
        )
    low, middle, high = np.percentile(each[busy], [25, 50, 75]).tolist()
    return Capacity(records_per_second=middle, low=low, high=high, seconds=seconds, uneven_seconds=uneven_seconds)


def _of_consumer(done: float, arrived: float, partitions: int, consumers: float) -> float:
    """Records per second of one consumer that always has work, of a group that did `done`; NaN where it is unknown."""
    if not (math.isfinite(consumers) and consumers >= 1 and math.isfinite(done)):
        return math.nan
    busy = min(int(consumers), partitions)
    fewer, fullest = divmod(partitions, busy)  # `fullest` consumers have one partition more than `fewer`
    on_fewer = arrived * fewer / partitions
    if fullest == 0 or on_fewer >= done / busy:
        return done / busy
    return min((done - (busy - fullest) * on_fewer) / fullest, done * (fewer + 1) / partitions)


def _on_the_fullest(partitions: int, consumers: float) -> float:
    """The partitions of those consumers that have the most; NaN where it is unknown."""
    if not (math.isfinite(consumers) and consumers >= 1):
        return math.nan
    fewer, fullest = divmod(partitions, min(int(consumers), partitions))
    return fullest * (fewer + 1) if fullest else partitions


def _settled(history: History) -> NDArray[np.bool_]:
    """Of each step: whether the replicas were the same at its end and for SETTLE_SECONDS before it."""
    points = len(history.replicas)
    back = math.ceil(SETTLE_SECONDS / history.step_seconds)
    same = np.ones(points - 1, dtype=bool)
    end = history.replicas[1:]
    for ago in range(1, back + 2):
        before = np.full(points - 1, np.nan)
        if ago < points:
            before[ago - 1 :] = history.replicas[: points - ago]
        same &= before == end
    return same
