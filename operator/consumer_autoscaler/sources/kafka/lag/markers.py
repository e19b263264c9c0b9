"""The offset that a transaction's marker takes at the end of a partition, and that is no record to be processed.

Each commit or abort writes such a marker (KIP-98), so a client that commits "last record + 1" rests one short of the
end for ever, as do those that commit the last record itself. From outside, with the right to describe only, a marker
cannot be told from a record. What can be seen is that the group *skips* it. A partition ends in a marker when

- the group rests one short of its end: committed = end - 1, and neither has moved in two more readings, with live
  members, and
- it has rested so before, at an earlier end of a partition of the topic, and has since then neither read up to an end
  nor committed the very offset after such a marker, both of which would have shown that it was a record.

A single record that waits is therefore never hidden where the group was not seen to skip two ends before it. What is
hidden is so for a day at most while the group has no members; then it counts again, one consumer may look at it, and
it must lie still for five minutes before a live group to be hidden anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consumer_autoscaler.decision.values import PartitionReading

REST_READINGS = 2
UNREAD_SECONDS = 86_400.0
DOUBTED_SECONDS = 300.0  # `max.poll.interval.ms`: a member that has not polled for so long is out of the group

Key = tuple[str, int]  # topic, partition


@dataclass(slots=True)
class _Short:
    """A partition that stands one short of `end`."""

    end: int
    since: float
    readings: int = 0  # with live members, in which nothing had moved
    rested_at: int = -1  # the last end at which it rested
    proven: bool = False  # it rested at two ends
    hidden_since: float | None = None
    doubted: bool = False


class Markers:
    """Follows one group. `look` gives the partitions whose last offset is such a marker."""

    __slots__ = ("_short", "_topics")

    def __init__(self) -> None:
        self._short: dict[Key, _Short] = {}
        self._topics: set[str] = set()  # with a partition that was seen to end in markers

    def look(self, partitions: Iterable[PartitionReading], *, live: bool, now: float) -> frozenset[Key]:
        """`live`: the group is Stable and has members."""
        known = self._short
        hidden = []
        for p in partitions:
            if p.lag_messages != 1 and (not known or (p.topic, p.partition) not in known):
                continue
            key = (p.topic, p.partition)
            if self._stands_short(key, p, live=live, now=now):
                hidden.append(key)
        return frozenset(hidden)

    def _stands_short(self, key: Key, p: PartitionReading, *, live: bool, now: float) -> bool:
        committed, end = p.committed_offset, p.end_offset
        short = self._short.get(key)
        if short is not None and end < short.end:  # another topic of the same name
            self._topics.discard(p.topic)
            del self._short[key]
            short = None
        if committed is None or committed > end:
            self._short.pop(key, None)
            return False
        if short is not None and committed in (end, short.rested_at):  # so it was a record
            del self._short[key]
            self._topics.discard(p.topic)
            short = None
        if p.lag_messages != 1 or committed != end - 1:
            return False
        if short is None:
            self._short[key] = _Short(end, now)
            return False
        if short.end != end:
            proven = short.proven or short.rested_at >= 0
            self._short[key] = _Short(end, now, rested_at=short.rested_at, proven=proven)
            return False
        return self._rests(key, short, live=live, now=now)

    def _rests(self, key: Key, short: _Short, *, live: bool, now: float) -> bool:
        if not live:
            if short.hidden_since is not None and now - short.hidden_since > UNREAD_SECONDS:
                short.hidden_since, short.doubted = None, True
            short.since, short.readings = now, 0
            return short.hidden_since is not None
        short.readings += 1
        if short.readings < REST_READINGS or (short.doubted and now - short.since < DOUBTED_SECONDS):
            return short.hidden_since is not None
        short.rested_at = short.end
        if short.proven:
            self._topics.add(key[0])
        if short.proven or key[0] in self._topics:
            short.hidden_since = now
            short.doubted = False
        return short.hidden_since is not None
