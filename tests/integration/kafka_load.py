"""Records and commits under which brokers are made to fail, and what a reading of such a group may say at a time.

One writer per partition and per group, so all that is true of them is known: ends never fall below what was
acknowledged, commits are the last acknowledged one or one that was sent after it. Nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from tests.bench.crowd import coordinator_partition, one_record

from consumer_autoscaler.decision.values import GroupReading

OFFSETS = "__consumer_offsets"
_ACK_SECONDS = 6.0  # a broker that went is out of the in-sync replicas after three
_TICK_SECONDS = 0.2
_COMMIT_SECONDS = 1.0


class Marks:
    """A number that only grows, over time."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._values: list[int] = []

    def add(self, value: int) -> None:
        self._times.append(time.time())
        self._values.append(max(value, self._values[-1] if self._values else value))

    def at(self, when: float) -> int:
        """The value by then, -1 before the first."""
        place = bisect_right(self._times, when)
        return self._values[place - 1] if place else -1

    def passed(self, value: int) -> float:
        """When the number grew beyond the value; infinite when it has not."""
        place = bisect_right(self._values, value)
        return self._times[place] if place < len(self._times) else float("inf")


class Load:
    """`async with Load(bootstrap, {group: topic}, {topic: partitions}) as load:` keeps both coming.

    `load.away` names brokers that are not asked; set it while one is made to fail.
    """

    def __init__(self, bootstrap: str, groups: Mapping[str, str], partitions: Mapping[str, int]) -> None:
        self._addresses = [address.rpartition(":")[::2] for address in bootstrap.split(",")]
        self._groups = groups
        self._partitions = partitions
        self.away: set[int] = set()
        self.leaders: dict[str, list[int]] = {}
        self._connections: dict[int, AIOKafkaConnection] = {}
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._acknowledged: dict[tuple[str, int], Marks] = defaultdict(Marks)
        self._committed: dict[tuple[str, int], Marks] = defaultdict(Marks)
        self._sent: dict[tuple[str, int], Marks] = defaultdict(Marks)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._look()
        for topic, count in self._partitions.items():
            for partition in range(count):
                self._acknowledged[topic, partition].add(0)
        self._tasks = [asyncio.create_task(self._looking())]
        self._tasks += [asyncio.create_task(self._produce(node)) for node in range(len(self._addresses))]
        self._tasks += [asyncio.create_task(self._commit(group)) for group in self._groups]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections.values():
            connection.close()
        if error is None:
            assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended

    def coordinator(self, group: str) -> int:
        offsets = self.leaders[OFFSETS]
        return offsets[coordinator_partition(group, len(offsets))]

    def served_by(self, group: str) -> set[int]:
        """The brokers that a reading of the group needs."""
        return {self.coordinator(group), *self.leaders[self._groups[group]]}

    @property
    def whole(self) -> bool:
        """Whether every partition is led by a broker that is not away."""
        return all(leader >= 0 and leader not in self.away for each in self.leaders.values() for leader in each)

    @property
    def committing(self) -> bool:
        """Whether every group has a commit on all its partitions."""
        return all(
            (group, partition) in self._committed
            for group, topic in self._groups.items()
            for partition in range(self._partitions[topic])
        )

    def wrong(self, group: str, reading: GroupReading, *, after: float, arrived: float) -> str:
        """What is not true in a reading that was begun after a time and came at another; empty when all is."""
        topic = self._groups[group]
        if len(reading.partitions) != self._partitions[topic]:
            return f"{group}: {len(reading.partitions)} partitions"
        for p in reading.partitions:
            committed, end = p.committed_offset, p.end_offset
            least, most = self._committed[group, p.partition].at(after), self._sent[group, p.partition].at(arrived)
            if committed is None or not least <= committed <= most:
                ago = arrived - self._committed[group, p.partition].passed(committed or 0)
                true = f"{least} to {most}, and {committed} until {ago:.1f} s before"
                return f"{group} (broker {self.coordinator(group)}) {topic}-{p.partition}: {committed}, true is {true}"
            if end < (written := self._acknowledged[topic, p.partition].at(reading.at)):
                return f"{group} {topic}-{p.partition}: end {end}, written {written}"
            if p.lag_messages != end - committed:
                return f"{group} {topic}-{p.partition}: lag {p.lag_messages}, {committed} to {end}"
        return ""

    async def _ask(self, node: int, request: Any) -> Any:
        """Over one connection per broker, made when needed. Raises KafkaError, OSError (TimeoutError is one)."""
        async with self._locks[node]:
            connection = self._connections.get(node)
            if connection is None or not connection.connected():
                host, port = self._addresses[node]
                async with asyncio.timeout(2):
                    connection = await create_conn(host, int(port), client_id="load", request_timeout_ms=2000)
                self._connections[node] = connection
        try:
            async with asyncio.timeout(_ACK_SECONDS):
                return await connection.send(request)
        except (KafkaError, OSError):
            connection.close()
            raise

    async def _look(self) -> None:
        """Raises when none answers."""
        names = [*self._partitions, OFFSETS]
        nodes = [node for node in range(len(self._addresses)) if node not in self.away]
        answer = await self._ask(random.choice(nodes), MetadataRequest(names, allow_auto_topic_creation=False))
        for code, name, _, rows in answer.topics:
            if not code:
                leaders = {row[1]: row[2] for row in rows}
                self.leaders[name] = [leaders[partition] for partition in range(len(leaders))]

    async def _looking(self) -> None:
        while True:
            await asyncio.sleep(0.3)
            with suppress(KafkaError, OSError):
                await self._look()

    async def _produce(self, node: int) -> None:
        """One record to each partition that the broker leads, again and again."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            rows = {topic: [p for p, at in enumerate(self.leaders[topic]) if at == node] for topic in self._partitions}
            batch = one_record()
            topics = [(topic, [(p, batch) for p in partitions]) for topic, partitions in rows.items() if partitions]
            if not topics or node in self.away:
                continue
            with suppress(KafkaError, OSError):
                answer = await self._ask(node, ProduceRequest(None, -1, int(_ACK_SECONDS * 1000), topics))
                for topic, results in answer.topics:
                    for partition, code, offset, *_ in results:
                        if not code:
                            self._acknowledged[topic, partition].add(offset + 1)

    async def _commit(self, group: str) -> None:
        """Commits a little less than what was written, again and again."""
        topic = self._groups[group]
        last = [0] * self._partitions[topic]
        while True:
            for partition, before in enumerate(last):
                written = self._acknowledged[topic, partition].at(time.time())
                last[partition] = max(before, written - random.randrange(20))
                self._sent[group, partition].add(last[partition])
            rows = [(partition, offset, "") for partition, offset in enumerate(last)]
            with suppress(KafkaError, OSError):
                node = self.coordinator(group)
                if node >= 0 and node not in self.away:
                    request = OffsetCommitRequest(group, -1, "", -1, [(topic, rows)])
                    self._note(group, last, (await self._ask(node, request)).topics)
            await asyncio.sleep(_COMMIT_SECONDS * random.uniform(0.5, 1.5))

    def _note(self, group: str, offsets: Iterable[int], topics: Any) -> None:
        accepted = {partition for _, results in topics for partition, code in results if not code}
        for partition, offset in enumerate(offsets):
            if partition in accepted:
                self._committed[group, partition].add(offset)
