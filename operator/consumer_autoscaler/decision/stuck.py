"""Partitions whose commit stands still before what waits: a poison message, a consumer that hangs.

More replicas do not help them, so neither their lag nor how long it waits is a reason to scale.
"""

from __future__ import annotations

from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.tracks import Track, commit_seconds, waited_seconds
from consumer_autoscaler.decision.values import GroupReading, Policy

SUSPECT_SECONDS = 60.0  # from here on no replicas are added for it; that a consumer works so long is not yet odd
STUCK_SECONDS = 300.0  # `max.poll.interval.ms`, within which a consumer may work on one batch
USUAL_GAPS = 3.0  # so many of the usual times between two commits are no standing still
OWN_GAPS = 1.5  # and so many of the longest that the partition itself had of late
SETTLED_SECONDS = 30.0  # so long, and two polls, a new owner has to show that it is not the partition
OTHERS_SECONDS, OTHERS_SHARE = 100.0, 0.9  # within which so many of the others with lag must move, time and again

Partition = tuple[str, int]


def standing_still(
    policy: Policy, group: GroupReading, history: History, seconds: float = STUCK_SECONDS
) -> tuple[Track, ...]:
    """Tracks with lag, without a commit for so long and longer than batches are known to take; longest first.

    None while the others with lag hardly move either: a consumer that is far behind may finish all that it fetched of
    one partition before it turns to the next. All of them when nothing moves at all.
    """
    if not group.members:
        return ()
    usual = commit_seconds(history.tracks, policy.poll_interval_seconds) or 0.0
    found = []
    need = max(SETTLED_SECONDS, 2.0 * policy.poll_interval_seconds)
    rested = 0.0 if history.settled_since is None else group.at - history.settled_since
    for track in history.tracks:
        patience = max(seconds, USUAL_GAPS * usual, OWN_GAPS * max(track.commit_gaps, default=0.0))
        since = track.still_since
        if since is None or group.at - since <= patience:
            continue
        if rested >= need or history.settled_since is None or history.settled_since - since > patience:
            found.append(track)
    standing = {(track.topic, track.partition) for track in found}
    lagging = {(reading.topic, reading.partition) for reading in group.partitions if reading.lag_messages}
    others = [t for t in history.tracks if (t.topic, t.partition) in lagging - standing]
    within = max(OTHERS_SECONDS, OWN_GAPS * usual)
    moving = sum(1 for track in others if _moves(track, group.at, within))
    if others and (moving < OTHERS_SHARE * len(others) or len(found) > len(group.partitions) / 2):
        return ()
    return tuple(sorted(found, key=lambda track: track.still_since or 0.0))


def _moves(track: Track, now: float, within: float) -> bool:
    """Whether its commit moves, and has not waited for its turn before the last move."""
    since = track.still_since
    return since is None or (now - since <= within and (not track.commit_gaps or track.commit_gaps[-1] <= within))


def stuck_partitions(
    policy: Policy, group: GroupReading, history: History, seconds: float = STUCK_SECONDS
) -> frozenset[Partition]:
    """Those that stand still for so long while others go on: no reason to scale. Empty when nothing moves at all."""
    still = frozenset((track.topic, track.partition) for track in standing_still(policy, group, history, seconds))
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


def is_late(policy: Policy, delay_seconds: float | None) -> bool:
    """Whether a delay is half of the promise or more, of two minutes where none is given; unknown is late."""
    return delay_seconds is None or delay_seconds > (policy.max_delay_seconds or 120) / 2


def lag_without(group: GroupReading, without: frozenset[Partition]) -> int:
    """The lag of the other partitions, in messages."""
    return sum(p.lag_messages or 0 for p in group.partitions if (p.topic, p.partition) not in without)
