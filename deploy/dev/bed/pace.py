"""How long consumers take, and what they leave alone: one value that may change while they run.

Consumers in the process that changes it are given a function; others read a file, anew whenever it was written.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The time of a record is drawn anew for each: lognormal around the mean, within the bounds."""

    seconds_per_record: float
    spread: float = 0.0  # standard deviation of the logarithm
    least_seconds: float = 0.0
    most_seconds: float = math.inf
    stuck: tuple[str, ...] = ()  # partitions that are not worked on, as "topic-3"

    def draw(self, records: int, chance: random.Random) -> float:
        """Seconds for so many records together."""
        if not self.spread:
            return records * self.seconds_per_record
        middle = math.log(self.seconds_per_record) - self.spread**2 / 2
        drawn = (chance.lognormvariate(middle, self.spread) for _ in range(records))
        return sum(min(max(self.least_seconds, seconds), self.most_seconds) for seconds in drawn)


class PaceFile:
    """The pace that a file says; until it is there, and while it is being replaced, the last one that was read."""

    def __init__(self, path: Path, first: Pace) -> None:
        self._path = path
        self._last = first
        self._written_ns = -1

    def read(self) -> Pace:
        try:
            written_ns = self._path.stat().st_mtime_ns
            if written_ns != self._written_ns:
                said = json.loads(self._path.read_text())
                self._last, self._written_ns = Pace(**{**said, "stuck": tuple(said["stuck"])}), written_ns
        except (OSError, ValueError):
            pass
        return self._last

    @staticmethod
    def write(path: Path, pace: Pace) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(pace)))
        fresh.replace(path)


def at(points: Sequence[tuple[float, float]], seconds: float) -> float:
    """The value of a line through (seconds, value) points; before the first and after the last as there."""
    if seconds <= points[0][0]:
        return points[0][1]
    for (t0, v0), (t1, v1) in pairwise(points):
        if seconds < t1:
            return v0 + (v1 - v0) * (seconds - t0) / (t1 - t0)
    return points[-1][1]
