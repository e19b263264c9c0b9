"""How long the oldest unprocessed message has waited, from end offsets alone.

Each partition keeps a few (time, end offset) points. The message at the committed offset arrived when the end offset
passed it, found by linear interpolation between the two points around it. Exact up to the spacing of the polls, needs
no rate and no fetch (the idea of kafka-lag-exporter's lookup table).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from consumer_autoscaler.decision.values import PartitionReading

MAX_POINTS = 48
REMEMBERED_GAPS = 3
SHARE_SECONDS = 300.0  # how slowly a partition's share of the load is forgotten
RATE_SECONDS = 40.0  # the rates of one partition forget at this pace: long enough for a few commits


@dataclass(frozen=True, slots=True)
class Track:
    """What is remembered of one partition: its last offsets and the points that the delay needs."""

    topic: str
    partition: int
    committed_offset: int | None
    end_offset: int
    times: tuple[float, ...]
    ends: tuple[int, ...]
    still_since: float | None = None  # since when the commit has not moved although something waits
    commit_gaps: tuple[float, ...] = ()  # seconds that it stood so before its last few moves
    at: float | None = None  # of the last reading
    arrival_per_second: float | None = None  # smoothed; None before two readings
    finished_per_second: float | None = None
    arrived_of_late: float = 0.0  # records, forgotten slowly: the partition's share of the load


def follow(track: Track | None, reading: PartitionReading, at: float) -> Track:
    """The track after one more reading. Points that no unprocessed message can need any more are dropped."""
    end = reading.end_offset
    if track is None or end < track.end_offset:  # new, or the topic was made anew: its past means nothing
        return Track(reading.topic, reading.partition, reading.finished_offset, end, (at,), (end,), at, at=at)
    times, ends = track.times, track.ends
    if len(ends) > 1 and ends[-1] == ends[-2] == end:
        # Nothing arrived once more: the next message arrives after now, so the later time is the better last point.
        # The first time at which this end was seen stays: what waits below it arrived before that.
        times = (*times[:-1], at)
    else:
        times, ends = (*times, at), (*ends, end)
    position = position_of(reading)
    first = bisect_right(ends, position) - 1  # the last point that the first unprocessed message came after
    if first > 0:
        times, ends = times[first:], ends[first:]
    if len(ends) > MAX_POINTS:  # thin out the older half, keep its first point
        half = MAX_POINTS // 2
        times = (*times[:half:2], *times[half:])
        ends = (*ends[:half:2], *ends[half:])
    still_since, gaps = track.still_since, track.commit_gaps
    if reading.finished_offset != track.committed_offset:
        gaps = gaps if still_since is None else (*gaps, at - still_since)[-REMEMBERED_GAPS:]
        still_since = at
    elif not reading.lag_messages or still_since is None:
        still_since = at
    arriving, finishing = _rates(track, reading, at)
    return Track(
        reading.topic, reading.partition, reading.finished_offset, end, times, ends, still_since, gaps,
        at, arriving, finishing, _of_late(track, end, at),
    )  # fmt: skip


def _of_late(track: Track, end: int, at: float) -> float:
    elapsed = 0.0 if track.at is None else at - track.at
    return track.arrived_of_late * math.exp(-max(0.0, elapsed) / SHARE_SECONDS) + end - track.end_offset


def _rates(track: Track, reading: PartitionReading, at: float) -> tuple[float | None, float | None]:
    """Records per second that arrive and that are finished, as they were and as they are since the last reading."""
    elapsed = 0.0 if track.at is None else at - track.at
    done, before = reading.finished_offset, track.committed_offset
    if elapsed <= 0 or done is None or before is None:
        return track.arrival_per_second, track.finished_per_second
    share = 1 - math.exp(-elapsed / RATE_SECONDS)
    arrived = (reading.end_offset - track.end_offset) / elapsed
    finished = max(0, done - before) / elapsed
    old, old_finished = track.arrival_per_second, track.finished_per_second
    return (
        arrived if old is None else old + share * (arrived - old),
        finished if old_finished is None else old_finished + share * (finished - old_finished),
    )


def commit_seconds(tracks: Iterable[Track], poll_seconds: float) -> float | None:
    """How long commits stand still between two moves: the shortest of a partition's last few, in the middle partition.

    None where they move about as often as they are looked at.
    """
    gaps = sorted(min(track.commit_gaps) for track in tracks if track.commit_gaps)
    middle = gaps[len(gaps) // 2] if gaps else 0.0
    return middle if middle > 1.5 * poll_seconds else None


def position_of(reading: PartitionReading) -> int:
    """The offset of the first unprocessed message, as far as the lag counts it.

    In a share group, as if it finished messages in their order: which of those from its committed offset on are
    finished is not told, only how many.
    """
    if reading.lag_messages is None:
        return reading.end_offset
    return reading.end_offset - reading.lag_messages


def waited_seconds(track: Track, reading: PartitionReading, now: float) -> float:
    """How long the oldest unprocessed message of the partition has waited; 0.0 when there is none.

    A message that is older than the oldest point is placed by the slope of the points, and is at least as old as
    they are: after a restart the delay is a lower bound until it has been drained once.
    """
    position = position_of(reading)
    if position >= reading.end_offset:
        return 0.0
    times, ends = track.times, track.ends
    i = bisect_right(ends, position) - 1
    if i >= 0:
        if i + 1 == len(ends):
            return 0.0  # arrived after the last point: younger than this reading
        share = (position - ends[i]) / (ends[i + 1] - ends[i])
        return max(0.0, now - (times[i] + share * (times[i + 1] - times[i])))
    span, grown = times[-1] - times[0], ends[-1] - ends[0]
    older = (ends[0] - position) * span / grown if grown > 0 else 0.0
    return max(0.0, now - times[0] + older)
