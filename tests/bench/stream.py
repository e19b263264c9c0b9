"""A stream with many consumer groups for little effort: one member per group, all played by one program.

Each group has a real member (join, sync, commits of its generation), so the brokers and the operator see Stable groups
with subscriptions; the member does not fetch, it commits the offsets that it is told. A commit counts as a heartbeat.

As a program it makes topics, groups and a constant traffic, away from what is measured:
python -m tests.bench.stream --bootstrap … --groups 1000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError, MemberIdRequired, for_code
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest

from bed.kafka_admin import Topic, create_topics

_SESSION_MS = 900_000  # a group that need not commit lives as long as a benchmark
_NEVER_MS = 24 * 3_600_000  # no metadata refresh of our own among the requests that are counted
_TIMEOUT_SECONDS = 300.0
_PARALLEL_JOINS = 12  # a broker works on one request of a connection at a time, so more would only queue


class _Member(NamedTuple):
    coordinator: int
    generation: int
    member_id: str
    topic: str


class Members:
    """`async with Members(bootstrap, {group: topic}, partitions)`: every group has a member on all partitions."""

    def __init__(self, bootstrap: str, topics: Mapping[str, str], partitions: Mapping[str, int]) -> None:
        self._topics = topics
        self._partitions = partitions
        self._client = AIOKafkaClient(bootstrap_servers=bootstrap, metadata_max_age_ms=_NEVER_MS)
        self._members: dict[str, _Member] = {}

    async def __aenter__(self) -> Members:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await self._client.bootstrap()
            gate = asyncio.Semaphore(_PARALLEL_JOINS)
            await asyncio.gather(*(self._join(group, gate) for group in self._topics))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def commit(self, group: str, offsets: Mapping[int, int]) -> None:
        """Commits partition -> offset. Raises KafkaError."""
        member = self._members[group]
        rows = [(partition, offset, "") for partition, offset in offsets.items()]
        request = OffsetCommitRequest(group, member.generation, member.member_id, -1, [(member.topic, rows)])
        answer = await self._client.send(member.coordinator, request)
        for _, results in answer.topics:
            for _, code in results:
                _raise(code, group)

    async def _join(self, group: str, gate: asyncio.Semaphore) -> None:
        """Tries again while the offsets topic is being created or moves."""
        while True:
            try:
                async with gate:
                    self._members[group] = await self._joined(group)
                await self.commit(group, dict.fromkeys(range(self._partitions[self._topics[group]]), 0))
                return
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(0.3)

    async def _joined(self, group: str) -> _Member:
        topic = self._topics[group]
        coordinator = await self._coordinator(group)
        subscription = ConsumerProtocolMemberMetadata(0, [topic], b"").encode()
        joined = await self._send_join(coordinator, group, "", subscription)
        if for_code(joined.error_code) is MemberIdRequired:
            joined = await self._send_join(coordinator, group, joined.member_id, subscription)
        _raise(joined.error_code, group)
        assignment = ConsumerProtocolMemberAssignment(0, [(topic, list(range(self._partitions[topic])))], b"")
        request = SyncGroupRequest(
            group, joined.generation_id, joined.member_id, None, [(joined.member_id, assignment.encode())]
        )
        _raise((await self._client.send(coordinator, request)).error_code, group)
        return _Member(coordinator, joined.generation_id, joined.member_id, topic)

    async def _send_join(self, coordinator: int, group: str, member_id: str, subscription: bytes) -> Any:
        request = JoinGroupRequest(
            group, _SESSION_MS, _SESSION_MS, member_id, None, "consumer", [("range", subscription)]
        )
        return await self._client.send(coordinator, request)

    async def _coordinator(self, group: str) -> int:
        """Waits while the offsets topic is being created."""
        while True:
            try:
                node: int = await self._client.coordinator_lookup(CoordinationType.GROUP, group)
                if await self._client.ready(node):
                    return node
                await self._client.force_metadata_update()
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(0.2)


def _raise(code: int, group: str) -> None:
    if code:
        raise for_code(code)(group)


class Traffic:
    """A constant rate into every topic, round robin over its partitions, and commits that follow it.

    Every group commits each `commit_seconds` what was acknowledged by then; the groups' moments are spread evenly.
    """

    def __init__(
        self,
        bootstrap: str,
        members: Members,
        groups: Mapping[str, str],
        partitions: Mapping[str, int],
        *,
        records_per_second: float,
        commit_seconds: float,
    ) -> None:
        self._members = members
        self._groups = list(groups.items())
        self._partitions = partitions
        self._interval = 1.0 / (records_per_second * len(partitions))
        self._commit_interval = commit_seconds / len(self._groups)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks=1, linger_ms=50, metadata_max_age_ms=_NEVER_MS
        )
        self._ends: dict[str, dict[int, int]] = {topic: {} for topic in partitions}
        self._committed: dict[str, dict[int, int]] = {group: {} for group in groups}
        self._tasks: list[asyncio.Task[None]] = []
        self.sent = 0
        self.commits = 0
        self.latest_commit_seconds = 0.0  # the most that a commit came too late, since last asked: a starved machine

    async def __aenter__(self) -> Traffic:
        await self._producer.start()
        self._tasks = [asyncio.create_task(self._produce()), asyncio.create_task(self._commit())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._producer.stop()

    def check(self) -> None:
        """Raises what ended the traffic, if anything did."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _produce(self) -> None:
        topics = list(self._partitions)
        begin, value = time.monotonic(), bytes(100)
        while True:
            due = int((time.monotonic() - begin) / self._interval)
            for number in range(self.sent, due):
                topic = topics[number % len(topics)]
                partition = number // len(topics) % self._partitions[topic]
                future = await self._producer.send(topic, value, partition=partition)
                future.add_done_callback(self._acknowledged)
            self.sent = due
            await asyncio.sleep(0.1)

    def _acknowledged(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            record = future.result()
            ends = self._ends[record.topic]
            ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)

    async def _commit(self) -> None:
        begin = time.monotonic()
        while True:
            due = int((time.monotonic() - begin) / self._commit_interval)
            late = time.monotonic() - begin - self.commits * self._commit_interval
            self.latest_commit_seconds = max(self.latest_commit_seconds, late)
            batch = [self._groups[number % len(self._groups)] for number in range(self.commits, due)]
            await asyncio.gather(*(self._commit_one(group, topic) for group, topic in batch))
            self.commits = due
            await asyncio.sleep(0.05)

    async def _commit_one(self, group: str, topic: str) -> None:
        before, ends = self._committed[group], self._ends[topic]
        moved = {partition: end for partition, end in ends.items() if before.get(partition, 0) != end}
        if moved:
            await self._members.commit(group, moved)
            before.update(moved)


GROUPS_PER_TOPIC = 10
PARTITIONS = 10
# All partitions grow alike, so all would write the first entries of their index files in the same seconds (after 4 KiB
# each), and on a slow disk the brokers answer nobody meanwhile. Nobody looks anything up in these logs.
TOPIC_SETTINGS = {"index.interval.bytes": str(2**30)}
JOINED = "every group has its member"


def group_names(count: int) -> list[str]:
    """Of the groups of the program; also good names for their resources and Deployments."""
    return [f"c-{number:05d}" for number in range(count)]


async def _run(bootstrap: str, groups: int, commit_seconds: float) -> None:
    """Until SIGTERM. Says once that all have joined, then every ten seconds how it goes, as JSON."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    topics = {name: f"t-{number // GROUPS_PER_TOPIC:04d}" for number, name in enumerate(group_names(groups))}
    partitions = dict.fromkeys(topics.values(), PARTITIONS)
    await create_topics(bootstrap, [Topic(name, PARTITIONS, 1, TOPIC_SETTINGS) for name in partitions])
    async with Members(bootstrap, topics, partitions) as members:
        traffic = Traffic(bootstrap, members, topics, partitions, records_per_second=1.0, commit_seconds=commit_seconds)
        async with traffic:
            print(JOINED, flush=True)
            while not stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 10)
                traffic.check()
                late, traffic.latest_commit_seconds = traffic.latest_commit_seconds, 0.0
                line = {"sent": traffic.sent, "commits": traffic.commits, "latest_commit_s": round(late, 2)}
                print(json.dumps(line), flush=True)


async def produce_burst(producer: AIOKafkaProducer, topic: str, partitions: int, records: Sequence[bytes]) -> float:
    """Writes all records evenly over the partitions; returns the time (epoch) when the last was acknowledged."""
    futures = [await producer.send(topic, value, partition=i % partitions) for i, value in enumerate(records)]
    await producer.flush()
    await asyncio.gather(*futures)
    return time.time()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stream", description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--groups", type=int, required=True)
    parser.add_argument("--commit-seconds", type=float, default=5.0, help="between two commits of a group (5)")
    options = parser.parse_args()
    asyncio.run(_run(options.bootstrap, options.groups, options.commit_seconds))


if __name__ == "__main__":
    main()
