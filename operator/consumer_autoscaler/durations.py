"""How long things of one kind took: a histogram with few buckets, cheap to add to, for metrics to read."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

BOUNDS_SECONDS = (0.005, 0.025, 0.1, 0.5, 2.0, 8.0)


class Durations:
    """Counts of durations by bucket, and their sum. A duration equal to a bound is in the bucket of that bound."""

    __slots__ = ("_counts", "total_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self.total_seconds = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.total_seconds += seconds

    @property
    def cumulative(self) -> tuple[int, ...]:
        """How many took no longer than each of BOUNDS_SECONDS, and last how many there were."""
        return tuple(accumulate(self._counts))


@contextmanager
def timed(by_result: defaultdict[str, Durations]) -> Iterator[None]:
    """Adds how long the block took, by how it ended: `ok`, `timeout` or `error`."""
    begin, result = time.monotonic(), "error"
    try:
        yield
        result = "ok"
    except TimeoutError:
        result = "timeout"
        raise
    finally:
        by_result[result].observe(time.monotonic() - begin)
