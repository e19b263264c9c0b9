"""What is known about a cluster between readings: who leads each partition, who coordinates each group.

Both are read when they are missing, when an answer says that they are out of date, and leaders also every
70 s (five times in five minutes at most), so that added partitions are seen. Only topics somebody watches
are asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from consumer_autoscaler.sources.kafka.broker import BrokerFailed
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.slices import Slices
from consumer_autoscaler.sources.kafka.wire import codes
from consumer_autoscaler.sources.kafka.wire import requests as wire
from consumer_autoscaler.sources.kafka.wire.codec import DECODE_ERRORS

METADATA_MAX_AGE_SECONDS = 70.0
MISSING_FIRST_SECONDS, MISSING_AGAIN_SECONDS = (
    1.0,
    10.0,
)  # when a topic that is not there is looked for again
_LEAST_SECONDS_BETWEEN = 0.25  # forced refreshes: an error that lasts must not become a loop
_FORGET_AFTER_SECONDS = 900.0  # a topic nobody asked for that long is not asked for any more
_COORDINATOR_RETRIES = 3  # the first look at a new cluster makes the brokers create the offsets topic
_COORDINATOR_RETRY_SECONDS = 0.4


class Topic:
    """One topic as the metadata had it. `error` 0 means that `leaders` is valid.

    `starts[p]` is the start offset of partition p as last read, -1 for not known.
    """

    __slots__ = ("error", "items", "leaders", "looks_missing", "name", "starts", "topic_id", "used_at")

    def __init__(self, name: str, used_at: float) -> None:
        self.name = name
        self.used_at = used_at
        self.error = 0
        self.topic_id = b""
        self.leaders: tuple[int, ...] = ()
        self.starts: list[int] = []
        self.items: dict[int, bytes] = {}
        self.looks_missing = 0

    @property
    def missing(self) -> bool:
        return self.error == codes.UNKNOWN_TOPIC_OR_PARTITION

    def apply(self, seen: wire.TopicMetadata) -> bool:
        """Takes what the metadata says; True when the number of partitions is another one."""
        self.error = seen.error
        self.looks_missing = self.looks_missing + 1 if self.missing else 0
        if self.missing:
            changed, self.leaders, self.starts, self.items = bool(self.leaders), (), [], {}
            return changed
        if seen.error or (seen.leaders == self.leaders and seen.topic_id == self.topic_id):
            return False
        changed = len(seen.leaders) != len(self.leaders)
        if seen.topic_id != self.topic_id:  # deleted and made again: its offsets have nothing to do with the old ones
            self.starts = []
        self.starts = (self.starts + [-1] * len(seen.leaders))[: len(seen.leaders)]
        self.leaders, self.topic_id = seen.leaders, seen.topic_id
        by_leader: dict[int, list[int]] = {}
        for partition, leader in enumerate(self.leaders):
            if leader >= 0:
                by_leader.setdefault(leader, []).append(partition)
        self.items = {
            leader: wire.list_item(self.name, partitions, wire.END_OFFSETS) for leader, partitions in by_leader.items()
        }
        return changed


class Topology:
    """Leaders and coordinators of one cluster. `generation` changes when a number of partitions does."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._topics: dict[str, Topic] = {}
        self._coordinators: dict[str, int] = {}
        self._read_at = -float("inf")
        self._outdated = True
        self._metadata_lock = asyncio.Lock()
        self.generation = 0
        self.routine_looks = 0
        """How often the metadata was read again for nothing but its age."""

    def topic(self, name: str) -> Topic | None:
        """None while it was never asked for."""
        return self._topics.get(name)

    def partition_count(self, name: str) -> int:
        """0 for a topic that is not known or not there."""
        topic = self._topics.get(name)
        return len(topic.leaders) if topic is not None else 0

    def usable_topics(self) -> list[Topic]:
        """All topics that somebody asked for of late and that are there."""
        return [topic for topic in self._topics.values() if topic.leaders and not topic.error]

    def leaders_outdated(self) -> None:
        """The next `ensure_topics` reads the metadata again."""
        self._outdated = True

    def coordinator_lost(self, group: str) -> None:
        self._coordinators.pop(group, None)

    async def ensure_topics(self, names: Iterable[str]) -> None:
        """Makes `topic(name)` answer for all `names`; raises BrokerFailed."""
        now = asyncio.get_running_loop().time()
        due = False
        for name in names:
            topic = self._topics.get(name)
            if topic is None:
                topic, due = Topic(name, now), True
                self._topics[name] = topic
            elif topic.missing or topic.error:
                wait = MISSING_FIRST_SECONDS if topic.looks_missing < 2 else MISSING_AGAIN_SECONDS
                due = due or now - self._read_at >= wait
            elif not topic.leaders:
                due = True
            topic.used_at = now
        due = due or (self._outdated and now - self._read_at >= _LEAST_SECONDS_BETWEEN)
        if due:
            await self._refresh(now)
        elif now - self._read_at >= METADATA_MAX_AGE_SECONDS:
            await self._refresh(now)
            self.routine_looks += 1

    async def _refresh(self, wanted_at: float) -> None:
        async with self._metadata_lock:
            if self._read_at > wanted_at:  # somebody else's refresh began after this one was wanted
                return
            loop = asyncio.get_running_loop()
            begin = loop.time()
            self._outdated = False
            for name in [n for n, t in self._topics.items() if begin - t.used_at > _FORGET_AFTER_SECONDS]:
                del self._topics[name]
            asked = list(self._topics)
            slices = Slices()
            try:
                cursor = await self._brokers.ask_metadata(asked)
                for seen in wire.read_topics(cursor):
                    if (topic := self._topics.get(seen.name)) is not None and topic.apply(seen):
                        self.generation += 1
                    await slices.breathe()
            except BrokerFailed:
                self._outdated = True
                raise
            except DECODE_ERRORS as error:
                self._outdated = True
                raise BrokerFailed(f"a broker's metadata cannot be read: {error}") from error
            self._read_at = begin

    async def ensure_coordinators(self, groups: Iterable[str]) -> dict[str, int]:
        """Finds the coordinators that are not known; returns the groups that have none, with the error.

        Raises BrokerFailed when no broker answers at all.
        """
        missing = [group for group in groups if group not in self._coordinators]
        errors: dict[str, int] = {}
        for attempt in range(_COORDINATOR_RETRIES):
            if not missing:
                break
            if attempt:  # nothing to be found yet: the brokers are making the offsets topic
                await asyncio.sleep(_COORDINATOR_RETRY_SECONDS)
            errors = {}
            answer = await self._ask_any(wire.find_coordinator(missing))
            try:
                for group, error, address in wire.read_coordinators(answer.data):
                    if error:
                        errors[group] = error
                    else:
                        self._brokers.learn(address)
                        self._coordinators[group] = address.node_id
            except DECODE_ERRORS as error:
                raise BrokerFailed(f"an answer about coordinators cannot be read: {error}") from error
            if self._coordinators:
                break
            missing = [group for group in missing if errors.get(group) == codes.COORDINATOR_NOT_AVAILABLE]
        return errors

    async def _ask_any(self, request: wire.Request) -> wire.Answer:
        """Asks any broker; when none answers, once more with the brokers that the bootstrap addresses name."""
        try:
            return await self._brokers.ask_any(request)
        except BrokerFailed:
            await self._refresh(asyncio.get_running_loop().time())
            return await self._brokers.ask_any(request)

    def by_coordinator(self, groups: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        """The groups whose coordinator is known, one list per coordinator."""
        found: dict[int, list[str]] = {}
        for group in groups:
            if (node := self._coordinators.get(group)) is not None:
                found.setdefault(node, []).append(group)
        yield from found.items()
