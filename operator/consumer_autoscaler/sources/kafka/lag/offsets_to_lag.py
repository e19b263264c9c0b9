"""Pure functions from offsets to lag.

With c the committed offset, s the start and e the end of a partition (exclusive): lag = e - c. What no
commit means is the declared offset reset's to say: Earliest e - s (not e: what retention removed is not
there to be read), Latest 0, None not known. The same holds when c points before s (retention overtook the
group) or beyond e (the topic was made anew, or lost its end): the consumer's fetch is out of range there
and it resets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumer_autoscaler.decision.values import OffsetReset, PartitionReading


class Inconsistent(Exception):
    """The offsets cannot all be of the same log: to be read again."""


def lag_messages(committed: int | None, start: int | None, end: int, reset: OffsetReset) -> int | None:
    """Never negative; None when it is not known, which is under the reset None only.

    Raises Inconsistent when the start is beyond the end, or is needed and missing.
    """
    if start is not None and start > end:
        raise Inconsistent(f"start offset {start} is beyond the end {end}")
    if committed is not None and committed <= end and (start is None or committed >= start):
        return end - committed
    if reset is OffsetReset.LATEST:
        return 0
    if reset is OffsetReset.EARLIEST:
        if start is None:
            raise Inconsistent("the start offset is not known")
        return end - start
    return None


def partition_readings(
    topic: str,
    *,
    committed: Mapping[int, int],
    starts: Sequence[int],
    ends: Sequence[int],
    reset: OffsetReset,
    previous: Sequence[PartitionReading],
) -> list[PartitionReading]:
    """One per partition of the topic. -1 stands for no commit and for a start that is not known.

    A partition that reads as it did in `previous` (the same topic under the same reset) keeps its object,
    which saves most of the work for idle topics.
    """
    readings = []
    known = len(previous)
    for partition, end in enumerate(ends):
        offset: int | None = committed.get(partition, -1)
        start: int | None = starts[partition]
        if offset == -1:
            offset = None
        if start == -1:
            start = None
        before = previous[partition] if partition < known else None
        if (
            before is not None
            and before.end_offset == end
            and before.committed_offset == offset
            and before.start_offset == start
        ):
            readings.append(before)
        else:
            lag = lag_messages(offset, start, end, reset)
            readings.append(PartitionReading(topic, partition, offset, start, end, lag))
    return readings


def beyond_end(readings: Sequence[PartitionReading]) -> frozenset[tuple[str, int]]:
    """The partitions whose commit is beyond their end."""
    return frozenset(
        (r.topic, r.partition) for r in readings if r.committed_offset is not None and r.committed_offset > r.end_offset
    )
