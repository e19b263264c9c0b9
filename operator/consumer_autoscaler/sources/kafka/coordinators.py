"""Asks the coordinators for positions and descriptions: one request of each sort per broker for all groups.

A group's kind is remembered, so that later readings ask the one describe request that fits, and OffsetFetch, or for
share groups DescribeShareGroupOffsets. A group that no request knows (it does not exist yet, or no more) is asked for
as a classic one each time, as another kind when such a request goes to that broker anyway, and as every kind when it
commits, when its kind has just stopped knowing it, and every 15 seconds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consumer_autoscaler.decision.reasons import GroupState, SourceReason
from consumer_autoscaler.decision.values import GroupKind
from consumer_autoscaler.sources.kafka.broker import BrokerFailed, RequestUnsupported
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.groups.facts import GONE, GroupFacts, Subtopology, partition_ceiling
from consumer_autoscaler.sources.kafka.groups.kinds import DESCRIPTIONS
from consumer_autoscaler.sources.kafka.groups.streams import task_count
from consumer_autoscaler.sources.kafka.offsets import Problem
from consumer_autoscaler.sources.kafka.slices import Slices
from consumer_autoscaler.sources.kafka.topology import Topology
from consumer_autoscaler.sources.kafka.wire import codes
from consumer_autoscaler.sources.kafka.wire import requests as wire
from consumer_autoscaler.sources.kafka.wire.codec import DECODE_ERRORS
from consumer_autoscaler.sources.kafka.wire.share import read_share_offsets, share_offsets

_EVERY_KIND_AGAIN_SECONDS = 15.0
_DESCRIPTIONS_STAND_SECONDS = 35.0
_NOT_OF_THIS_KIND = (codes.GROUP_ID_NOT_FOUND, codes.UNSUPPORTED_VERSION)


Wanted = Mapping[str, tuple[str, ...] | None]
"""The topics of each group, None for all that it has a position on."""


@dataclass(slots=True)
class GroupMemory:
    """What is remembered of a group from reading to reading."""

    name: str
    kind: GroupKind = GroupKind.UNKNOWN
    facts: GroupFacts = GONE
    body_hash: int = 0
    was: GroupKind = GroupKind.UNKNOWN  # the last kind that it had
    assignor: str | None = None  # the last one seen
    tasks: int = 0  # of classic Streams, as last seen
    subtopologies: tuple[Subtopology, ...] = ()  # of a Streams group, as last seen
    topics: tuple[str, ...] = ()  # the members' subscriptions, as last seen
    ignored: tuple[str, ...] = ()  # topics with commits of the group that nobody in it subscribes to
    doubted: bool = False  # commits that were there were not in the last answer
    committed_once: bool = False
    gone_at: float | None = None  # since when a group that had commits is not there
    described_at: float = -float("inf")
    every_kind_at: float = -float("inf")  # when a group of no known kind was last asked for as every kind
    fetch_key: tuple[int, tuple[str, ...] | None] = (-1, None)
    fetch_item: bytes = b""

    def learn(self, kind: GroupKind, facts: GroupFacts) -> None:
        if kind is not self.was:  # made anew as another kind: what was seen before is another group's
            self.was, self.assignor, self.tasks, self.subtopologies, self.topics = kind, None, 0, (), ()
        self.kind, self.facts = kind, facts
        if facts.assignor:
            self.assignor = facts.assignor
        if facts.tasks:
            self.tasks = facts.tasks
        if facts.subtopologies:
            self.subtopologies = facts.subtopologies
        if facts.topics is not None:
            self.topics = facts.topics

    def forget_kind(self) -> None:
        self.kind, self.facts, self.body_hash = GroupKind.UNKNOWN, GONE, 0

    def ceiling(self, partition_counts: Iterable[int], topology: Topology) -> int:
        """How many consumers can have work; 0 when that is not known, and for share groups, where nothing limits it."""
        if self.was is GroupKind.SHARE:
            return 0
        if self.was is GroupKind.STREAMS:
            return task_count(self.subtopologies, topology.partition_count)
        return self.tasks or partition_ceiling(self.assignor, partition_counts)


@dataclass(slots=True)
class Fetched:
    """Positions of one group. `complete`: all it ever had, so what is not here was never there.

    `lags` (share groups only): what the broker says is left, -1 where it does not.
    """

    committed: wire.Committed
    complete: bool
    lags: wire.Committed | None = None


class Coordinators:
    """One round of questions to the coordinators of a set of groups. `problems` are by group."""

    def __init__(self, brokers: Brokers, topology: Topology, memories: Mapping[str, GroupMemory]) -> None:
        self._brokers = brokers
        self._topology = topology
        self._memories = memories
        self.fetched: dict[str, Fetched] = {}
        self.problems: dict[str, Problem] = {}
        self.asked_as_every_kind: set[str] = set()
        self.spares_one = False
        """Whether one coordinator need not be asked for descriptions: those of half a minute ago stand."""

    async def ask(self, wanted: Wanted) -> None:
        """`wanted`: each group's topics, None for all it committed. Raises BrokerFailed when none answers."""
        for group, error in (await self._topology.ensure_coordinators(wanted)).items():
            self._group_error(group, error)
        nodes = dict(self._topology.by_coordinator(wanted))
        spared = self._spared(nodes)
        await asyncio.gather(
            *(
                self._ask(node, {group: wanted[group] for group in groups}, described=node == spared)
                for node, groups in nodes.items()
            )
        )

    def _spared(self, nodes: Mapping[int, Iterable[str]]) -> int | None:
        if not self.spares_one:
            return None
        enough = asyncio.get_running_loop().time() - _DESCRIPTIONS_STAND_SECONDS
        known = [
            node
            for node, groups in nodes.items()
            if all(
                memory.kind is not GroupKind.UNKNOWN and memory.described_at > enough
                for memory in map(self._memories.__getitem__, groups)
            )
        ]
        return random.choice(known) if known else None

    def problem(self, group: str) -> Problem | None:
        """Why there are no commits or no description of the group."""
        if (problem := self.problems.get(group)) is not None or group in self.fetched:
            return problem
        message = f"no answer about the commits of group {group}"
        return Problem(SourceReason.PARTIAL_READING, message, True)

    async def _ask(self, node: int, wanted: Wanted, *, described: bool) -> None:
        await Slices().breathe()
        shares = self._shares(wanted)
        await asyncio.gather(
            self._fetch(node, {group: topics for group, topics in wanted.items() if group not in shares}),
            self._fetch_shares(node, shares),
            self._describe(node, [] if described else list(wanted)),
        )
        now = self._shares(wanted)
        if now.keys() == shares.keys():
            return
        # A kind has come out otherwise than it was thought to be: its positions were asked for in the wrong way.
        found = {group: topics for group, topics in now.items() if group not in shares}
        changed = {g: topics for g, topics in shares.items() if g not in now}
        changed = {g: topics for g, topics in changed.items() if self._memories[g].kind is not GroupKind.UNKNOWN}
        for group in (*found, *changed):
            self.fetched.pop(group, None)
            self.problems.pop(group, None)
        await asyncio.gather(self._fetch_shares(node, found), self._fetch(node, changed))

    def _shares(self, wanted: Wanted) -> Wanted:
        return {group: topics for group, topics in wanted.items() if self._memories[group].kind is GroupKind.SHARE}

    async def _fetch(self, node: int, wanted: Wanted) -> None:
        """Of groups whose commits seem to have gone, the stable ones.

        A coordinator that has just taken over was seen to know nothing of a group for seconds, on Kafka 4.1. It answers
        from what it knows to be replicated (KAFKA-14499); a stable read (KIP-447) does not settle for that.
        """
        doubted = {group: topics for group, topics in wanted.items() if self._memories[group].doubted}
        certain = {group: topics for group, topics in wanted.items() if group not in doubted}
        await asyncio.gather(
            self._fetch_positions(node, certain, stable=False), self._fetch_positions(node, doubted, stable=True)
        )

    async def _fetch_positions(self, node: int, wanted: Wanted, *, stable: bool) -> None:
        if not wanted:
            return
        items = [self._item(self._memories[group], topics) for group, topics in wanted.items()]
        slices = Slices()
        await slices.breathe()
        try:
            answer = await self._brokers.ask(node, wire.offset_fetch(items, stable=stable))
            for seen in wire.read_committed(answer.data):
                self._note(seen.group, seen.error, seen.committed, seen.partition_errors, wanted)
                await slices.breathe()
        except (BrokerFailed, *DECODE_ERRORS, KeyError) as error:
            self._failed(node, wanted, error)

    async def _fetch_shares(self, node: int, wanted: Wanted) -> None:
        if not wanted:
            return
        items = [self._item(self._memories[group], topics) for group, topics in wanted.items()]
        slices = Slices()
        try:
            answer = await self._brokers.ask(node, share_offsets(items))
            for seen in read_share_offsets(answer):
                self._note(seen.group, seen.error, seen.starts, seen.partition_errors, wanted, seen.lags)
                await slices.breathe()
        except (BrokerFailed, *DECODE_ERRORS, KeyError) as error:
            self._failed(node, wanted, error)

    def _note(
        self,
        group: str,
        error: int,
        committed: wire.Committed,
        partition_errors: Mapping[str, int],
        wanted: Wanted,
        lags: wire.Committed | None = None,
    ) -> None:
        if error == codes.GROUP_ID_NOT_FOUND:
            self.fetched[group] = Fetched({}, complete=True, lags=lags)
        elif error:
            self._group_error(group, error)
        else:
            for topic, code in partition_errors.items():
                self._topic_error(group, topic, code)
            self.fetched[group] = Fetched(committed, complete=wanted[group] is None, lags=lags)

    def _item(self, memory: GroupMemory, topics: tuple[str, ...] | None) -> bytes:
        key = (self._topology.generation, topics)
        if memory.fetch_key != key:
            counts: dict[str, int] | None = None
            if topics is not None:
                found = {name: self._topology.topic(name) for name in topics}
                counts = {name: len(topic.leaders) for name, topic in found.items() if topic and topic.leaders}
            memory.fetch_key, memory.fetch_item = key, wire.fetch_item(memory.name, counts)
        return memory.fetch_item

    async def _describe(self, node: int, groups: list[str]) -> None:
        now = asyncio.get_running_loop().time()
        asked: dict[GroupKind, list[str]] = {kind: [] for kind in DESCRIPTIONS}
        unknown = []
        for group in groups:
            memory = self._memories[group]
            if memory.kind is GroupKind.UNKNOWN:
                unknown.append(memory)
            else:
                asked[memory.kind].append(group)
        every = any(now - memory.every_kind_at >= _EVERY_KIND_AGAIN_SECONDS for memory in unknown)
        for kind, names in asked.items():
            if names or every or kind is GroupKind.CLASSIC:
                names += [memory.name for memory in unknown]
        if every:
            for memory in unknown:
                memory.every_kind_at = now
            self.asked_as_every_kind.update(memory.name for memory in unknown)
        remembered = set(groups) - {memory.name for memory in unknown}
        try:
            lost = await self._describe_as(node, asked)
            # A remembered kind that does not know its group any more: perhaps it came back as another kind.
            again = {kind: [g for k, each in lost.items() if k is not kind for g in each] for kind in DESCRIPTIONS}
            again = {kind: [group for group in names if group in remembered] for kind, names in again.items()}
            await self._describe_as(node, again)
            self.asked_as_every_kind.update(*again.values())
            for group in groups:
                self._memories[group].described_at = now
        except (BrokerFailed, *DECODE_ERRORS, KeyError) as error:
            self._failed(node, groups, error)

    async def _describe_as(self, node: int, asked: Mapping[GroupKind, list[str]]) -> dict[GroupKind, set[str]]:
        """Returns the groups that are not of the kind that they were asked for as."""
        kinds = [kind for kind, names in asked.items() if names]
        lost = await asyncio.gather(*(self._describe_kind(node, kind, asked[kind]) for kind in kinds))
        return dict(zip(kinds, lost, strict=True))

    async def _describe_kind(self, node: int, kind: GroupKind, names: list[str]) -> set[str]:
        how = DESCRIPTIONS[kind]
        try:
            answer = await self._brokers.ask(node, how.request(names))
        except RequestUnsupported:
            if kind is GroupKind.CLASSIC:
                raise
            return self._lost(set(names), kind)  # an older broker, or a protocol that is off: no such groups
        lost: set[str] = set()
        slices = Slices()
        for seen in how.read(answer):
            if seen.error in _NOT_OF_THIS_KIND:
                lost.add(seen.group)
            elif seen.error:
                self._group_error(seen.group, seen.error)
                if self._memories[seen.group].kind is GroupKind.UNKNOWN:  # it is of this kind: hear the same next time
                    self._memories[seen.group].every_kind_at = -float("inf")
            else:
                memory = self._memories[seen.group]
                if memory.kind is kind and memory.body_hash == hash(seen.body):
                    await slices.breathe()
                    continue
                facts = how.parse(seen.body, answer.version)
                if facts.state is GroupState.DEAD:  # the classic request's word for a group that is not of its kind
                    lost.add(seen.group)
                elif memory.kind in (kind, GroupKind.UNKNOWN):  # else another request has just answered for it
                    memory.learn(kind, facts)
                    memory.body_hash = hash(seen.body)
            await slices.breathe()
        return self._lost(lost, kind)

    def _lost(self, groups: set[str], kind: GroupKind) -> set[str]:
        for group in groups:
            if self._memories[group].kind is kind:
                self._memories[group].forget_kind()
        return groups

    def _failed(self, node: int, groups: Iterable[str], error: Exception) -> None:
        message, again = f"broker {node}'s answer cannot be read: {error!r}", False
        reason = SourceReason.PARTIAL_READING
        if isinstance(error, BrokerFailed):
            message, again, reason = f"{error}; it coordinates the group", True, error.reason
        if again:
            self._topology.leaders_outdated()  # the brokers' addresses are in the same answer
        for group in groups:
            if again:
                self._topology.coordinator_lost(group)
            self.problems[group] = Problem(reason, message, again)

    def _group_error(self, group: str, error: int) -> None:
        if error == codes.GROUP_AUTHORIZATION_FAILED:
            message = f"the right Describe on group {group} is missing: {codes.words(error)}"
            self.problems[group] = Problem(SourceReason.AUTHORIZATION_FAILED, message, False)
            return
        if error == codes.TOPIC_AUTHORIZATION_FAILED:
            message = f"the right Describe on a topic of group {group} is missing: {codes.words(error)}"
            self.problems[group] = Problem(SourceReason.AUTHORIZATION_FAILED, message, False)
            return
        moved = error in codes.COORDINATOR_MOVED
        if moved:
            self._topology.coordinator_lost(group)
        message = f"group {group} cannot be read: {codes.words(error)}"
        self.problems[group] = Problem(SourceReason.PARTIAL_READING, message, moved)

    def _topic_error(self, group: str, topic: str, error: int) -> None:
        if error == codes.TOPIC_AUTHORIZATION_FAILED:
            message = f"the right Describe on topic {topic} is missing: {codes.words(error)}"
            self.problems[group] = Problem(SourceReason.AUTHORIZATION_FAILED, message, False)
            return
        message = f"commits of group {group} on {topic} cannot be read: {codes.words(error)}"
        again = error in codes.LEADER_MOVED
        if again:
            self._topology.leaders_outdated()
        self.problems[group] = Problem(SourceReason.PARTIAL_READING, message, again)
