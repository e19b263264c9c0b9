"""How old records are when their offsets are committed, counted exactly and kept in a file per consumer.

Late means committed more than the promise after the record's timestamp, as a share of the messages. Ages are
counted in whole seconds, rounded up, so the share is exact for every promise of whole seconds.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Ages:
    """Committed records by age: `by_second[12]` are those of more than 11 and at most 12 seconds."""

    by_second: Counter[int] = field(default_factory=Counter)
    longest_seconds: float = 0.0

    @property
    def records(self) -> int:
        return self.by_second.total()

    def add(self, timestamps_ms: Iterable[int], committed_at: float) -> None:
        """Counts records with these timestamps as committed at that time (seconds since the epoch)."""
        for timestamp in timestamps_ms:
            age = max(0.0, committed_at - timestamp / 1000)
            self.by_second[math.ceil(age)] += 1
            self.longest_seconds = max(self.longest_seconds, age)

    def late_share(self, promise_seconds: int) -> float:
        """The share of messages older than the promise, 0 when there are none at all."""
        late = sum(count for second, count in self.by_second.items() if second > promise_seconds)
        return late / self.records if self.records else 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """What one consumer has committed in about one second."""

    at: float
    consumer: str
    ages: Ages


def append(path: Path, line: Line) -> None:
    record = {
        "at": round(line.at, 3),
        "consumer": line.consumer,
        "committed": line.ages.records,
        "max_age_seconds": round(line.ages.longest_seconds, 3),
        "ages": {str(second): count for second, count in sorted(line.ages.by_second.items())},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as sink:
        sink.write(json.dumps(record) + "\n")


def read(folder: Path) -> Iterator[Line]:
    """Every line of every consumer's file (`*.jsonl`), also of consumers that have ended."""
    for path in sorted(folder.glob("*.jsonl")):
        for text in path.read_text().splitlines():
            try:
                record = json.loads(text)
            except ValueError:
                continue  # the last line of a consumer that was killed while it wrote
            by_second = Counter({int(second): count for second, count in record["ages"].items()})
            yield Line(record["at"], record["consumer"], Ages(by_second, record["max_age_seconds"]))


def total(lines: Iterable[Line]) -> Ages:
    """All of them together."""
    sum_of = Ages()
    for line in lines:
        sum_of.by_second += line.ages.by_second
        sum_of.longest_seconds = max(sum_of.longest_seconds, line.ages.longest_seconds)
    return sum_of
