"""Transactions that stay open: what they hold back is no lag of read_committed consumers, and no replica helps.

A last stable offset that stands still below the high watermark for more than a minute is such a transaction (KIP-98;
a producer that lives commits or aborts within `transaction.timeout.ms`, a minute by default).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

LOOK_AGAIN_SECONDS = 60.0
_NAMED = 3


class _Held(NamedTuple):
    stable: int
    messages: int
    since: float


class OpenTransactions:
    """What was seen at the last looks. `due` says when the high watermarks are to be read as well."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], _Held] = {}
        self._looked_at = -float("inf")

    def due(self, now: float) -> bool:
        return now - self._looked_at >= LOOK_AGAIN_SECONDS

    def look(self, stable: Mapping[str, Sequence[int]], high: Mapping[str, Sequence[int]], now: float) -> None:
        """Takes the last stable offsets and the high watermarks of the same partitions, -1 where one is not known."""
        self._looked_at = now
        before, self._held = self._held, {}
        for topic, ends in stable.items():
            for partition, (end, highest) in enumerate(zip(ends, high.get(topic, ()), strict=False)):
                if 0 <= end < highest:
                    key = (topic, partition)
                    old = before.get(key)
                    since = old.since if old is not None and old.stable == end else now
                    self._held[key] = _Held(end, highest - end, since)

    def note(self, topics: Iterable[str], now: float) -> str:
        """For a person; empty when nothing is held back for long."""
        wanted = set(topics)
        held = {
            key: each for key, each in self._held.items() if key[0] in wanted and now - each.since >= LOOK_AGAIN_SECONDS
        }
        if not held:
            return ""
        named = ", ".join(
            f"{topic}-{partition} ({each.messages} messages for {now - each.since:.0f} s)"
            for (topic, partition), each in sorted(held.items())[:_NAMED]
        )
        return f"an open transaction holds back {named}{' ...' if len(held) > _NAMED else ''}"
