"""Thousands of consumer groups with real members, kept moving over few connections, away from what is measured.

A broker works on one request of a connection at a time, and a JoinGroup request waits there until every member has
joined. So the members of one group sit on connections of their own, one each, and the crowded groups of a coordinator
join one after another over the same ones. Sessions are as long as a broker allows, so that members need no heartbeats.

Every group has a topic of its own. Records go to the brokers with one request per broker and half second; each group's
leader commits for all its members what was acknowledged by then.

python -m tests.bench.crowd --bootstrap … --groups 1000 --partitions 10 --crowded 50
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from bed.kafka_admin import Topic, create_topics

JOINED = "every group has its members"
MEMBERS = 20  # of a crowded group
_LINES = MEMBERS  # connections per broker
_SESSION_MS = 1_800_000  # group.max.session.timeout.ms, by default
_REBALANCE_MS = 60_000
_TIMEOUT_SECONDS = 120.0
_TOPICS_AT_ONCE = 100
_COMMIT_SECONDS = 20.0
_RECORD_SECONDS = 5.0  # between two records of a topic
_TICK_SECONDS = 0.5
_NOT_YET = (14, 15, 16)  # a coordinator that has just become one loads its groups first
_REBALANCE_IN_PROGRESS, _ILLEGAL_GENERATION, _MEMBER_ID_REQUIRED = 27, 22, 79
# Nobody looks anything up in these logs, and index files written by all logs at once stop a slow disk.
TOPIC_SETTINGS = {"index.interval.bytes": str(2**30), "segment.index.bytes": "4096"}


def group_name(number: int) -> str:
    return f"g-{number:05d}"


def topic_name(number: int) -> str:
    return f"t-{number:05d}"


def coordinator_partition(group: str, partitions: int) -> int:
    """The partition of the offsets topic that a group is kept in: Java's hash of its name, made positive."""
    value = 0
    for unit in group.encode("utf-16-be")[1::2]:  # the names here are ASCII
        value = (31 * value + unit) & 0xFFFFFFFF
    signed = value - (1 << 32) if value & 0x80000000 else value
    return (0 if signed == -(1 << 31) else abs(signed)) % partitions


@dataclass(slots=True)
class _Member:
    """One member of a group, on one connection."""

    group: str
    topic: str
    line: AIOKafkaConnection
    member_id: str = ""
    generation: int = -1
    leads: bool = False

    async def take_part(self, members: int, partitions: int) -> None:
        """Returns when the group is stable with so many members. Raises KafkaError."""
        subscription = ConsumerProtocolMemberMetadata(0, [self.topic], b"").encode()
        while True:
            join = JoinGroupRequest(
                self.group, _SESSION_MS, _REBALANCE_MS, self.member_id, None, "consumer", [("range", subscription)]
            )
            joined = await self.line.send(join)
            if joined.error_code == _MEMBER_ID_REQUIRED:
                self.member_id = joined.member_id
                continue
            if joined.error_code in _NOT_YET:
                await asyncio.sleep(0.2)
                continue
            _raise(joined.error_code, self.group)
            self.member_id, self.generation = joined.member_id, joined.generation_id
            self.leads = joined.leader_id == joined.member_id
            shares: list[tuple[str, bytes]] = []
            if self.leads:
                if len(joined.members) < members:
                    await asyncio.sleep(0.02)  # the others are on their way
                    continue
                shares = self._shares([member[0] for member in joined.members], partitions)
            sync = SyncGroupRequest(self.group, self.generation, self.member_id, None, shares)
            code = (await self.line.send(sync)).error_code
            if code in (*_NOT_YET, _REBALANCE_IN_PROGRESS, _ILLEGAL_GENERATION):
                continue
            _raise(code, self.group)
            return

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Commits partition -> offset. Raises KafkaError."""
        rows = [(partition, offset, "") for partition, offset in offsets.items()]
        request = OffsetCommitRequest(self.group, self.generation, self.member_id, -1, [(self.topic, rows)])
        for _, results in (await self.line.send(request)).topics:
            for _, code in results:
                _raise(code, self.group)

    def _shares(self, members: Sequence[str], partitions: int) -> list[tuple[str, bytes]]:
        shares = []
        for place, member in enumerate(members):
            own = list(range(place, partitions, len(members)))
            assigned = [(self.topic, own)] if own else []
            shares.append((member, ConsumerProtocolMemberAssignment(0, assigned, b"").encode()))
        return shares


def _raise(code: int, what: str) -> None:
    if code:
        raise for_code(code)(what)


class Crowd:
    """`async with Crowd(bootstrap, groups=…) as crowd`: all groups are stable and have committed; `run` moves them."""

    def __init__(self, bootstrap: str, *, groups: int, partitions: int, crowded: int) -> None:
        self._bootstrap = bootstrap
        self._groups = groups
        self._partitions = partitions
        self._crowded = crowded
        self._lines: dict[int, list[AIOKafkaConnection]] = {}
        self._leaders: dict[str, list[int]] = {}
        self._members: list[_Member] = []  # the one that commits, by group
        self._ends: dict[str, dict[int, int]] = defaultdict(dict)
        self._sent = 0
        self._commits = 0

    async def __aenter__(self) -> Crowd:
        try:
            await self._create_topics()
            client = AIOKafkaClient(bootstrap_servers=self._bootstrap)
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await client.bootstrap()
                try:
                    coordinators = await self._look(client)
                finally:
                    await client.close()
            await self._join_all(coordinators)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for line in (line for lines in self._lines.values() for line in lines):
            line.close()

    @property
    def progress(self) -> dict[str, int]:
        return {"sent": self._sent, "commits": self._commits}

    async def run(self) -> None:
        """Records and commits until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._produce())
            tasks.create_task(self._commit())

    async def _create_topics(self) -> None:
        names = [topic_name(number) for number in range(self._groups)]
        for begin in range(0, len(names), _TOPICS_AT_ONCE):
            batch = names[begin : begin + _TOPICS_AT_ONCE]
            await create_topics(self._bootstrap, [Topic(n, self._partitions, 1, TOPIC_SETTINGS) for n in batch])
            print(f"{begin + len(batch)} topics", file=sys.stderr, flush=True)

    async def _look(self, client: AIOKafkaClient) -> list[int]:
        """Leaders, connections, and each group's coordinator."""
        while True:
            with suppress(KafkaError):
                # The first question for a coordinator makes the brokers create the offsets topic.
                await client.coordinator_lookup(CoordinationType.GROUP, group_name(0))
                if await self._find_leaders(client):
                    break
            await asyncio.sleep(0.3)
        for broker in client.cluster.brokers():
            self._lines[broker.nodeId] = [
                await create_conn(broker.host, broker.port, client_id="crowd", request_timeout_ms=_REBALANCE_MS)
                for _ in range(_LINES)
            ]
        offsets = self._leaders["__consumer_offsets"]
        return [offsets[coordinator_partition(group_name(number), len(offsets))] for number in range(self._groups)]

    async def _find_leaders(self, client: AIOKafkaClient) -> bool:
        """Whether the broker that was asked knows a leader of every partition."""
        names = [topic_name(number) for number in range(self._groups)]
        answer = await client.send(
            client.get_random_node(), MetadataRequest([*names, "__consumer_offsets"], allow_auto_topic_creation=False)
        )
        for _, name, _, rows in answer.topics:
            leaders = {row[1]: row[2] for row in rows}
            self._leaders[name] = [leaders[partition] for partition in range(len(leaders))]
        return all(leaders and -1 not in leaders for leaders in self._leaders.values())

    async def _join_all(self, coordinators: Sequence[int]) -> None:
        by_node: dict[int, list[int]] = defaultdict(list)
        for number, node in enumerate(coordinators):
            by_node[node].append(number)
        found = await asyncio.gather(*(self._join_on(node, numbers) for node, numbers in by_node.items()))
        members = {member.group: member for each in found for member in each}
        self._members = [members[group_name(number)] for number in range(self._groups)]

    async def _join_on(self, node: int, numbers: Sequence[int]) -> list[_Member]:
        lines = self._lines[node]
        leaders = [await self._join(number, lines) for number in numbers if number < self._crowded]
        print(f"{len(leaders)} groups of {MEMBERS} on broker {node}", file=sys.stderr, flush=True)
        waiting = iter([number for number in numbers if number >= self._crowded])

        async def work(line: AIOKafkaConnection) -> None:
            for number in waiting:
                leaders.append(await self._join(number, [line]))

        await asyncio.gather(*(work(line) for line in lines))
        return leaders

    async def _join(self, number: int, lines: Sequence[AIOKafkaConnection]) -> _Member:
        """One member per line; returns the one that leads, after a first commit."""
        members = [_Member(group_name(number), topic_name(number), line) for line in lines]
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await asyncio.gather(*(member.take_part(len(members), self._partitions) for member in members))
            leader = next(member for member in members if member.leads)
            await leader.commit(dict.fromkeys(range(self._partitions), 0))
        return leader

    async def _produce(self) -> None:
        begin, per_second = time.monotonic(), self._groups / _RECORD_SECONDS
        while True:
            due = int((time.monotonic() - begin) * per_second)
            wanted: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
            for number in range(self._sent, due):
                topic, partition = topic_name(number % self._groups), number // self._groups % self._partitions
                wanted[self._leaders[topic][partition]][topic].append(partition)
            self._sent = max(due, self._sent)
            batch = one_record()
            await asyncio.gather(*(self._send(node, topics, batch) for node, topics in wanted.items()))
            await asyncio.sleep(_TICK_SECONDS)

    async def _send(self, node: int, topics: Mapping[str, Sequence[int]], batch: bytes) -> None:
        rows = [(topic, [(partition, batch) for partition in parts]) for topic, parts in topics.items()]
        answer: Any = await self._lines[node][0].send(ProduceRequest(None, 1, 10_000, rows))
        for topic, results in answer.topics:
            for partition, code, offset, *_ in results:
                _raise(code, f"{topic}-{partition}")
                self._ends[topic][partition] = offset + 1

    async def _commit(self) -> None:
        begin, per_second = time.monotonic(), self._groups / _COMMIT_SECONDS
        while True:
            due = int((time.monotonic() - begin) * per_second)
            batch = {number % self._groups for number in range(self._commits, due)}
            await asyncio.gather(*(self._commit_one(self._members[number]) for number in batch))
            self._commits = due
            await asyncio.sleep(_TICK_SECONDS)

    async def _commit_one(self, member: _Member) -> None:
        if moved := self._ends.pop(member.topic, None):
            await member.commit(moved)


def one_record() -> bytes:
    """A batch of one record of 100 bytes, written now."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=4096,
    )
    builder.append(0, timestamp=int(time.time() * 1000), key=None, value=bytes(100), headers=[])
    return bytes(builder.build())


async def _run(options: argparse.Namespace) -> None:
    """Until SIGTERM. Says once that all have joined, then every ten seconds how it goes, as JSON."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    crowd = Crowd(options.bootstrap, groups=options.groups, partitions=options.partitions, crowded=options.crowded)
    async with crowd:
        moving = asyncio.create_task(crowd.run())
        print(JOINED, flush=True)
        try:
            while not stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 10)
                if moving.done():
                    moving.result()
                print(json.dumps(crowd.progress), flush=True)
        finally:
            moving.cancel()
            await asyncio.wait([moving])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowd", description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--groups", type=int, required=True)
    parser.add_argument("--partitions", type=int, required=True, help="of each group's topic")
    parser.add_argument("--crowded", type=int, default=50, help=f"groups with {MEMBERS} members; the others have one")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
