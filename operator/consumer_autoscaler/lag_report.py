"""`lag`: a cluster's consumer groups at one moment, as a table for people and as JSON for programs.

The JSON is documented in docs/lag-command.md and stable: members are added, never renamed or given another meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consumer_autoscaler.decision.values import GroupKind, GroupReading, PartitionReading, Unavailable

if TYPE_CHECKING:  # aiokafka comes with it: not for the commands that do without
    from consumer_autoscaler.sources.kafka.inspection.inspect import GroupInspection

Json = dict[str, Any]

_COLUMNS = ("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "DELAY", "CLIENT")
_WIDE = ("TOPIC", "PARTITION", "START", "COMMITTED", "END", "LAG", "DELAY", "CLIENT", "HOST", "MEMBER", "INSTANCE")
_NUMBERS = frozenset({"PARTITION", "START", "COMMITTED", "END", "LAG", "DELAY"})


def as_json(inspections: Iterable[GroupInspection], *, at: float) -> Json:
    """One object; `null` is unknown or not there, never 0."""
    read_at = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"readAt": read_at, "groups": [_group(inspection) for inspection in inspections]}


def as_table(inspections: Sequence[GroupInspection], *, wide: bool = False) -> str:
    """A headline for each group, and a row for each partition."""
    blocks = ["\n".join([_headline(one), *_rows(one, wide=wide)]) for one in inspections]
    return "\n\n".join(blocks) if blocks else "The cluster has no consumer group that can be seen."


def _group(one: GroupInspection) -> Json:
    reading = one.reading
    if isinstance(reading, Unavailable):
        return {"group": one.group, "unavailable": {"reason": str(reading.reason), "message": reading.message}}
    return {
        "group": one.group,
        "unavailable": None,
        "kind": str(reading.kind),
        "state": str(reading.state),
        "assignor": reading.assignor,
        "members": reading.members,
        "idleMembers": reading.idle_members,
        "neverCommitted": reading.never_committed,
        "note": reading.note or None,
        "totals": {
            "lagMessages": reading.lag_messages if _known(reading) else None,
            "delaySeconds": _delay(one),
            "partitions": len(reading.partitions),
            "partitionsWithLag": sum(1 for p in reading.partitions if p.lag_messages),
            "partitionCeiling": reading.partition_ceiling or None,
        },
        "partitions": [_partition(one, p) for p in reading.partitions],
    }


def _partition(one: GroupInspection, p: PartitionReading) -> Json:
    owner = one.owners.get((p.topic, p.partition))
    return {
        "topic": p.topic,
        "partition": p.partition,
        "startOffset": p.start_offset,
        "committedOffset": p.committed_offset,
        "endOffset": p.end_offset,
        "lagMessages": p.lag_messages,
        "delaySeconds": _rounded(one.delays.get((p.topic, p.partition))),
        "owner": owner
        and {
            "clientId": owner.client_id,
            "host": owner.host,
            "memberId": owner.member_id,
            "instanceId": owner.instance_id or None,
        },
    }


def _known(reading: GroupReading) -> bool:
    return all(p.lag_messages is not None for p in reading.partitions)


def _delay(one: GroupInspection) -> float | None:
    """Of the oldest unprocessed record, None when a partition's is not known."""
    assert isinstance(one.reading, GroupReading)
    delays = [one.delays.get((p.topic, p.partition)) for p in one.reading.partitions]
    known = [delay for delay in delays if delay is not None]
    return _rounded(max(known, default=0.0)) if len(known) == len(delays) else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _headline(one: GroupInspection) -> str:
    reading = one.reading
    if isinstance(reading, Unavailable):
        return f"{one.group}: {reading.reason}: {reading.message}"
    lagging = sum(1 for p in reading.partitions if p.lag_messages)
    members = f"{reading.members} member{'' if reading.members == 1 else 's'}"
    if reading.idle_members:
        members += f" ({reading.idle_members} without a partition)"
    lag = f"lag {reading.lag_messages}" if _known(reading) else "lag unknown"
    parts = [
        f"{'' if reading.kind is GroupKind.UNKNOWN else f'{reading.kind} group, '}{reading.state}, {members}",
        f"{lag} in {lagging} of {len(reading.partitions)} partitions",
        f"oldest {_seconds(_delay(one))}",
    ]
    if reading.partition_ceiling:
        parts.append(f"work for at most {reading.partition_ceiling} consumers")
    if reading.note:
        parts.append(reading.note)
    return f"{one.group}: {', '.join(parts)}"


def _rows(one: GroupInspection, *, wide: bool) -> Iterator[str]:
    if isinstance(one.reading, Unavailable) or not one.reading.partitions:
        return
    columns = _WIDE if wide else _COLUMNS
    table = [list(columns)]
    for p in one.reading.partitions:
        owner = one.owners.get((p.topic, p.partition))
        cells = {
            "TOPIC": p.topic,
            "PARTITION": str(p.partition),
            "START": _number(p.start_offset),
            "COMMITTED": _number(p.committed_offset),
            "END": str(p.end_offset),
            "LAG": _number(p.lag_messages),
            "DELAY": _seconds(one.delays.get((p.topic, p.partition))),
            "CLIENT": owner.client_id if owner else "-",
            "HOST": owner.host if owner else "-",
            "MEMBER": owner.member_id if owner else "-",
            "INSTANCE": (owner.instance_id if owner else "") or "-",
        }
        table.append([cells[column] for column in columns])
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    for row in table:
        cells_of = zip(columns, row, widths, strict=True)
        yield "  ".join(text.rjust(n) if c in _NUMBERS else text.ljust(n) for c, text, n in cells_of).rstrip()


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f}s" if seconds < 100 else f"{seconds:.0f}s"
