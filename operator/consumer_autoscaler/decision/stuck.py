"""Partitions whose commit stands still before what waits: a poison message, a consumer that hangs.

More replicas do not help them, so neither their lag nor how long it waits is a reason to scale.
"""

from __future__ import annotations

from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.tracks import Track, commit_seconds, waited_seconds
from consumer_autoscaler.decision.values import GroupReading, Policy

STUCK_SECONDS = 300.0  # `max.poll.interval.ms`, within which a consumer may work on one batch
USUAL_GAPS = 3.0  # so many of the usual times between two commits are no standing still
OWN_GAPS = 1.5  # and so many of the longest that the partition itself had of late

Partition = tuple[str, int]


def standing_still(policy: Policy, group: GroupReading, history: History) -> tuple[Track, ...]:
    """Tracks with lag, without a commit for STUCK_SECONDS and longer than batches are known to take; longest first."""
    if not group.members:
        return ()
    usual = commit_seconds(history.tracks, policy.poll_interval_seconds) or 0.0
    found = []
    for track in history.tracks:
        patience = max(STUCK_SECONDS, USUAL_GAPS * usual, OWN_GAPS * max(track.commit_gaps, default=0.0))
        if track.still_since is not None and group.at - track.still_since > patience:
            found.append(track)
    return tuple(sorted(found, key=lambda track: track.still_since or 0.0))


def stuck_partitions(policy: Policy, group: GroupReading, history: History) -> frozenset[Partition]:
    """Those that stand still while others go on: no reason to scale. Empty when nothing moves at all."""
    still = frozenset((track.topic, track.partition) for track in standing_still(policy, group, history))
    moving = any(
        (track.topic, track.partition) not in still and (track.finished_per_second or 0.0) > 0
        for track in history.tracks
    )
    return still if moving else frozenset()


def delay_without(group: GroupReading, history: History, without: frozenset[Partition]) -> float | None:
    """How long the oldest unprocessed message of the other partitions has waited, in seconds; None while unknown."""
    if history.delay_seconds is None or not without:
        return history.delay_seconds
    tracks = {(track.topic, track.partition): track for track in history.tracks}
    waits = [
        waited_seconds(tracks[place], reading, group.at)
        for reading in group.partitions
        if (place := (reading.topic, reading.partition)) not in without and place in tracks
    ]
    return min(history.delay_seconds, max(waits, default=0.0))


def lag_without(group: GroupReading, without: frozenset[Partition]) -> int:
    """The lag of the other partitions, in messages."""
    return sum(p.lag_messages or 0 for p in group.partitions if (p.topic, p.partition) not in without)
