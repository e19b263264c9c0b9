"""Asks the coordinators for commits and descriptions: one request of each sort per broker for all groups.

A group's kind is remembered, so that later readings ask the one request that fits. A group that neither
knows (it does not exist yet, or no more) is asked for as a classic one each time, and as a KIP-848 one when
it commits, when such a request goes to that broker anyway, and once a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consumer_autoscaler.decision.reasons import GroupState, SourceReason
from consumer_autoscaler.sources.kafka import codes, wire
from consumer_autoscaler.sources.kafka.codec import DECODE_ERRORS
from consumer_autoscaler.sources.kafka.connection import BrokerFailed, Brokers, RequestUnsupported
from consumer_autoscaler.sources.kafka.groups import (
    GONE,
    GroupFacts,
    GroupKind,
    parse_classic,
    parse_consumer,
)
from consumer_autoscaler.sources.kafka.offsets import Problem
from consumer_autoscaler.sources.kafka.slices import Slices
from consumer_autoscaler.sources.kafka.topology import Topology

_OTHER_KIND_AGAIN_SECONDS = 60.0
_NOT_OF_THIS_KIND = (codes.GROUP_ID_NOT_FOUND, codes.UNSUPPORTED_VERSION)


@dataclass(slots=True)
class GroupMemory:
    """What is remembered of a group from reading to reading."""

    name: str
    kind: GroupKind = GroupKind.UNKNOWN
    facts: GroupFacts = GONE
    body_hash: int = 0
    assignor: str | None = None  # the last one seen
    topics: tuple[str, ...] = ()  # the members' subscriptions, as last seen
    committed_once: bool = False
    gone_at: float | None = None  # since when a group that had commits is not there
    other_kind_at: float = -float("inf")  # when a group of no known kind was last asked for as a KIP-848 one
    fetch_key: tuple[int, tuple[str, ...] | None] = (-1, None)
    fetch_item: bytes = b""

    def learn(self, kind: GroupKind, facts: GroupFacts) -> None:
        self.kind, self.facts = kind, facts
        if facts.assignor:
            self.assignor = facts.assignor
        if facts.topics is not None:
            self.topics = facts.topics

    def forget_kind(self) -> None:
        self.kind, self.facts, self.body_hash = GroupKind.UNKNOWN, GONE, 0


@dataclass(slots=True)
class Fetched:
    """Commits of one group. `complete`: all it ever committed, so what is not here was never committed."""

    committed: wire.Committed
    complete: bool


class Coordinators:
    """One round of questions to the coordinators of a set of groups. `problems` are by group."""

    def __init__(self, brokers: Brokers, topology: Topology, memories: Mapping[str, GroupMemory]) -> None:
        self._brokers = brokers
        self._topology = topology
        self._memories = memories
        self.fetched: dict[str, Fetched] = {}
        self.problems: dict[str, Problem] = {}
        self.asked_as_consumer: set[str] = set()

    async def ask(self, wanted: Mapping[str, tuple[str, ...] | None]) -> None:
        """`wanted`: each group's topics, None for all it committed. Raises BrokerFailed when none answers."""
        for group, error in (await self._topology.ensure_coordinators(wanted)).items():
            self._group_error(group, error)
        rounds = []
        for node, groups in self._topology.by_coordinator(wanted):
            rounds.append(self._fetch(node, {group: wanted[group] for group in groups}))
            rounds.append(self._describe(node, groups))
        await asyncio.gather(*rounds)

    def problem(self, group: str) -> Problem | None:
        """Why there are no commits or no description of the group."""
        if (problem := self.problems.get(group)) is not None or group in self.fetched:
            return problem
        message = f"no answer about the commits of group {group}"
        return Problem(SourceReason.PARTIAL_READING, message, True)

    async def _fetch(self, node: int, wanted: Mapping[str, tuple[str, ...] | None]) -> None:
        items = [self._item(self._memories[group], topics) for group, topics in wanted.items()]
        slices = Slices()
        try:
            answer = await self._brokers.ask(node, wire.offset_fetch(items))
            for seen in wire.read_committed(answer.data):
                if seen.error == codes.GROUP_ID_NOT_FOUND:
                    self.fetched[seen.group] = Fetched({}, complete=True)
                elif seen.error:
                    self._group_error(seen.group, seen.error)
                else:
                    for topic, error in seen.partition_errors.items():
                        self._topic_error(seen.group, topic, error)
                    self.fetched[seen.group] = Fetched(seen.committed, complete=wanted[seen.group] is None)
                await slices.breathe()
        except (BrokerFailed, *DECODE_ERRORS, KeyError) as error:
            self._failed(node, wanted, error)

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
        memories = [self._memories[group] for group in groups]
        unknown = [m for m in memories if m.kind is GroupKind.UNKNOWN]
        consumer = [m.name for m in memories if m.kind is GroupKind.CONSUMER]
        due = [m for m in unknown if now - m.other_kind_at >= _OTHER_KIND_AGAIN_SECONDS]
        if consumer or due:
            consumer += [m.name for m in unknown]
            for memory in unknown:
                memory.other_kind_at = now
        classic = [m.name for m in memories if m.kind is not GroupKind.CONSUMER]
        remembered = {m.name for m in memories if m.kind is not GroupKind.UNKNOWN}
        try:
            lost_consumer, lost_classic = await asyncio.gather(
                self._describe_consumer(node, consumer), self._describe_classic(node, classic)
            )
            # A remembered kind that does not know its group any more: perhaps it came back as the other kind.
            await asyncio.gather(
                self._describe_consumer(node, lost_classic & remembered),
                self._describe_classic(node, lost_consumer & remembered),
            )
        except (BrokerFailed, *DECODE_ERRORS, KeyError) as error:
            self._failed(node, groups, error)

    async def _describe_consumer(self, node: int, groups: Iterable[str]) -> set[str]:
        """Returns the groups that are not of this kind."""
        names = list(groups)
        if not names:
            return set()
        try:
            answer = await self._brokers.ask(node, wire.describe_consumer(names))
        except RequestUnsupported:  # a broker before 3.7 has no groups of this kind
            answer = None
        self.asked_as_consumer.update(names)
        lost: set[str] = set()
        slices = Slices()
        for seen in () if answer is None else wire.read_consumer(answer):
            if seen.error in _NOT_OF_THIS_KIND:
                lost.add(seen.group)
            elif seen.error:
                self._group_error(seen.group, seen.error)
            else:
                memory = self._memories[seen.group]
                if memory.kind is not GroupKind.CONSUMER or memory.body_hash != hash(seen.body):
                    facts = parse_consumer(seen.body, answer.version if answer else 0)
                    memory.learn(GroupKind.CONSUMER, facts)
                    memory.body_hash = hash(seen.body)
            await slices.breathe()
        return self._lost(set(names) if answer is None else lost, GroupKind.CONSUMER)

    async def _describe_classic(self, node: int, groups: Iterable[str]) -> set[str]:
        """Returns the groups that are not of this kind: Dead."""
        names = list(groups)
        if not names:
            return set()
        answer = await self._brokers.ask(node, wire.describe_classic(names))
        lost: set[str] = set()
        slices = Slices()
        for seen in wire.read_classic(answer.data):
            if seen.error == codes.GROUP_ID_NOT_FOUND:
                lost.add(seen.group)
            elif seen.error:
                self._group_error(seen.group, seen.error)
            else:
                memory = self._memories[seen.group]
                if memory.kind is GroupKind.CLASSIC and memory.body_hash == hash(seen.body):
                    continue
                facts = parse_classic(seen.body)
                if facts.state is GroupState.DEAD:
                    lost.add(seen.group)
                elif memory.kind is not GroupKind.CONSUMER:  # else the other request has just answered for it
                    memory.learn(GroupKind.CLASSIC, facts)
                    memory.body_hash = hash(seen.body)
            await slices.breathe()
        return self._lost(lost, GroupKind.CLASSIC)

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
