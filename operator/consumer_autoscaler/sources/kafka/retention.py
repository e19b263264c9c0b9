"""What retention does to a group: messages that it lost, and those that it is about to lose.

The start of a partition moves up in steps, a segment at a time. When the group lags and the room between the start and
its commit is less than the last step, the next step of that size overtakes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from consumer_autoscaler.decision.values import PartitionReading

_NAMED = 3


class Retention:
    """Follows the starts of one group's partitions."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, int], int] = {}  # the last one of each start that moves

    def look(
        self, before: Mapping[str, Sequence[PartitionReading]], now: Mapping[str, Sequence[PartitionReading]]
    ) -> list[PartitionReading]:
        """The partitions in which the next step of the start overtakes the group."""
        for name, readings in now.items():
            for old, new in zip(before.get(name, ()), readings, strict=False):
                if new is not old and old.start_offset is not None and new.start_offset is not None:
                    step = new.start_offset - old.start_offset
                    if step > 0:
                        self._steps[name, new.partition] = step
                    elif step < 0:  # another topic of the same name
                        self._steps.pop((name, new.partition), None)
        if not self._steps:
            return []
        return [p for rows in now.values() for p in rows if self._near(p)]

    def _near(self, p: PartitionReading) -> bool:
        if not p.lag_messages or p.committed_offset is None or p.start_offset is None:
            return False
        return 0 <= p.committed_offset - p.start_offset < self._steps.get((p.topic, p.partition), 0)


def lost_note(partitions: Iterable[PartitionReading]) -> str:
    """For a person; empty when nothing was lost."""
    lost = [p for p in partitions if p.lost_messages]
    if not lost:
        return ""
    where = ", ".join(f"{p.topic}-{p.partition} ({p.lost_messages})" for p in lost[:_NAMED])
    return f"retention removed messages that the group had not read: {where}{' ...' if len(lost) > _NAMED else ''}"


def near_note(near: Sequence[PartitionReading]) -> str:
    if not near:
        return ""
    where = ", ".join(f"{p.topic}-{p.partition}" for p in near[:_NAMED])
    return f"retention is about to overtake the group: {where}{' ...' if len(near) > _NAMED else ''}"
