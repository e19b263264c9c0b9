"""What one replica can do, in records per second, in order of trust.

1. What a saturated group was seen to consume, for long enough that commits in lumps average out. Seen more briefly,
   it is cut by what one commit too many could have brought.
2. What the processing time allows, corrected by nothing: it ignores fetching and committing, so it is an upper bound.
3. What the user expects (`capacity.expectedRecordsPerMinute`).
4. What was seen consumed without saturation: a lower bound, used while nothing else is known.

Stretches are pooled by their length, so that the chance of each averages out. What was believed is given up at once
where a stretch contradicts it, by more than one commit can explain; and a value below what was seen to be consumed is
raised to that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from consumer_autoscaler.decision.history import History, Saturation
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.tracks import commit_seconds
from consumer_autoscaler.decision.values import GroupReading, Policy, Scale

SATURATED_SECONDS = 10.0  # a stretch must last this long, and from one poll to the next, before it says anything
COMMIT_SECONDS = 5.0  # a commit may bring the work of this long at once (auto-commit's default interval)
RESUMED_SECONDS = 30.0  # of evidence are what another process has measured; from here on it counts as measured
SATURATED_BACKLOG_SECONDS = 10.0  # a consumer with so much work waiting is never idle
BEGUN_SHARE = 0.3  # of that must have waited when a stretch began, by the pace that it had then
UNKNOWN_COMMITS_SECONDS = 60.0  # a stretch must last so long where it has not been seen how often is committed
MEASURED = "measured"
TRUSTED_SECONDS = 120.0  # so much evidence is kept; a stretch of this length replaces the old value entirely


@dataclass(frozen=True, slots=True)
class Capacity:
    """Records per second of one full replica, where the number comes from, and whether it may be built upon."""

    per_replica: float
    source: str  # MEASURED, "measured briefly", "processing time", "expected", "seen so far"
    known: bool  # False: only a lower bound


def capacity_of(policy: Policy, history: History) -> Capacity:
    """The capacity to reckon with now."""
    seen = history.seen_per_replica
    if history.capacity_per_replica is not None:
        evidence = history.evidence_seconds
        if evidence >= RESUMED_SECONDS:
            return Capacity(max(history.capacity_per_replica, seen), MEASURED, True)
        cut = evidence / (evidence + commit_interval_seconds(policy, history))
        return Capacity(max(cut * history.capacity_per_replica, seen), "measured briefly", True)
    if history.busy_per_replica is not None:
        return Capacity(max(history.busy_per_replica, seen), "processing time", True)
    if policy.expected_records_per_second is not None:
        return Capacity(max(policy.expected_records_per_second, seen), "expected", True)
    return Capacity(seen, "seen so far", False)


def commit_interval_seconds(policy: Policy, history: History) -> float:
    """How much work a commit may bring at once, in seconds: as seen, else auto-commit's default."""
    poll = policy.poll_interval_seconds
    if (seen := commit_seconds(history.tracks, poll)) is not None:
        return max(COMMIT_SECONDS, seen)
    moves_often = any(track.commit_gaps for track in history.tracks)
    return min(COMMIT_SECONDS, 1.5 * poll) if moves_often else COMMIT_SECONDS


def learn(
    policy: Policy,
    history: History,
    group: GroupReading,
    scale: Scale | None,
    levels: Levels,
    *,
    settled: bool,
) -> History:
    """The history with what this reading teaches about capacity. Call after its sample has been appended."""
    if not settled or scale is None or scale.replicas == 0:
        return _unsaturated(history)
    history = _learn_from_fullest(policy, history, group, scale.replicas, levels)
    worth = levels.worth(scale.replicas)
    now = history.samples[-1]
    changed = history.changed_at
    if worth <= 0 or (changed is not None and now.at - changed < policy.poll_interval_seconds):
        return _unsaturated(history)

    history = _raise_lower_bound(policy, history, worth, uneven=levels.uneven is not None)
    window = 2 * max(policy.poll_interval_seconds, commit_interval_seconds(policy, history))
    rate = history.consumption_rate(window) or 0.0
    if not _saturated(policy, history, group, rate):
        return history if history.saturation is None else replace(history, saturation=None)
    stretch = history.saturation
    if stretch is None or stretch.replicas != scale.replicas:
        return replace(history, saturation=_stretch(history, scale.replicas, group.lag_messages))
    length = now.at - stretch.since
    consumed = (now.consumed - stretch.consumed_then) / length if length > 0 else 0.0
    if _idle_at_first(policy, history, stretch, consumed):
        return replace(history, saturation=_stretch(history, scale.replicas, group.lag_messages))
    measured = consumed / levels.at_work(scale.replicas)
    history = _believing(policy, history, stretch, measured, length)
    if _moves_on(policy, history, length):
        history = replace(history, saturation=_stretch(history, scale.replicas, group.lag_messages))
    return history


def _learn_from_fullest(
    policy: Policy, history: History, group: GroupReading, replicas: int, levels: Levels
) -> History:
    """Of an uneven load only one consumer may have more than it can do. What it does is what each of them could."""
    uneven, k = levels.uneven, policy.consumers_per_pod
    held = uneven.held_by_fullest(replicas * k) if uneven is not None else None
    if held is None or len(held) > len(history.tracks):
        return history if history.fullest is None else replace(history, fullest=None)
    tracks = [history.tracks[place] for place in held]
    lag = sum(track.end_offset - (track.committed_offset or 0) for track in tracks)
    pace = sum(track.finished_per_second or 0.0 for track in tracks)
    if pace <= 0 or lag < max(1.0, pace * _floor_seconds(policy, history)):
        return history if history.fullest is None else replace(history, fullest=None)
    now, done = history.samples[-1].at, sum(track.committed_offset or 0 for track in tracks)
    stretch = history.fullest
    if stretch is None or stretch.replicas != replicas or stretch.held != held:
        return replace(history, fullest=_stretch(history, replicas, lag, done, held))
    length = now - stretch.since
    finished = (done - stretch.consumed_then) / length if length > 0 else 0.0
    if _idle_at_first(policy, history, stretch, finished):
        return replace(history, fullest=_stretch(history, replicas, lag, done, held))
    measured = k * finished
    history = _believing(policy, history, stretch, measured, length)
    if _moves_on(policy, history, length):
        history = replace(history, fullest=_stretch(history, replicas, lag, done, held))
    return history


def _stretch(
    history: History, replicas: int, backlog: int, consumed: int | None = None, held: tuple[int, ...] = ()
) -> Saturation:
    now = history.samples[-1]
    begun = now.consumed if consumed is None else consumed
    return Saturation(now.at, begun, backlog, replicas, history.capacity_per_replica, history.evidence_seconds, held)


def _idle_at_first(policy: Policy, history: History, stretch: Saturation, per_second: float) -> bool:
    """Little waited when the stretch began, for what has been done since: the consumers were idle until more came."""
    return stretch.backlog_then < BEGUN_SHARE * per_second * _floor_seconds(policy, history)


def _believing(policy: Policy, history: History, stretch: Saturation, measured: float, length: float) -> History:
    """The history that has weighed a stretch of `length` seconds, if it is long enough to say anything.

    Where nothing is consumed at all something is stuck or stopped, which says nothing about capacity.
    """
    commits = commit_interval_seconds(policy, history)
    if measured <= 0 or length < max(SATURATED_SECONDS, 2 * commits):
        return history
    if length < UNKNOWN_COMMITS_SECONDS and not _commits_known(history):
        return history
    value, evidence = _weighed(stretch, measured, length, commits / length)
    seen = min(history.seen_per_replica, value)
    return replace(history, capacity_per_replica=value, evidence_seconds=evidence, seen_per_replica=seen)


def _moves_on(policy: Policy, history: History, length: float) -> bool:
    """A long stretch begins anew, so that a change under way is followed."""
    return length >= max(TRUSTED_SECONDS, 4 * commit_interval_seconds(policy, history))


def _weighed(stretch: Saturation, measured: float, length: float, doubt: float) -> tuple[float, float]:
    """The stretch and what was believed before as one mean by their seconds; and the seconds that it rests on.

    `doubt` is how far the stretch may be off, as a share. What was believed before is given up outside of that.
    """
    before = stretch.capacity_before
    if before is None or before > measured * (1 + doubt):
        return measured, length
    if before < measured * (1 - doubt):
        return measured * (1 - doubt), length
    kept = min(stretch.evidence_before, max(0.0, TRUSTED_SECONDS - length))
    return (before * kept + measured * length) / (kept + length), kept + length


def _unsaturated(history: History) -> History:
    if history.saturation is None and history.fullest is None:
        return history
    return replace(history, saturation=None, fullest=None)


def _floor_seconds(policy: Policy, history: History) -> float:
    """How much work must wait for a consumer not to be idle between two fetches; what is not committed may be done."""
    promise = policy.max_delay_seconds
    floor = SATURATED_BACKLOG_SECONDS if promise is None else min(SATURATED_BACKLOG_SECONDS, promise / 4)
    return floor + max(0.0, commit_interval_seconds(policy, history) - COMMIT_SECONDS)


def _commits_known(history: History) -> bool:
    """Whether it has been seen how often most partitions are committed."""
    return 2 * sum(1 for track in history.tracks if track.commit_gaps) >= len(history.tracks)


def _saturated(policy: Policy, history: History, group: GroupReading, consumed_per_second: float) -> bool:
    """Every consumer has work waiting: nearly all partitions lag by a fair share of a backlog that counts."""
    backlog = group.lag_messages
    count = len(group.partitions)
    if count == 0 or backlog < max(1.0, consumed_per_second * _floor_seconds(policy, history)):
        return False
    fair_share = 0.25 * backlog / count
    lagging = sum(1 for p in group.partitions if p.lag_messages is not None and p.lag_messages >= fair_share)
    return lagging >= 0.8 * count


def _usual_age(policy: Policy, history: History) -> float:
    """How old messages get that do not wait for work, in seconds."""
    return commit_interval_seconds(policy, history) + policy.poll_interval_seconds


def _raise_lower_bound(policy: Policy, history: History, worth: float, *, uneven: bool) -> History:
    """What a settled group was seen to consume over a minute is the least it can do, until a measurement says less.

    The lesser half of the minute counts: offsets that were reset look like a moment of immense work. An uneven group
    that is behind finishes other shares than those that arrive, so nothing follows for its fullest consumer.
    """
    if uneven and (history.delay_seconds is None or history.delay_seconds > _usual_age(policy, history)):
        return history
    window = max(60.0, 2.0 * policy.poll_interval_seconds)
    last, since = history.samples[-1], history.settled_since
    if since is None or last.at - since < window:
        return history
    whole, half = history.consumption_rate(window), history.consumption_rate(window / 2)
    if whole is None or half is None:
        return history
    seen = min(half, 2 * whole - half) / worth
    return replace(history, seen_per_replica=seen) if seen > history.seen_per_replica else history
