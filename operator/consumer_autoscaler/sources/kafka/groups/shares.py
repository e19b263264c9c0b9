"""Share groups (KIP-932): their state and members, and their lag.

Members of a share group take single records of the same partitions, so the number of partitions limits nothing. The
group keeps, per partition, a start offset p: all records before it are finished, and of those from it on some are
finished, some in flight (given to a member, not acknowledged) and some not given out yet. What is left to do is e - p
less the finished ones; in-flight records are work that is not done. Kafka 4.2 tells that number itself (KIP-1226);
before, e - p is all that can be known, an upper bound: p is written down with the next acknowledgement only, so it
stays at the start of the last batch while the group rests (seen on 4.1 and 4.4).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from consumer_autoscaler.decision.values import OffsetReset, PartitionReading
from consumer_autoscaler.sources.kafka.groups.facts import GroupFacts, facts_of, group_state, note_assignment
from consumer_autoscaler.sources.kafka.lag.offsets_to_lag import Inconsistent, lag_messages
from consumer_autoscaler.sources.kafka.wire.codec import Cursor
from consumer_autoscaler.sources.kafka.wire.share import skip_share_member_head

UPPER_BOUND = (
    "the brokers do not tell which records of the share group are finished (Kafka 4.2 does): lag is at most this"
)


def parse_share(body: bytes, _version: int) -> GroupFacts:
    """Reads the body of a ShareGroupDescribe group; raises one of DECODE_ERRORS."""
    cursor = Cursor(body)
    state = group_state(cursor.string())
    cursor.skip(8)  # group epoch, assignment epoch
    assignor = cursor.string()
    topics: set[str] = set()
    highest: dict[str, int] = {}
    idle = 0
    members = cursor.count()
    for _ in range(members):
        skip_share_member_head(cursor)
        topics.update(sys.intern(cursor.string()) for _ in range(cursor.count()))
        idle += not note_assignment(cursor, highest)
        cursor.skip_tags()
    return facts_of(state, assignor, members, idle, topics, highest)


def share_readings(
    topic: str,
    *,
    positions: Mapping[int, int],
    lags: Mapping[int, int],
    starts: Sequence[int],
    ends: Sequence[int],
    reset: OffsetReset,
    previous: Sequence[PartitionReading],
) -> list[PartitionReading]:
    """One per partition; `positions` are the group's start offsets, `starts` and `ends` those of the log.

    -1 stands for a position, a lag or a start that is not known. Without a position, or with one beyond the end, the
    partition reads as one without a commit. Raises Inconsistent as `lag_messages` does.
    """
    readings = []
    for partition, end in enumerate(ends):
        position: int | None = positions.get(partition, -1)
        start: int | None = starts[partition]
        position = None if position == -1 else position
        start = None if start == -1 else start
        if position is None or position > end:
            lag = lag_messages(None, start, end, reset)
        else:
            if start is not None and start > end:
                raise Inconsistent(f"start offset {start} is beyond the end {end}")
            position = max(position, start or 0)  # what retention removed is not there to be read, finished or not
            left = end - position
            told = lags.get(partition, -1)
            lag = left if told < 0 else min(told, left)
        before = previous[partition] if partition < len(previous) else None
        reading = PartitionReading(topic, partition, position, start, end, lag)
        readings.append(before if before == reading and before is not None else reading)
    return readings


def is_upper_bound(readings: Sequence[PartitionReading], lags: Mapping[str, Mapping[int, int]]) -> bool:
    """Whether the lag of some partition is all from its position to its end, for want of a number from the broker."""
    return any(
        r.lag_messages and r.committed_offset is not None and lags.get(r.topic, {}).get(r.partition, -1) < 0
        for r in readings
    )
