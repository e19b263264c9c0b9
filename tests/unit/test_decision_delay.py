"""How long the oldest message has waited, from offsets alone, when the topic does not flow as one would like."""

from __future__ import annotations

import pytest

from consumer_autoscaler.decision.tracks import MAX_POINTS, Track, follow, waited_seconds
from consumer_autoscaler.decision.values import PartitionReading


def seen(end: int, committed: int) -> PartitionReading:
    return PartitionReading("t", 0, committed, 0, end, end - committed)


def followed(readings: list[tuple[float, int, int]]) -> tuple[Track, float]:
    """The track after (time, end, committed) readings, and the wait at the last of them."""
    track: Track | None = None
    for at, end, committed in readings:
        track = follow(track, seen(end, committed), at)
    assert track is not None
    at, end, committed = readings[-1]
    return track, waited_seconds(track, seen(end, committed), at)


def test_messages_age_while_nothing_more_arrives() -> None:
    """Half of what came within 15 s is done, then nobody works: a minute later the next is 67 s old, not 37."""
    readings = [(0.0, 0, 0), *((15.0 * k, 100, 50) for k in range(1, 6))]
    _, waited = followed(readings)
    assert waited == pytest.approx(67.5)


def test_a_backlog_of_unknown_age_is_at_least_as_old_as_the_watch() -> None:
    """The operator begins to look at a backlog that nobody adds to: its age counts from then on."""
    _, waited = followed([(5.0 * k, 1000, 400) for k in range(13)])
    assert waited == pytest.approx(60)


def test_a_message_that_arrives_after_a_quiet_time_is_young() -> None:
    """All is done for ten minutes, then one message comes: it cannot be older than the last reading."""
    readings = [*((15.0 * k, 100, 100) for k in range(41)), (615.0, 101, 100)]
    _, waited = followed(readings)
    assert waited <= 15


def test_drained_is_no_wait() -> None:
    """Nothing unprocessed, nothing waits."""
    _, waited = followed([(0.0, 0, 0), (5.0, 100, 20), (10.0, 100, 100)])
    assert waited == 0.0


def test_memory_is_bounded_and_the_oldest_point_stays() -> None:
    """A stuck partition for an hour: few points, and the age of its oldest message is still right."""
    track, waited = followed([(5.0 * k, 10 * k, 1) for k in range(720)])
    assert len(track.ends) <= MAX_POINTS
    assert waited == pytest.approx(719 * 5, abs=5)
