"""What a group's readings tell one after the other, and no single one does.

Markers at the ends of partitions, partitions that nobody reads yet, messages that retention removed or is about to,
a group that is empty or rebalances for long, one whose members take their partitions by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from consumer_autoscaler.decision.reasons import GroupState, SourceReason
from consumer_autoscaler.decision.values import PartitionReading, Unavailable
from consumer_autoscaler.sources.kafka.groups.facts import GroupFacts
from consumer_autoscaler.sources.kafka.groups.manual import ManualAssignment
from consumer_autoscaler.sources.kafka.lag.growth import Growth
from consumer_autoscaler.sources.kafka.lag.markers import Markers
from consumer_autoscaler.sources.kafka.lag.retention import Retention, lost_note, near_note
from consumer_autoscaler.sources.kafka.topology import Topic

EMPTY_LONG_SECONDS = 5 * 86_400.0
"""`offsets.retention.minutes` is seven days by default; an empty group's commits end then (KIP-211)."""

REBALANCING_LONG_SECONDS = 300.0
_NAMED = 3

Readings = Mapping[str, Sequence[PartitionReading]]


@dataclass(frozen=True, slots=True)
class Told:
    """The partitions as they count, and what else there is to say; the first warning is the gravest."""

    partitions: tuple[PartitionReading, ...]
    pending_messages: int
    unscalable: Unavailable | None
    warnings: tuple[SourceReason, ...]
    notes: tuple[str, ...]


class Successive:
    """Follows one group, for one resource. `near_topics`: those whose starts are worth a look with every reading."""

    __slots__ = ("_empty_since", "_growth", "_manual", "_markers", "_rebalancing_since", "_retention", "near_topics")

    def __init__(self) -> None:
        self.near_topics: frozenset[str] = frozenset()
        self._markers, self._growth = Markers(), Growth()
        self._retention, self._manual = Retention(), ManualAssignment()
        self._empty_since: float | None = None
        self._rebalancing_since: float | None = None

    def look(
        self, group: str, facts: GroupFacts, topics: Sequence[Topic], before: Readings, readings: Readings, now: float
    ) -> Told:
        """`before` and `readings`: the raw readings by topic, of the last time and of this one; `now`: loop time."""
        partitions = tuple(p for rows in readings.values() for p in rows)
        warnings: list[SourceReason] = []
        notes: list[str] = []

        def say(note: str, warning: SourceReason | None = None) -> None:
            if note:
                notes.append(note)
                if warning is not None:
                    warnings.append(warning)

        near = self._retention.look(before, readings, now)
        self.near_topics = frozenset(p.topic for p in near)
        say(lost_note(partitions), SourceReason.MESSAGES_LOST)
        say(near_note(near), SourceReason.RETENTION_NEAR)
        say(self._empty(facts, partitions, now), SourceReason.COMMITS_EXPIRE)
        say(self._rebalancing(facts, now), SourceReason.REBALANCING_LONG)

        self._growth.look(topics, now)
        pending = self._growth.pending(partitions, dict(facts.partitions)) if facts.members else {}
        say(_named("nobody reads these new partitions yet", [f"{t}-{p} ({n})" for (t, p), n in pending.items()]))
        live = facts.state is GroupState.STABLE and facts.members > 0
        markers = self._markers.look(partitions, live=live, now=now)
        say(_named("the last offset is a transaction's marker", [f"{t}-{p}" for t, p in sorted(markers)]))
        if markers or pending:
            partitions = tuple(
                replace(p, lag_messages=0)
                if (p.topic, p.partition) in markers or (p.topic, p.partition) in pending
                else p
                for p in partitions
            )
        unscalable = self._unscalable(group, facts, partitions, now)
        say(unscalable.message if unscalable is not None else "")
        return Told(partitions, sum(pending.values()), unscalable, tuple(warnings), tuple(notes))

    def _empty(self, facts: GroupFacts, partitions: Sequence[PartitionReading], now: float) -> str:
        if facts.state is not GroupState.EMPTY:
            self._empty_since = None
            return ""
        self._empty_since = now if self._empty_since is None else self._empty_since
        days = (now - self._empty_since) / 86_400
        if now - self._empty_since < EMPTY_LONG_SECONDS or all(p.committed_offset is None for p in partitions):
            return ""
        return (
            f"the group has had no members for {days:.0f} days: the brokers drop its commits after"
            " offsets.retention.minutes (seven days by default)"
        )

    def _rebalancing(self, facts: GroupFacts, now: float) -> str:
        if not facts.state.rebalancing:
            self._rebalancing_since = None
            return ""
        self._rebalancing_since = now if self._rebalancing_since is None else self._rebalancing_since
        minutes = (now - self._rebalancing_since) / 60
        if now - self._rebalancing_since < REBALANCING_LONG_SECONDS:
            return ""
        return f"the group has been rebalancing for {minutes:.0f} minutes ({facts.state})"

    def _unscalable(
        self, group: str, facts: GroupFacts, partitions: Sequence[PartitionReading], now: float
    ) -> Unavailable | None:
        if self._manual.look(partitions, members=facts.state is not GroupState.EMPTY, now=now):
            message = (
                f"group {group} commits and has no members: its consumers take their partitions by themselves,"
                " so more replicas would not share them"
            )
            return Unavailable(SourceReason.MANUAL_ASSIGNMENT, message)
        if facts.connect:
            message = (
                f"group {group} is a Kafka Connect sink's: its tasks are limited by tasks.max and shared by all"
                " workers, so replicas are not decided from its lag"
            )
            return Unavailable(SourceReason.KAFKA_CONNECT, message)
        return None


def _named(words: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"{words}: {', '.join(names[:_NAMED])}{' ...' if len(names) > _NAMED else ''}"
