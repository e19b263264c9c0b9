"""advance(): the history after one more observation. Pure; a failed reading teaches nothing and forgets nothing."""

from __future__ import annotations

import math
from dataclasses import replace

from consumer_autoscaler.decision import capacity, demand, effect
from consumer_autoscaler.decision.downs import follow_levels
from consumer_autoscaler.decision.history import (
    DENSE_SECONDS,
    KEEP_SECONDS,
    LONG_WINDOW_SECONDS,
    SPARSE_SECONDS,
    History,
    Sample,
    Useless,
)
from consumer_autoscaler.decision.levels import levels_for
from consumer_autoscaler.decision.pace import follow_processing_time
from consumer_autoscaler.decision.tracks import Track, follow, waited_seconds
from consumer_autoscaler.decision.uneven import uneven_of
from consumer_autoscaler.decision.values import GroupReading, Observation, Policy, Scale

REMEMBERED_DURATIONS = 3
TAKEN_BACK_SECONDS = 900.0  # an up so soon after a down says that the down was a mistake
LONGEST_DURATION_SECONDS = 900.0  # a start that took longer was no start: image missing, no room


def advance(policy: Policy, history: History, observation: Observation, now: float) -> History:
    """The history that `decide` is to look back on, this observation included."""
    scale = observation.scale if isinstance(observation.scale, Scale) else None
    if scale is not None:
        history = _follow_replicas(history, scale, now)
    history = follow_processing_time(policy, history, observation.processing, now)

    group = observation.group
    if not isinstance(group, GroupReading):
        # The stretch of saturation is broken and virtual queues rest: nobody knows what happened meanwhile.
        since = now if history.unavailable_since is None else history.unavailable_since
        return replace(history, saturation=None, fullest=None, settled_since=None, unavailable_since=since)

    if history.began_at is None:
        history = replace(history, began_at=now, active_at=now)
    elif history.seen_at is not None and now - history.seen_at > _longest_gap_seconds(policy):
        history = replace(history, began_at=now)  # what was seen before the outage says nothing about now
    history = _follow_offsets(history, group)
    settled = _settled(group, scale)
    history = _learn_durations(history, group, scale, now, settled=settled)
    ceiling = group.ceiling(history.ceiling)
    levels = levels_for(policy, ceiling, uneven_of(history.tracks, group))
    previous_at = history.seen_at
    history = replace(
        history,
        ceiling=ceiling,
        seen_at=group.at,
        unavailable_since=None,
        settled_since=_settled_since(history, now, settled=settled),
    )
    history = capacity.learn(policy, history, group, scale, levels, settled=settled)
    if policy.max_delay_seconds is not None and scale is not None:
        history = follow_levels(policy, history, levels, scale, previous_at)
    if policy.lag_per_replica is not None:
        window = policy.scale_down_cooldown_seconds
        count = min(demand.lag_per_replica_count(policy, group), policy.max_replicas)  # bounds the memory, too
        kept = tuple((t, n) for t, n in history.wanted if n > count and t > now - window)
        history = replace(history, wanted=(*kept, (now, count)))
    if demand.active(policy, history, group):
        history = replace(history, active_at=now)
    behind = _behind(policy, history)
    if behind != history.behind:
        history = replace(history, behind=behind)
    return effect.follow(policy, history, levels, group, scale, now)


def age_in_doubt(policy: Policy, history: History, now: float) -> int | None:
    """The age that is worth an exact look-up with the next reading: the promise, when it may be broken or near.

    None while every message is seen to be young: a look-up costs the brokers a search in their time index.
    """
    promise, delay = policy.max_delay_seconds, history.delay_seconds
    if promise is None or delay is None or history.began_at is None:
        return promise
    young = now - history.began_at < promise  # what came before is not known by interpolation
    return promise if delay > promise / 2 or (young and delay > 0) else None


def _longest_gap_seconds(policy: Policy) -> float:
    return max(LONG_WINDOW_SECONDS, 3.0 * policy.poll_interval_seconds)


def after_scaling(history: History, replicas: int, now: float) -> History:
    """The history after the operator's own accepted write of `replicas`."""
    up = history.replicas is not None and replicas > history.replicas
    again = up and history.raised_to is not None
    taken_back = up and history.lowered_at is not None and now - history.lowered_at <= TAKEN_BACK_SECONDS
    return replace(
        history,
        replicas=replicas,
        changed_at=now,
        scaled_at=now,
        regretted_at=now if taken_back else history.regretted_at,
        lowered_at=history.lowered_at if up else now,
        raised_to=replicas if up else None,
        raised_at=(history.raised_at if again else now) if up else None,
        raised_again=again,
        ready_at=None,
        unsettled_since=now,
        settled_since=None,
        saturation=None,
        fullest=None,
    )


def resumed(
    *,
    capacity_per_replica: float | None,
    start_seconds: float | None,
    rebalance_seconds: float | None,
    changed_at: float | None,
    useless: Useless | None = None,
) -> History:
    """The history of a process that begins anew: what was measured before, and nothing that it has not seen itself.

    None is what was not measured; `changed_at` is the operator's own last scaling; `useless` the up that is the reason
    why no other is tried.
    """
    return History(
        capacity_per_replica=capacity_per_replica,
        evidence_seconds=0.0 if capacity_per_replica is None else capacity.RESUMED_SECONDS,
        start_seconds_seen=() if start_seconds is None else (start_seconds,),
        rebalance_seconds_seen=() if rebalance_seconds is None else (rebalance_seconds,),
        scaled_at=changed_at,
        changed_at=changed_at,
        useless=useless,
    )


def _settled(group: GroupReading, scale: Scale | None) -> bool:
    return (
        scale is not None
        and not group.state.rebalancing
        and group.members > 0
        and scale.ready == scale.replicas
        and not scale.rolling
    )


def _follow_replicas(history: History, scale: Scale, now: float) -> History:
    """Notices a count that somebody else wrote: it restarts the cooldown, and its pods are waited for as ours are."""
    if history.replicas is None:
        return replace(history, replicas=scale.replicas)
    if scale.replicas == history.replicas:
        return history
    up = scale.replicas > history.replicas
    return replace(
        history,
        replicas=scale.replicas,
        changed_at=now,
        lowered_at=history.lowered_at if up else now,
        raised_to=scale.replicas if up else None,
        raised_at=now if up else None,
        raised_again=False,
        ready_at=None,
        settled_since=None,
        saturation=None,
        fullest=None,
    )


def _follow_offsets(history: History, group: GroupReading) -> History:
    old = {(t.topic, t.partition): t for t in history.tracks}
    tracks: list[Track] = []
    arrived = consumed = 0
    delay = 0.0
    unknown = group.lag_is_upper_bound
    for reading in group.partitions:
        before = old.get((reading.topic, reading.partition))
        track = follow(before, reading, group.at)
        if before is not None and reading.end_offset >= before.end_offset:
            arrived += reading.end_offset - before.end_offset
            if (done := reading.finished_offset) is not None and before.committed_offset is not None:
                consumed += max(0, done - before.committed_offset)
        delay = max(delay, waited_seconds(track, reading, group.at))
        unknown = unknown or reading.lag_messages is None
        tracks.append(track)
    if group.older_than_seconds is not None and group.partitions_older is not None:
        # Looked up by timestamp, so it is exact; the interpolation only knows what it has seen itself.
        if group.partitions_older:
            delay = max(delay, math.nextafter(group.older_than_seconds, math.inf))  # older, not as old
        else:
            delay = min(delay, group.older_than_seconds)
    last = history.samples[-1] if history.samples else Sample(group.at, 0, 0)
    sample = Sample(group.at, last.arrived + arrived, last.consumed + consumed)
    return replace(
        history,
        tracks=tuple(tracks),
        samples=_thinned((*history.samples, sample)),
        delay_seconds=None if unknown else delay,
    )


def _thinned(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    newest = samples[-1].at
    kept: list[Sample] = []
    for sample in samples:
        age = newest - sample.at
        if age > KEEP_SECONDS:
            continue
        if age > DENSE_SECONDS and kept and sample.at - kept[-1].at < SPARSE_SECONDS - 0.5:
            continue
        kept.append(sample)
    return tuple(kept)


def _learn_durations(
    history: History, group: GroupReading, scale: Scale | None, now: float, *, settled: bool
) -> History:
    """Start: from the write of an up until all pods are ready. Rebalance: from there, or from when it was first seen,
    until the group is stable. Pods that are missing for another reason are no rebalance, however long they are.
    """
    if scale is None:
        return history
    if history.raised_to is not None and history.ready_at is None and scale.ready >= history.raised_to:
        took = now - (history.raised_at or now)
        if 0 < took <= LONGEST_DURATION_SECONDS:
            # They became ready some time since the last reading: half of it ago, for want of knowing better.
            unseen = 0.0 if history.seen_at is None else min(took, now - history.seen_at)
            seen = (*history.start_seconds_seen, took - unseen / 2)
            history = replace(history, start_seconds_seen=seen[-REMEMBERED_DURATIONS:])
        history = replace(history, ready_at=now, rebalancing_since=now)
    if group.state.rebalancing:
        if history.rebalancing_since is None:
            history = replace(history, rebalancing_since=now)
    elif history.rebalancing_since is not None:
        took = now - history.rebalancing_since
        seen = history.rebalance_seconds_seen
        if 0 < took <= LONGEST_DURATION_SECONDS:
            seen = (*seen, took)[-REMEMBERED_DURATIONS:]
        history = replace(history, rebalancing_since=None, rebalance_seconds_seen=seen)
    if not settled:
        return history if history.unsettled_since is not None else replace(history, unsettled_since=now)
    if history.unsettled_since is None:
        return history
    return replace(history, unsettled_since=None, raised_to=None, raised_at=None, ready_at=None, raised_again=False)


def _settled_since(history: History, now: float, *, settled: bool) -> float | None:
    if not settled:
        return None
    return now if history.settled_since is None else history.settled_since


def _behind(policy: Policy, history: History) -> bool:
    """Behind from half the promise on, until a quarter of it; without a promise from a minute of delay on."""
    delay = history.delay_seconds
    if delay is None:
        return history.behind
    promise = policy.max_delay_seconds or 120
    return delay > (promise / 4 if history.behind else promise / 2)
