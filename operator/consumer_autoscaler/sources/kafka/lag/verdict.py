"""From all answers about one group to its reading, or to why there is none. No IO, no clock.

A sum is given only when every part of it is known. What could be a passing state of a cluster in trouble (a group or
commits that were there a moment ago, a commit beyond the end) is looked at again before it is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from consumer_autoscaler.decision.reasons import GroupState, SourceReason
from consumer_autoscaler.decision.values import GroupKind, GroupReading, OffsetReset, PartitionReading, Unavailable
from consumer_autoscaler.sources.kafka.coordinators import Coordinators, Fetched, GroupMemory
from consumer_autoscaler.sources.kafka.groups.facts import GONE
from consumer_autoscaler.sources.kafka.groups.shares import UPPER_BOUND, is_upper_bound, share_readings
from consumer_autoscaler.sources.kafka.lag.offsets_to_lag import Inconsistent, beyond_end, partition_readings
from consumer_autoscaler.sources.kafka.lag.successive import Successive
from consumer_autoscaler.sources.kafka.offsets import Offsets, Problem
from consumer_autoscaler.sources.kafka.topology import Topic, Topology
from consumer_autoscaler.sources.kafka.wire import codes

VANISHED_SECONDS = 30.0
"""How long commits that have gone must stay away before they count as never made."""

GONE_SECONDS = 3.0
"""How long a group that had commits must be away before it is said to be deleted."""


@dataclass(slots=True, eq=False)
class Watch:
    """One resource's view of a group, and what its last reading leaves for the next."""

    group: str
    topics: tuple[str, ...]
    offset_reset: OffsetReset
    committed_only: bool = False  # whether the end is that of read_committed consumers
    older_than_seconds: float | None = None  # the age to look up by timestamp
    last: dict[str, list[PartitionReading]] = field(default_factory=dict)
    beyond: frozenset[tuple[str, int]] = frozenset()  # commits beyond the end, as seen the last time
    vanished_at: float | None = None  # since when commits of `last` are not there
    successive: Successive = field(default_factory=Successive)


class Outcome(NamedTuple):
    """A result, and whether asking again at once may give a better one."""

    result: GroupReading | Unavailable
    again: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """What one round of questions has brought, for all groups."""

    memories: Mapping[str, GroupMemory]
    topology: Topology
    coordinators: Coordinators
    starts: Offsets
    ends: Offsets


class _Topics(NamedTuple):
    """The topics that count, and a note about those left out."""

    topics: list[Topic]
    note: str


def judge(watch: Watch, names: tuple[str, ...], answers: Answers, *, at: float, now: float) -> Outcome:
    """The outcome for a watch over the topics `names`; `at` goes into the reading, `now` is the loop's time."""
    memory, fetched = answers.memories[watch.group], answers.coordinators.fetched[watch.group]
    commits = any(offset >= 0 for rows in fetched.committed.values() for offset in rows.values())
    asked_all = watch.group in answers.coordinators.asked_as_every_kind
    if commits and memory.kind is GroupKind.UNKNOWN and not asked_all:
        memory.every_kind_at = -float("inf")
        return _again(f"what kind of group {watch.group} is, is not known yet")
    found = _usable(watch, names, answers.topology)
    if isinstance(found, Outcome):
        return found
    for topic in found.topics:
        if (problem := _problem(topic, fetched, answers)) is not None:
            return Outcome(Unavailable(problem.reason, problem.message), problem.again)
    if (refusal := _gone(memory, now, commits=commits, topics=bool(names))) is not None:
        return refusal
    readings: dict[str, list[PartitionReading]] = {}
    for topic in found.topics:
        try:
            readings[topic.name] = _readings(watch, topic, fetched, answers.ends.values[topic.name])
        except Inconsistent as error:
            topic.starts = [-1] * len(topic.leaders)
            return _again(f"topic {topic.name}: {error}")
    partitions = tuple(reading for rows in readings.values() for reading in rows)
    if (doubt := _doubt(watch, memory, readings, partitions, answers.topology, now)) is not None:
        return doubt
    told = watch.successive.look(memory.name, memory.facts, found.topics, watch.last, readings, now)
    watch.last = readings
    memory.committed_once = memory.committed_once or commits
    if fetched.complete:
        memory.ignored = tuple(sorted(fetched.committed.keys() - set(names)))
    beyond, unknown = _beyond_note(watch.beyond), _unknown_note(partitions)
    ignored = "" if watch.topics else _ignored_note(memory.ignored)
    at_most = fetched.lags is not None and is_upper_bound(partitions, fetched.lags)
    share = UPPER_BOUND if at_most else ""
    reading = GroupReading(
        at=at,
        state=memory.facts.state,
        kind=memory.kind,
        members=memory.facts.members,
        idle_members=memory.facts.idle_members,
        assignor=memory.assignor,
        partitions=told.partitions,
        partition_ceiling=memory.ceiling(map(len, readings.values()), answers.topology),
        never_committed=all(partition.committed_offset is None for partition in partitions),
        note="; ".join(filter(None, (found.note, unknown, beyond, *told.notes, ignored, share))),
        lag_is_upper_bound=at_most,
        pending_messages=told.pending_messages,
        unscalable=told.unscalable,
        warning=SourceReason.OFFSET_BEYOND_END if beyond else next(iter(told.warnings), None),
    )
    return Outcome(reading)


def _readings(watch: Watch, topic: Topic, fetched: Fetched, ends: list[int]) -> list[PartitionReading]:
    """Raises Inconsistent when the offsets cannot all be of the same log."""
    positions, previous = fetched.committed.get(topic.name, {}), watch.last.get(topic.name, ())
    if fetched.lags is None:
        return partition_readings(
            topic.name,
            committed=positions,
            starts=topic.starts,
            ends=ends,
            reset=watch.offset_reset,
            previous=previous,
        )
    return share_readings(
        topic.name,
        positions=positions,
        lags=fetched.lags.get(topic.name, {}),
        starts=topic.starts,
        ends=ends,
        reset=watch.offset_reset,
        previous=previous,
    )


def _usable(watch: Watch, names: tuple[str, ...], topology: Topology) -> _Topics | Outcome:
    """The topics that are there. One that the resource names must be; others are left out when gone."""
    topics, gone = [], []
    for name in sorted(names):
        topic = topology.topic(name)
        if topic is None:
            return _again(f"topic {name} is not known yet")
        if topic.error == codes.TOPIC_AUTHORIZATION_FAILED:
            message = f"the right Describe on topic {name} is missing: {codes.words(topic.error)}"
            return Outcome(Unavailable(SourceReason.AUTHORIZATION_FAILED, message))
        if topic.missing and topic.looks_missing < 2:
            message = f"topic {name} is not there; looking again"
            return Outcome(Unavailable(SourceReason.PARTIAL_READING, message))
        if topic.missing and name in watch.topics:
            return Outcome(Unavailable(SourceReason.TOPIC_NOT_FOUND, f"topic {name} does not exist"))
        if topic.missing:
            gone.append(name)
        elif topic.error or not topic.leaders:
            topology.leaders_outdated()
            return _again(f"the partitions of topic {name} are not known: {codes.words(topic.error)}")
        else:
            topics.append(topic)
    if gone and not topics:
        message = f"none of the topics of group {watch.group} exists: {', '.join(gone)}"
        return Outcome(Unavailable(SourceReason.TOPIC_NOT_FOUND, message))
    return _Topics(topics, f"topics that do not exist are left out: {', '.join(gone)}" if gone else "")


def _problem(topic: Topic, fetched: Fetched, answers: Answers) -> Problem | None:
    """Why not every offset of the topic is known."""
    problem = answers.ends.problems.get(topic.name)
    if problem is None and -1 in topic.starts:
        problem = answers.starts.problems.get(topic.name)
    if problem is not None:
        return problem
    ends, rows = answers.ends.values.get(topic.name, []), fetched.committed.get(topic.name, {})
    unasked = not fetched.complete and len(rows) < len(ends)
    if unasked or -1 in ends or not len(ends) == len(topic.leaders) == len(topic.starts):
        message = f"the offsets of topic {topic.name} are not complete"
        return Problem(SourceReason.PARTIAL_READING, message, True)
    return None


def _gone(memory: GroupMemory, now: float, *, commits: bool, topics: bool) -> Outcome | None:
    """A refusal when the group is not there, unless its topics are named and it never was."""
    if commits or (topics and memory.facts.state is not GroupState.DEAD):
        memory.gone_at = None
        memory.doubted = False
        return None
    if memory.committed_once and memory.facts is GONE:
        memory.gone_at = now if memory.gone_at is None else memory.gone_at
        memory.doubted = True
        if now - memory.gone_at < GONE_SECONDS:
            message = f"group {memory.name} is not there any more; looking again"
            return Outcome(Unavailable(SourceReason.PARTIAL_READING, message))
        message = f"group {memory.name} had commits and does not exist any more; holding until it commits again"
        return Outcome(Unavailable(SourceReason.GROUP_NOT_FOUND, message))
    if topics:
        return None
    if memory.facts.state.rebalancing:
        message = f"group {memory.name} is rebalancing, and what it subscribes to is not known yet"
        return Outcome(Unavailable(SourceReason.PARTIAL_READING, message))
    what = "does not exist" if memory.facts.state is GroupState.DEAD else "has neither subscriptions nor commits"
    # Brokers leave out commits on topics without the right Describe, and say nothing.
    message = f"group {memory.name} {what} that the operator may see; name its topics"
    return Outcome(Unavailable(SourceReason.GROUP_NOT_FOUND, message))


def _doubt(
    watch: Watch,
    memory: GroupMemory,
    readings: Mapping[str, list[PartitionReading]],
    partitions: tuple[PartitionReading, ...],
    topology: Topology,
    now: float,
) -> Outcome | None:
    """What must be seen twice before it is believed."""
    beyond = beyond_end(partitions)
    unexpected, watch.beyond = beyond - watch.beyond, beyond
    if unexpected:
        name, partition = min(unexpected)
        topology.leaders_outdated()  # it may be another topic of the same name
        return _again(f"group {watch.group} has a commit beyond the end of {name}-{partition}")
    for name, count in memory.facts.partitions:  # given out to members, and not in the metadata
        topic = topology.topic(name)
        if name in readings and topic is not None and count > len(topic.leaders):
            topology.leaders_outdated()
            return _again(f"topic {name} has grown")
    vanished = _vanished(watch.last, readings)
    if vanished is None:
        watch.vanished_at = None
    else:
        first = watch.vanished_at is None
        watch.vanished_at = now if watch.vanished_at is None else watch.vanished_at
        memory.doubted = True
        if now - watch.vanished_at < VANISHED_SECONDS:
            name, partition = vanished
            message = f"the commit of group {watch.group} on {name}-{partition} has gone; waiting for it"
            return Outcome(Unavailable(SourceReason.PARTIAL_READING, message), again=first)
    return None


def _vanished(
    before: Mapping[str, list[PartitionReading]], now: Mapping[str, list[PartitionReading]]
) -> tuple[str, int] | None:
    """A partition that had a commit the last time and has none now."""
    for name, readings in now.items():
        for old, new in zip(before.get(name, ()), readings, strict=False):
            if new is not old and new.committed_offset is None and old.committed_offset is not None:
                return name, new.partition
    return None


def _beyond_note(beyond: frozenset[tuple[str, int]]) -> str:
    if not beyond:
        return ""
    where = ", ".join(f"{name}-{partition}" for name, partition in sorted(beyond)[:3])
    return f"commits beyond the end count as none: {where}{' ...' if len(beyond) > 3 else ''}"


def _again(message: str) -> Outcome:
    return Outcome(Unavailable(SourceReason.PARTIAL_READING, message), again=True)


def _unknown_note(partitions: tuple[PartitionReading, ...]) -> str:
    unknown = sum(1 for p in partitions if p.lag_messages is None)
    return (
        f"{unknown} partitions have no valid commit, and what that means is not known (offsetReset: None)"
        if unknown
        else ""
    )


def _ignored_note(ignored: tuple[str, ...]) -> str:
    """Topics that were committed once and are not subscribed to: an OffsetFetch of everything still has them."""
    if not ignored:
        return ""
    where = ", ".join(ignored[:3])
    return f"commits on topics that nobody subscribes to are left out: {where}{' ...' if len(ignored) > 3 else ''}"
