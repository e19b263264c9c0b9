"""One shared reading: every group of a cluster that is due, in a few requests per broker.

Commits are read first and ends after, so that a lag errs upwards by what was produced in between, and is
never negative by timing. What fails is asked once more, after the leaders and coordinators it names have
been looked up again; a group that is then not complete is Unavailable, never a part of a sum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from consumer_autoscaler.decision.reasons import GroupState, SourceReason
from consumer_autoscaler.decision.values import GroupReading, OffsetReset, PartitionReading, Unavailable
from consumer_autoscaler.sources.kafka import codes
from consumer_autoscaler.sources.kafka.connection import BrokerFailed, Brokers
from consumer_autoscaler.sources.kafka.coordinators import Coordinators, Fetched, GroupMemory
from consumer_autoscaler.sources.kafka.groups import GONE, GroupKind, partition_ceiling
from consumer_autoscaler.sources.kafka.lag import Inconsistent, beyond_end, partition_readings
from consumer_autoscaler.sources.kafka.offsets import Offsets, Problem, read_ends, read_starts
from consumer_autoscaler.sources.kafka.slices import Slices
from consumer_autoscaler.sources.kafka.topology import Topic, Topology

_STARTS_MAX_AGE_SECONDS = 295.0
_FORGET_GROUP_SECONDS = 900.0


@dataclass(slots=True, eq=False)
class Watch:
    """One resource's view of a group, and what its last reading leaves for the next."""

    group: str
    topics: tuple[str, ...]
    offset_reset: OffsetReset
    last: dict[str, list[PartitionReading]] = field(default_factory=dict)
    beyond: frozenset[tuple[str, int]] = frozenset()  # commits beyond the end, as seen the last time


class Outcome(NamedTuple):
    """A result, and whether asking again at once may give a better one."""

    result: GroupReading | Unavailable
    again: bool = False


class _Topics(NamedTuple):
    """The topics that count for a watch, and those left out with the reason."""

    topics: list[Topic]
    note: str


class ClusterReader:
    """Reads any set of watches of one cluster; several readings may run at the same time."""

    def __init__(self, brokers: Brokers, *, clock: Callable[[], float], timeout_seconds: float) -> None:
        self._brokers = brokers
        self._topology = Topology(brokers)
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._memories: dict[str, GroupMemory] = {}
        self._used_at: dict[str, float] = {}
        self._starts_read_at = -float("inf")

    async def read(self, watches: Sequence[Watch]) -> dict[Watch, GroupReading | Unavailable]:
        """One result for each watch, within the timeout; raises nothing but what is a defect here."""
        outcomes: dict[Watch, Outcome] = {}
        self._remember({watch.group for watch in watches})
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._pass(watches, outcomes)
                again = [watch for watch in watches if outcomes[watch].again]
                if again:
                    await self._pass(again, outcomes)
        except TimeoutError:
            late = Unavailable(
                SourceReason.PARTIAL_READING, f"the reading took longer than {self._timeout_seconds:g} s"
            )
            for watch in watches:
                outcomes.setdefault(watch, Outcome(late))
        return {watch: outcomes[watch].result for watch in watches}

    def _remember(self, groups: set[str]) -> None:
        now = asyncio.get_running_loop().time()
        for group in groups:
            self._used_at[group] = now
            if group not in self._memories:
                self._memories[group] = GroupMemory(group)
        for group in [g for g, at in self._used_at.items() if now - at > _FORGET_GROUP_SECONDS]:
            del self._used_at[group], self._memories[group]

    async def _pass(self, watches: Sequence[Watch], outcomes: dict[Watch, Outcome]) -> None:
        memories = self._memories
        coordinators = Coordinators(self._brokers, self._topology, memories)
        try:
            await self._topology.ensure_topics(
                {topic for watch in watches for topic in watch.topics or memories[watch.group].topics}
            )
            await coordinators.ask(self._wanted(watches))
            open_watches = []
            for watch in watches:
                problem = coordinators.problems.get(watch.group)
                if problem is None and watch.group not in coordinators.fetched:
                    problem = Problem(
                        SourceReason.PARTIAL_READING,
                        f"no answer about the commits of group {watch.group}",
                        True,
                    )
                if problem is None:
                    open_watches.append(watch)
                else:
                    outcomes[watch] = Outcome(Unavailable(problem.reason, problem.message), problem.again)
            names = {watch: self._names(watch, coordinators.fetched[watch.group]) for watch in open_watches}
            await self._topology.ensure_topics({name for each in names.values() for name in each})
        except BrokerFailed as error:
            for watch in watches:
                outcomes[watch] = Outcome(Unavailable(error.reason, str(error)))
            return
        topics: dict[str, Topic] = {}
        for each in names.values():
            for name in each:
                topic = self._topology.topic(name)
                if topic is not None and topic.leaders and not topic.error:
                    topics[name] = topic
        starts = await self._starts(topics)
        at = self._clock()
        ends = await read_ends(self._brokers, self._topology, topics.values())
        slices = Slices()
        for watch in open_watches:
            outcomes[watch] = self._outcome(watch, names[watch], coordinators, starts, ends, at)
            await slices.breathe()

    def _wanted(self, watches: Iterable[Watch]) -> dict[str, tuple[str, ...] | None]:
        """The topics to fetch commits of: named where they are known, so that a missing right is an error."""
        wanted: dict[str, tuple[str, ...] | None] = {}
        for watch in watches:
            own = watch.topics or self._memories[watch.group].topics or None
            if watch.group not in wanted:
                wanted[watch.group] = own
            elif (other := wanted[watch.group]) is not None and other != own:
                wanted[watch.group] = None if own is None else tuple(sorted({*other, *own}))
        return wanted

    def _names(self, watch: Watch, fetched: Fetched) -> tuple[str, ...]:
        """The resource's topics, else what the members subscribe to (or did last), else the committed."""
        memory = self._memories[watch.group]
        return watch.topics or memory.topics or tuple(sorted(fetched.committed))

    async def _starts(self, topics: dict[str, Topic]) -> Offsets:
        now = asyncio.get_running_loop().time()
        all_of_them = now - self._starts_read_at >= _STARTS_MAX_AGE_SECONDS
        if all_of_them:
            self._starts_read_at = now
        elif not any(-1 in topic.starts for topic in topics.values()):
            return Offsets({}, {})
        # Other intervals' topics too, so that one refresh serves all.
        asked = self._topology.usable_topics() if all_of_them else topics.values()
        return await read_starts(self._brokers, self._topology, asked, all_of_them=all_of_them)

    def _outcome(
        self,
        watch: Watch,
        names: tuple[str, ...],
        coordinators: Coordinators,
        starts: Offsets,
        ends: Offsets,
        at: float,
    ) -> Outcome:
        memory, fetched = self._memories[watch.group], coordinators.fetched[watch.group]
        facts = memory.facts
        commits = any(offset >= 0 for rows in fetched.committed.values() for offset in rows.values())
        if commits and memory.kind is GroupKind.UNKNOWN and watch.group not in coordinators.asked_as_consumer:
            memory.other_kind_at = -float("inf")
            return _again(f"what kind of group {watch.group} is, is not known yet")
        found = self._usable(watch, names)
        if isinstance(found, Outcome):
            return found
        if (refusal := self._gone(memory, commits=commits, topics=bool(names))) is not None:
            return Outcome(refusal)
        memory.committed_once = memory.committed_once or commits
        readings: dict[str, list[PartitionReading]] = {}
        never_committed = True
        for topic in found.topics:
            problem = ends.problems.get(topic.name)
            if problem is None and -1 in topic.starts:
                problem = starts.problems.get(topic.name)
            if problem is not None:
                return Outcome(Unavailable(problem.reason, problem.message), problem.again)
            values, rows = ends.values.get(topic.name, []), fetched.committed.get(topic.name, {})
            incomplete = not fetched.complete and len(rows) < len(values)
            if incomplete or -1 in values or not len(values) == len(topic.leaders) == len(topic.starts):
                return _again(f"the offsets of topic {topic.name} are not complete")
            never_committed = never_committed and all(offset < 0 for offset in rows.values())
            try:
                readings[topic.name] = partition_readings(
                    topic.name,
                    committed=rows,
                    starts=topic.starts,
                    ends=values,
                    reset=watch.offset_reset,
                    previous=watch.last.get(topic.name, ()),
                )
            except Inconsistent as error:
                topic.starts = [-1] * len(topic.leaders)
                return _again(f"topic {topic.name}: {error}")
        partitions = tuple(reading for rows in readings.values() for reading in rows)
        beyond = beyond_end(partitions)
        unexpected, watch.beyond = beyond - watch.beyond, beyond
        if unexpected:
            topic_name, partition = min(unexpected)
            self._topology.leaders_outdated()  # it may be another topic of the same name
            return _again(f"group {watch.group} has a commit beyond the end of {topic_name}-{partition}")
        for (
            topic_name,
            count,
        ) in facts.partitions:  # members were given partitions that the metadata does not have
            known = self._topology.topic(topic_name)
            if known is not None and known.leaders and count > len(known.leaders) and topic_name in readings:
                self._topology.leaders_outdated()
                return _again(f"topic {topic_name} has grown")
        watch.last = readings
        notes = [found.note] if found.note else []
        if beyond:
            where = ", ".join(f"{name}-{partition}" for name, partition in sorted(beyond)[:3])
            notes.append(f"commits beyond the end count as none: {where}{' ...' if len(beyond) > 3 else ''}")
        reading = GroupReading(
            at=at,
            state=facts.state,
            members=facts.members,
            idle_members=facts.idle_members,
            assignor=memory.assignor,
            partitions=partitions,
            partition_ceiling=partition_ceiling(memory.assignor, map(len, readings.values())),
            never_committed=never_committed,
            note="; ".join(notes),
        )
        return Outcome(reading)

    @staticmethod
    def _gone(memory: GroupMemory, *, commits: bool, topics: bool) -> Unavailable | None:
        """A refusal when the group is not there, unless its topics are named and it never was."""
        if commits or (topics and memory.facts.state is not GroupState.DEAD):
            return None
        if memory.committed_once and memory.facts is GONE:
            message = f"group {memory.name} had commits and does not exist any more; holding until it commits again"
            return Unavailable(SourceReason.GROUP_NOT_FOUND, message)
        if topics:
            return None
        if memory.facts.state.rebalancing:
            message = f"group {memory.name} is rebalancing, and what it subscribes to is not known yet"
            return Unavailable(SourceReason.PARTIAL_READING, message)
        what = "does not exist" if memory.facts.state is GroupState.DEAD else "has neither subscriptions nor commits"
        return Unavailable(SourceReason.GROUP_NOT_FOUND, f"group {memory.name} {what}; name its topics")

    def _usable(self, watch: Watch, names: tuple[str, ...]) -> _Topics | Outcome:
        """The topics that are there. One that the resource names must be; others are left out when gone."""
        topics, gone = [], []
        for name in sorted(names):
            topic = self._topology.topic(name)
            if topic is None:
                return _again(f"topic {name} is not known yet")
            if topic.error == codes.TOPIC_AUTHORIZATION_FAILED:
                message = f"the right Describe on topic {name} is missing: {codes.words(topic.error)}"
                return Outcome(Unavailable(SourceReason.AUTHORIZATION_FAILED, message))
            if topic.missing and topic.looks_missing < 2:
                return Outcome(Unavailable(SourceReason.PARTIAL_READING, f"topic {name} is not there; looking again"))
            if topic.missing and name in watch.topics:
                return Outcome(Unavailable(SourceReason.TOPIC_NOT_FOUND, f"topic {name} does not exist"))
            if topic.missing:
                gone.append(name)
            elif topic.error or not topic.leaders:
                self._topology.leaders_outdated()
                return _again(f"the partitions of topic {name} are not known: {codes.words(topic.error)}")
            else:
                topics.append(topic)
        if gone and not topics:
            message = f"none of the topics of group {watch.group} exists: {', '.join(gone)}"
            return Outcome(Unavailable(SourceReason.TOPIC_NOT_FOUND, message))
        return _Topics(topics, f"topics that do not exist are left out: {', '.join(gone)}" if gone else "")


def _again(message: str) -> Outcome:
    return Outcome(Unavailable(SourceReason.PARTIAL_READING, message), again=True)
