"""What retention does to a group: messages that it lost, and those that it is about to lose.

The start of a partition moves up in steps, a segment at a time. When the group lags and the room between the start and
its commit is less than the start has moved in five minutes, as much again overtakes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from consumer_autoscaler.decision.values import PartitionReading

WINDOW_SECONDS = 290.0  # a little less than the time between two looks at starts that are far
_NAMED = 3


@dataclass(slots=True)
class _Moves:
    """How far a start has come in a window, and in the one before."""

    base: int
    since: float
    before: int = 0


class Retention:
    """Follows the starts of one group's partitions."""

    __slots__ = ("_moves",)

    def __init__(self) -> None:
        self._moves: dict[tuple[str, int], _Moves] = {}  # of starts that move

    def look(
        self,
        before: Mapping[str, Sequence[PartitionReading]],
        readings: Mapping[str, Sequence[PartitionReading]],
        now: float,
    ) -> list[PartitionReading]:
        """The partitions in which retention is about to overtake the group."""
        for name, rows in readings.items():
            for old, new in zip(before.get(name, ()), rows, strict=False):
                if new is not old and old.start_offset is not None and new.start_offset is not None:
                    if new.start_offset > old.start_offset:
                        self._moved((name, new.partition), old.start_offset, now)
                    elif new.start_offset < old.start_offset:  # another topic of the same name
                        self._moves.pop((name, new.partition), None)
        if not self._moves:
            return []
        return [p for rows in readings.values() for p in rows if p.lag_messages and self._near(p, now)]

    def _moved(self, key: tuple[str, int], old_start: int, now: float) -> None:
        moves = self._moves.get(key)
        if moves is None:
            self._moves[key] = _Moves(old_start, now)
        elif now - moves.since >= WINDOW_SECONDS:
            long_ago = now - moves.since >= 2 * WINDOW_SECONDS
            moves.before = 0 if long_ago else old_start - moves.base
            moves.base, moves.since = old_start, now

    def _near(self, p: PartitionReading, now: float) -> bool:
        moves = self._moves.get((p.topic, p.partition))
        done = p.finished_offset
        if moves is None or done is None or p.start_offset is None:
            return False
        if now - moves.since >= 2 * WINDOW_SECONDS:
            return False
        return 0 <= done - p.start_offset < max(moves.before, p.start_offset - moves.base)


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
