"""Partitions that were added to a topic, until somebody in the group has been given them.

Consumers see new partitions with their next metadata (`metadata.max.age.ms`, five minutes by default). Until then what
is produced there waits, whatever the offset reset says, and no replica would change that except by the rebalance that
it brings. So for five minutes it is pending: shown, and kept out of the lag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from consumer_autoscaler.decision.values import PartitionReading
from consumer_autoscaler.sources.kafka.topology import Topic

NOTICED_AFTER_SECONDS = 300.0


class Growth:
    """Follows the topics of one group."""

    __slots__ = ("_counts", "_grown")

    def __init__(self) -> None:
        self._counts: dict[str, tuple[bytes, int]] = {}  # topic id, partitions
        self._grown: dict[str, tuple[int, float]] = {}  # partitions before, and when more were seen

    def look(self, topics: Iterable[Topic], now: float) -> None:
        """Takes the topics as the metadata has them now."""
        for topic in topics:
            seen = (topic.topic_id, len(topic.leaders))
            before = self._counts.get(topic.name)
            if before == seen:
                continue
            self._counts[topic.name] = seen
            if before is not None and before[0] == seen[0] and before[1] < seen[1]:
                old = self._grown.get(topic.name)
                self._grown[topic.name] = (before[1] if old is None else old[0], now)
            else:  # new to us, or another topic of the same name
                self._grown.pop(topic.name, None)
        for name in [name for name, (_, at) in self._grown.items() if now - at > NOTICED_AFTER_SECONDS]:
            del self._grown[name]

    def pending(self, partitions: Iterable[PartitionReading], given: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """The messages of each new partition that nobody reads yet.

        `given`: the highest partition plus one that members have, per topic.
        """
        if not self._grown:
            return {}
        found = {}
        for p in partitions:
            grown = self._grown.get(p.topic)
            if grown is None or p.partition < max(grown[0], given.get(p.topic, 0)) or p.committed_offset is not None:
                continue
            if waiting := p.end_offset - (p.start_offset or 0):
                found[p.topic, p.partition] = waiting
        return found
