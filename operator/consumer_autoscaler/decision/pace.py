"""What a processing time teaches: what one replica could do, and how what was measured before has changed since.

What a saturated group was seen to do counts for more than a time that leaves out fetching and committing. But a
saturated stretch is rare, and a time is told with every poll: between two stretches the measured capacity moves as
the time does. A slower pace is believed within a few polls, a faster one only after many: it may be chance, and to
believe in too much is what breaks promises.
"""

from __future__ import annotations

from dataclasses import replace

from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.values import Policy, ProcessingTime, Unavailable

PROCESSING_TIME_INTERVALS = 5  # how long a processing time stands while its source fails
SLOWER_WEIGHT = 0.5  # of a reading, for every poll
FASTER_WEIGHT = 0.05


def follow_processing_time(
    policy: Policy, history: History, processing: ProcessingTime | Unavailable | None, now: float
) -> History:
    """The history after what was told of the processing time. None, nothing to measure, contradicts nothing."""
    if isinstance(processing, Unavailable):
        aged = history.busy_at is not None and now - history.busy_at > _stands_for_seconds(policy)
        return replace(history, busy_per_replica=None, busy_at=None) if aged else history
    if processing is None or processing.seconds_per_record <= 0:
        return history
    before, seconds = history.busy_per_replica, processing.seconds_per_record
    if before is None:
        return replace(history, busy_per_replica=policy.consumers_per_pod / seconds, busy_at=now)
    old_seconds = policy.consumers_per_pod / before
    weight = SLOWER_WEIGHT if seconds > old_seconds else FASTER_WEIGHT
    busy = policy.consumers_per_pod / (old_seconds + weight * (seconds - old_seconds))
    return _at_another_pace(replace(history, busy_per_replica=busy, busy_at=now), busy / before)


def _stands_for_seconds(policy: Policy) -> float:
    return PROCESSING_TIME_INTERVALS * policy.poll_interval_seconds


def _at_another_pace(history: History, factor: float) -> History:
    """All that was seen of one replica, as it would be seen now. Factors multiply to what has changed in all."""
    stretch = history.saturation
    if stretch is not None and stretch.capacity_before is not None:
        stretch = replace(stretch, capacity_before=stretch.capacity_before * factor)
    measured = history.capacity_per_replica
    return replace(
        history,
        capacity_per_replica=None if measured is None else measured * factor,
        seen_per_replica=history.seen_per_replica * factor,
        saturation=stretch,
    )
