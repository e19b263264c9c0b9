"""Consumers that take their partitions by themselves (`assign`) and still commit to a group.

Their group has commits that advance and never a member. Replicas do not share the partitions of such a group, so
nothing is decided from its lag. A reset of offsets by hand advances commits too, but not time and again.
"""

from __future__ import annotations

from collections.abc import Iterable

from consumer_autoscaler.decision.values import PartitionReading

ADVANCES = 3
FORGET_SECONDS = 3600.0


class ManualAssignment:
    """Follows one group's commits while it has no members."""

    __slots__ = ("_advanced_at", "_advances", "_total")

    def __init__(self) -> None:
        self._total: int | None = None
        self._advances = 0
        self._advanced_at = 0.0

    def look(self, partitions: Iterable[PartitionReading], *, members: bool, now: float) -> bool:
        """Whether the commits of a group without members have advanced in ADVANCES readings of the last hour."""
        if members:
            self._total, self._advances = None, 0
            return False
        total = sum([p.committed_offset or 0 for p in partitions])
        if now - self._advanced_at > FORGET_SECONDS:
            self._advances = 0
        if self._total is not None and total > self._total:
            self._advances += 1
            self._advanced_at = now
        self._total = total
        return self._advances >= ADVANCES
