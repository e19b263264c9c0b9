"""Partitions that get unequal shares of the load: what the fullest consumer is left with.

A group is as fast as its fullest consumer, and which partitions that one has is the assignor's doing. Range and
roundrobin deal out by position, so it can be worked out for any number of consumers. Sticky ones and those of the
broker keep what they have and promise equal numbers only: there the worst of a few fixed deals stands for what comes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from consumer_autoscaler.decision.tracks import Track
from consumer_autoscaler.decision.values import GroupKind, GroupReading

UNEVEN = 1.25  # the fullest partition gets so many times the mean; below that all count as equal
KNOWN_RECORDS = 100.0  # counted for each partition beforehand, so that a few records show no difference
BY_POSITION = ("range", "roundrobin")
DEALS = (0.382, 0.5, 0.618)  # strides through the partitions, as shares of their number


@dataclass(frozen=True, slots=True)
class Uneven:
    """Shares of the load by partition, in the order of topics and partitions; they sum to 1."""

    shares: tuple[float, ...]
    sizes: tuple[int, ...]  # partitions of each topic
    assignor: str

    def fullest_share(self, consumers: int) -> float:
        """The share of the load that the fullest of so many consumers gets."""
        if self.assignor in BY_POSITION:
            return max(self._sums(self._by_position(consumers)))
        strides = [_coprime(round(share * len(self.shares)), len(self.shares)) for share in DEALS]
        return max(max(self._sums(self._dealt(consumers, stride))) for stride in strides)

    def held_by_fullest(self, consumers: int) -> tuple[int, ...] | None:
        """The places of the partitions that the fullest of them holds; None where the assignor does not let it tell."""
        if self.assignor not in BY_POSITION:
            return None
        held = self._by_position(consumers)
        sums = self._sums(held)
        return tuple(held[sums.index(max(sums))])

    def _sums(self, held: list[list[int]]) -> list[float]:
        return [sum(self.shares[place] for place in places) for places in held]

    def _by_position(self, consumers: int) -> list[list[int]]:
        return self._by_range(consumers) if self.assignor == "range" else self._dealt(consumers, 1)

    def _dealt(self, consumers: int, stride: int) -> list[list[int]]:
        """Partitions in a circle, `stride` positions on each time, to one consumer after the other."""
        count = len(self.shares)
        held: list[list[int]] = [[] for _ in range(consumers)]
        for turn in range(count):
            held[turn % consumers].append(turn * stride % count)
        return held

    def _by_range(self, consumers: int) -> list[list[int]]:
        """Of each topic one block after the other, the first ones longer by one where it does not come out even."""
        held: list[list[int]] = [[] for _ in range(consumers)]
        first = 0
        for size in self.sizes:
            each, more = divmod(size, consumers)
            for rank in range(min(consumers, size)):
                last = first + each + (rank < more)
                held[rank].extend(range(first, last))
                first = last
        return held


def uneven_of(tracks: Iterable[Track], group: GroupReading) -> Uneven | None:
    """The shares as of the last few minutes; None while they count as equal, or where sharing has another unit.

    The members of a share group take records, not partitions; a task of Kafka Streams has partitions of several topics.
    """
    ordered = sorted(tracks, key=lambda track: (track.topic, track.partition))
    streams = group.kind is GroupKind.STREAMS or (group.assignor or "").startswith("stream")
    if len(ordered) < 2 or streams or group.kind is GroupKind.SHARE:
        return None
    counts = [track.arrived_of_late + KNOWN_RECORDS for track in ordered]
    total = sum(counts)
    if max(counts) * len(counts) <= UNEVEN * total:
        return None
    sizes = tuple(len(list(same)) for _, same in groupby(ordered, key=lambda track: track.topic))
    return Uneven(tuple(count / total for count in counts), sizes, group.assignor or "range")


def _coprime(stride: int, count: int) -> int:
    stride = max(1, stride)
    while math.gcd(stride, count) > 1:
        stride += 1
    return stride


def useful_counts(worths: Sequence[float], low: int) -> list[int]:
    """Of the counts `low`, `low` + 1, … with these worths, the first and all that do clearly more than those before."""
    counts, best = [low], worths[0] if worths else 0.0
    for more, worth in enumerate(worths[1:], start=1):
        if worth >= 1.05 * best:
            counts.append(low + more)
            best = worth
    return counts
