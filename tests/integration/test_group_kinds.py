"""Every kind of group that a Kafka 4.x broker has, each with the client of its makers, as Kafka's own tools see it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from tests.addresses import ON_THIS_MACHINE

from bed import javaclients, kafka_admin
from bed.jvm import KAFKA_NEWEST_VERSION, KAFKA_OLD_VERSION
from bed.kafka import Kafka
from bed.kafka_admin import AclFor, AclOn
from bed.kafka_security import SecureKafka
from bed.processes import Process
from consumer_autoscaler.decision.reasons import GroupState, SourceReason
from consumer_autoscaler.decision.values import GroupKind, GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.sources.kafka.access.security import Mechanism, PasswordLogin, Security
from consumer_autoscaler.sources.kafka.groups.shares import UPPER_BOUND
from consumer_autoscaler.sources.kafka.inspection.inspect import GroupInspection, inspect
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.protocol import GroupRequest, Subscription

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONSUMER_TOOL = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
SHARE_TOOL = "org.apache.kafka.tools.consumer.group.ShareGroupCommand"
STREAMS_TOOL = "org.apache.kafka.tools.streams.StreamsGroupCommand"
LOCK = {"group.share.record.lock.duration.ms": "60000"}  # longer than a test: what is in flight stays so
# Both kinds are in 4.1 and off there: share groups a preview, Streams groups early access.
ON_4_1 = {"unstable.api.versions.enable": "true", "unstable.feature.versions.enable": "true"}
FEATURES_4_1 = {"share.version": 1, "streams.version": 1}


@dataclass(frozen=True)
class Case:
    """A group with running members and what is to be seen of it."""

    kind: GroupKind
    topic: str
    partitions: int
    members: int
    idle: int
    assignor: str | None
    ceiling: int
    tool: str


CASES = {
    "eager": Case(GroupKind.CLASSIC, "eager", 1, 2, 1, "range", 1, CONSUMER_TOOL),
    "cooperative": Case(GroupKind.CLASSIC, "cooperative", 6, 1, 0, "cooperative-sticky", 6, CONSUMER_TOOL),
    "consumer": Case(GroupKind.CONSUMER, "consumer", 1, 2, 1, "uniform", 1, CONSUMER_TOOL),
    "share": Case(GroupKind.SHARE, "share", 1, 2, 0, "simple", 0, SHARE_TOOL),
    "classic-streams": Case(GroupKind.CLASSIC, "words", 2, 5, 1, "stream", 4, CONSUMER_TOOL),
    "streams": Case(GroupKind.STREAMS, "words", 2, 5, 1, None, 4, STREAMS_TOOL),
}
Rows = dict[tuple[str, int], dict[str, int | None]]  # (topic, partition) -> column -> value, None for a dash


def clients_of(kafka: Kafka, group: str) -> list[Process]:
    case = CASES[group]
    match group:
        case "share":
            return [javaclients.share_consumer(kafka, group, "share", name=f"s{i}") for i in range(case.members)]
        case "streams" | "classic-streams":
            protocol = "streams" if group == "streams" else "classic"
            return [javaclients.streams(kafka, group, "words", protocol=protocol, threads=case.members)]
        case "cooperative":
            return [javaclients.consumer(kafka, group, case.topic, assignor=javaclients.COOPERATIVE)]
        case _:
            protocol = "consumer" if group == "consumer" else "classic"
            names = [f"c{i}" for i in range(case.members)]
            return [javaclients.consumer(kafka, group, case.topic, name=name, protocol=protocol) for name in names]


RIGHTS = {"both": (AclOn.GROUP, AclOn.TOPIC), "group-only": (AclOn.GROUP,), "topic-only": (AclOn.TOPIC,)}


@pytest.fixture(scope="module")
def newest() -> Iterator[SecureKafka]:
    """A broker of the newest version, where every kind is on by itself, with a user for each of RIGHTS."""
    users = dict.fromkeys(RIGHTS, "secret")
    version, clients = KAFKA_NEWEST_VERSION, dict[str, str]()
    with SecureKafka(
        passwords=users, clients=clients, version=version, auto_create_topics=False, settings=LOCK
    ) as kafka:
        for user, resources in RIGHTS.items():
            for resource in resources:
                kafka.allow(user, AclFor.DESCRIBE, resource, "*")
        yield kafka


@pytest.fixture
async def source() -> AsyncIterator[KafkaLagSource]:
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    yield source
    await source.aclose()


def subscribe(
    source: KafkaLagSource, kafka: Kafka, group: str, *topics: str, reset: OffsetReset = OffsetReset.LATEST
) -> Subscription:
    return source.subscribe(
        GroupRequest(
            bootstrap_servers=tuple(kafka.bootstrap.split(",")),
            consumer_group=group,
            topics=topics,
            offset_reset=reset,
            interval_seconds=1,
        )
    )


async def until(
    subscription: Subscription, right: Callable[[GroupReading], bool], *, seconds: float = 60
) -> GroupReading:
    """The first reading that is right."""
    reading: GroupReading | Unavailable | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not isinstance(reading, GroupReading) or not right(reading):
                reading = await subscription.next()
            return reading
    pytest.fail(f"the last of {seconds:g} s of readings: {reading}")


def rows_of(text: str) -> dict[str, Rows]:
    """The rows of a tool's `--describe` by group: the columns up to the numbers are group, topic, partition."""
    rows: dict[str, Rows] = {}
    head: list[str] = []
    for line in text.splitlines():
        cells = line.split()
        if cells[:3] == ["GROUP", "TOPIC", "PARTITION"]:
            head = cells
        elif head and len(cells) >= len(head) - 3:
            named = dict(zip(head, cells, strict=False))
            numbers = {
                name: int(value) if value.isdigit() else None
                for name, value in named.items()
                if name.endswith(("OFFSET", "LAG"))
            }
            rows.setdefault(named["GROUP"], {})[named["TOPIC"], int(named["PARTITION"])] = numbers
    return rows


async def described(kafka: Kafka, tool: str, *groups: str) -> dict[str, Rows]:
    """By group, what one of Kafka's tools says."""
    named = [part for group in groups for part in ("--group", group)]
    text = await asyncio.to_thread(kafka.tool, tool, "--bootstrap-server", kafka.bootstrap, "--describe", *named)
    return rows_of(text)


@dataclass
class Quiet:
    """All groups after their members were stopped in the middle of work: what we read, and what the tools say."""

    readings: dict[str, GroupReading]
    tools: dict[str, Rows]
    requests: dict[str, int]  # during four readings of all groups
    by_rights: dict[tuple[str, str], GroupReading | Unavailable]  # (one of RIGHTS, group)
    inspected: dict[str, GroupInspection]  # what the lag command has


@pytest.fixture(scope="module")
async def quiet(newest: SecureKafka) -> Quiet:
    for topic, partitions in {case.topic: case.partitions for case in CASES.values()}.items():
        newest.create_topic(topic, partitions)
        await kafka_admin.produce_now(newest.bootstrap, topic, dict.fromkeys(range(partitions), 20))
    await javaclients.begin_at_the_start(newest, "share")
    members = [client for group in CASES for client in clients_of(newest, group)]
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    groups = {group: subscribe(source, newest, group) for group in CASES}
    try:
        for group, case in CASES.items():
            await until(
                groups[group],
                lambda r, case=case: (r.state, r.members, r.lag_messages) == (GroupState.STABLE, case.members, 0),
            )
        for member in members:
            member.send(signal.SIGSTOP)
        for topic, partitions in {case.topic: case.partitions for case in CASES.values()}.items():
            await kafka_admin.produce_now(newest.bootstrap, topic, {p: p + 3 for p in range(partitions)})
        for subscription in groups.values():
            await subscription.next()  # may have begun before
        before = source.stats.requests.copy()
        for _ in range(4):
            readings = {group: await subscription.next() for group, subscription in groups.items()}
        requests = source.stats.requests - before
        by_tool: dict[str, list[str]] = {}
        for group, case in CASES.items():
            by_tool.setdefault(case.tool, []).append(group)
        said = await asyncio.gather(*(described(newest, tool, *names) for tool, names in by_tool.items()))
        tools = {group: rows for each in said for group, rows in each.items()}
        assert all(isinstance(reading, GroupReading) for reading in readings.values()), readings
        inspected = {one.group: one for one in await inspect(newest.bootstrap.split(","), list(CASES), clock=time.time)}
        by_rights = await _by_rights(newest)
        return Quiet(readings, tools, dict(requests), by_rights, inspected)  # type: ignore[arg-type]
    finally:
        for member in members:
            member.stop(grace_seconds=0)
        await source.aclose()


async def _by_rights(kafka: SecureKafka) -> dict[tuple[str, str], GroupReading | Unavailable]:
    """The first reading of each group by each user."""
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    try:
        subscriptions = {}
        for user in RIGHTS:
            login = PasswordLogin(mechanism=Mechanism.PLAIN, username=user, password="secret")
            for group in CASES:
                request = GroupRequest(
                    bootstrap_servers=(kafka.address("BARE"),), consumer_group=group, security=Security(login=login)
                )
                subscriptions[user, group] = source.subscribe(request)
        return {key: await subscription.next() for key, subscription in subscriptions.items()}
    finally:
        await source.aclose()


@pytest.mark.parametrize("group", CASES)
def test_a_group_is_read_as_what_it_is(quiet: Quiet, group: str) -> None:
    """Kind, state, members, members without work, assignor and how many consumers can have work."""
    case, reading = CASES[group], quiet.readings[group]
    assert reading.kind is case.kind
    assert (reading.state, reading.members, reading.idle_members) == (GroupState.STABLE, case.members, case.idle)
    assert (reading.assignor, reading.partition_ceiling) == (case.assignor, case.ceiling)
    assert (reading.note, reading.lag_is_upper_bound) == ("", False)


@pytest.mark.parametrize("group", CASES)
def test_its_lag_is_what_kafkas_own_tool_says(quiet: Quiet, group: str) -> None:
    """On every partition, repartition topics included and changelogs not."""
    reading, rows = quiet.readings[group], quiet.tools[group]
    ours = {(p.topic, p.partition): p.lag_messages or None for p in reading.partitions}
    lag = "OFFSET-LAG" if "OFFSET-LAG" in next(iter(rows.values())) else "LAG"
    assert ours == {place: columns[lag] or None for place, columns in rows.items()}
    assert reading.lag_messages == sum(p + 3 for p in range(CASES[group].partitions))
    assert not any(topic.endswith("-changelog") for topic, _ in ours)


def test_the_start_offset_of_a_share_group_is_what_kafkas_own_tool_says(quiet: Quiet) -> None:
    """It rests while records beyond it are finished; the lag is what counts."""
    ours = {(p.topic, p.partition): p.committed_offset for p in quiet.readings["share"].partitions}
    assert ours == {place: columns["START-OFFSET"] for place, columns in quiet.tools["share"].items()}


def test_a_reading_of_all_kinds_asks_each_broker_once_of_each_sort(quiet: Quiet) -> None:
    """Six groups of four kinds: no request more than one group of each would need."""
    once = {
        *("OffsetFetch", "ListOffsets", "DescribeGroups", "ConsumerGroupDescribe"),
        *("ShareGroupDescribe", "DescribeShareGroupOffsets", "StreamsGroupDescribe"),
    }
    assert quiet.requests == dict.fromkeys(once, 4)


@pytest.mark.parametrize("group", CASES)
def test_describe_on_group_and_topic_is_all_that_it_needs(quiet: Quiet, group: str) -> None:
    """And without either of them the reading names the right that is missing."""
    reading = quiet.by_rights["both", group]
    assert isinstance(reading, GroupReading), reading
    assert reading.partitions == quiet.readings[group].partitions
    for user, missing in (("group-only", "on topic|on a topic"), ("topic-only", f"on group {group}")):
        refused = quiet.by_rights[user, group]
        assert isinstance(refused, Unavailable), refused
        assert refused.reason is SourceReason.AUTHORIZATION_FAILED
        assert re.search(f"the right Describe ({missing})", refused.message), refused


@pytest.mark.parametrize("group", CASES)
def test_the_lag_command_shows_the_same_and_who_has_what(quiet: Quiet, group: str) -> None:
    """Each partition that is given to one member has its owner; those of a share group are everybody's."""
    assert quiet.inspected.keys() == CASES.keys(), "the broker lists groups of every kind"
    one = quiet.inspected[group]
    assert isinstance(one.reading, GroupReading), one.reading
    assert (one.reading.kind, one.reading.partitions) == (CASES[group].kind, quiet.readings[group].partitions)
    owned = set() if group == "share" else {(p.topic, p.partition) for p in one.reading.partitions}
    assert set(one.owners) == owned
    busy = CASES[group].members - CASES[group].idle
    assert len({owner.member_id for owner in one.owners.values()}) == (0 if group == "share" else busy)


@pytest.fixture(scope="module")
async def beside(
    newest: Kafka, quiet: Quiet, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    """The cases that change groups, begun together after the quiet ones."""
    works: dict[str, Coroutine[Any, Any, None]] = {
        "flight": _in_flight(newest, tmp_path_factory.mktemp("flight")),
        "turn": _another_kind(newest),
        "late": _late_topic(newest),
    }
    tasks = {name: asyncio.create_task(work) for name, work in works.items()}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values())


async def test_records_in_flight_are_lag_and_records_finished_out_of_turn_are_not(
    beside: dict[str, asyncio.Task[None]],
) -> None:
    """One member takes a batch and hangs; another finishes all that came after. Only the hanging batch is lag."""
    await beside["flight"]


async def test_a_group_that_comes_back_as_another_kind_is_found_again(beside: dict[str, asyncio.Task[None]]) -> None:
    """A classic group is deleted, a share group takes its name and is deleted, and a classic one takes it again."""
    await beside["turn"]


async def test_a_streams_group_waits_for_its_source_topic(beside: dict[str, asyncio.Task[None]]) -> None:
    """NotReady holds as a rebalance does; once the topic is there, so are the tasks."""
    await beside["late"]


async def _late_topic(newest: Kafka) -> None:
    member = javaclients.streams(newest, "late", "late", protocol="streams")
    try:
        # Of a topic that it does not read, since without its own it has no reading at all.
        waiting = await _first(newest, "late", "words", lambda r: r.state is GroupState.NOT_READY)
        await asyncio.to_thread(newest.create_topic, "late", 3)  # at once: Streams gives up after some ten seconds
        assert (waiting.kind, waiting.members, waiting.idle_members) == (GroupKind.STREAMS, 1, 0)
        assert waiting.state.rebalancing
        reading = await _first(newest, "late", "late", lambda r: r.state is GroupState.STABLE)
        assert (reading.members, reading.partition_ceiling) == (1, 6)
    finally:
        member.stop(grace_seconds=0)


async def _first(kafka: Kafka, group: str, topic: str, right: Callable[[GroupReading], bool]) -> GroupReading:
    """The first reading that is right, each by a source that knows nothing yet and so asks for every kind."""
    end = time.monotonic() + 60
    while True:
        source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
        reading = await subscribe(source, kafka, group, topic).next()
        await source.aclose()
        if isinstance(reading, GroupReading) and right(reading):
            return reading
        assert time.monotonic() < end, reading
        await asyncio.sleep(0.3)


async def _in_flight(newest: Kafka, tmp_path: Path) -> None:
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    newest.create_topic("flight", 1)
    await kafka_admin.produce_now(newest.bootstrap, "flight", {0: 800}, record_bytes=1000)
    await javaclients.begin_at_the_start(newest, "flight")
    pipe = tmp_path / "unread"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    members = [javaclients.share_consumer(newest, "flight", "flight", name="hangs", log=pipe)]
    subscription = subscribe(source, newest, "flight", reset=OffsetReset.EARLIEST)
    try:
        await until(subscription, lambda r: r.members == 1)
        await until(subscription, lambda r: 0 < r.lag_messages <= 800)
        await asyncio.sleep(3)  # it has taken its records and hangs in the pipe
        members.append(javaclients.share_consumer(newest, "flight", "flight", name="works"))
        await until(subscription, lambda r: r.members == 2)
        await kafka_admin.produce_now(newest.bootstrap, "flight", {0: 300})
        held = await until(
            subscription, lambda r: r.partitions[0].end_offset == 1100 and 0 < r.lag_messages < 1100 - 299, seconds=30
        )
        rows = (await described(newest, SHARE_TOOL, "flight"))["flight"]
        again = await until(subscription, lambda r: True)
        (partition,) = again.partitions
        assert partition.committed_offset is not None
        assert held.partitions[0].end_offset - partition.committed_offset > again.lag_messages
        assert rows["flight", 0]["LAG"] == again.lag_messages
        assert again.note == ""
    finally:
        for member in members:
            member.stop(grace_seconds=0)
        os.close(end)
        await source.aclose()


async def _another_kind(newest: Kafka) -> None:
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    try:
        newest.create_topic("turn", 2)
        await kafka_admin.produce_now(newest.bootstrap, "turn", {0: 10, 1: 10})
        commit = {TopicPartition("turn", 0): 4, TopicPartition("turn", 1): 10}
        await kafka_admin.commit_offsets(newest.bootstrap, "turn", commit)
        subscription = subscribe(source, newest, "turn", "turn")
        first = await until(subscription, lambda r: r.kind is GroupKind.CLASSIC)
        assert (first.state, first.lag_messages, first.partition_ceiling) == (GroupState.EMPTY, 6, 2)

        await asyncio.to_thread(newest.delete_group, "turn")
        await javaclients.begin_at_the_start(newest, "turn")
        member = javaclients.share_consumer(newest, "turn", "turn")
        try:
            second = await until(subscription, lambda r: r.kind is GroupKind.SHARE and r.lag_messages == 0)
            assert (second.members, second.partition_ceiling) == (1, 0)
        finally:
            member.stop()
        await until(subscription, lambda r: r.kind is GroupKind.SHARE and r.state is GroupState.EMPTY)
        arguments = ("--bootstrap-server", newest.bootstrap, "--delete", "--group", "turn")
        await asyncio.to_thread(newest.tool, SHARE_TOOL, *arguments)
        await kafka_admin.commit_offsets(newest.bootstrap, "turn", commit)
        third = await until(subscription, lambda r: r.kind is GroupKind.CLASSIC)
        assert (third.state, third.lag_messages) == (GroupState.EMPTY, 6)
    finally:
        await source.aclose()


async def test_share_and_streams_groups_of_kafka_4_1(source: KafkaLagSource) -> None:
    """Before 4.2 the lag of a share group is an upper bound and says so; Streams groups are read as later."""
    with Kafka(auto_create_topics=False, settings=ON_4_1, features=FEATURES_4_1) as kafka:
        kafka.create_topic("share", 2)
        kafka.create_topic("words", 2)
        for topic in ("share", "words"):
            await kafka_admin.produce_now(kafka.bootstrap, topic, {0: 20, 1: 20})
        await javaclients.begin_at_the_start(kafka, "share")
        members = [
            javaclients.share_consumer(kafka, "share", "share"),
            javaclients.streams(kafka, "streams", "words", protocol="streams", threads=3),
        ]
        try:
            share = subscribe(source, kafka, "share")
            streams = subscribe(source, kafka, "streams")
            reading = await until(streams, lambda r: r.state is GroupState.STABLE and r.lag_messages == 0)
            assert (reading.kind, reading.members, reading.partition_ceiling) == (GroupKind.STREAMS, 3, 4)
            reading = await until(share, lambda r: r.members == 1 and not r.never_committed)
            members[0].send(signal.SIGSTOP)
            await kafka_admin.produce_now(kafka.bootstrap, "share", {0: 3, 1: 4})
            reading = await until(share, lambda r: [p.end_offset for p in r.partitions] == [23, 24])
            rows = (await described(kafka, SHARE_TOOL, "share"))["share"]
            starts = {place: columns["START-OFFSET"] for place, columns in rows.items()}
            assert starts == {(p.topic, p.partition): p.committed_offset for p in reading.partitions}
            assert all(p.lag_messages == p.end_offset - (p.committed_offset or 0) for p in reading.partitions)
            assert (reading.kind, reading.note) == (GroupKind.SHARE, UPPER_BOUND)
            assert reading.lag_is_upper_bound
        finally:
            for member in members:
                member.stop(grace_seconds=0)


async def test_an_old_broker_has_classic_groups_only(source: KafkaLagSource) -> None:
    """Kafka 3.9 knows nothing of the other kinds: its groups are read as ever, and a missing one is only missing."""
    with Kafka(version=KAFKA_OLD_VERSION, auto_create_topics=False) as kafka:
        kafka.create_topic("old", 3)
        await kafka_admin.produce_now(kafka.bootstrap, "old", {0: 5, 1: 5, 2: 5})
        member = javaclients.consumer(kafka, "old", "old")
        try:
            reading = await until(
                subscribe(source, kafka, "old"), lambda r: r.state is GroupState.STABLE and r.lag_messages == 0
            )
            assert (reading.kind, reading.members, reading.partition_ceiling) == (GroupKind.CLASSIC, 1, 3)
            absent = await until(subscribe(source, kafka, "absent", "old"), lambda r: True)
            assert (absent.kind, absent.state, absent.lag_messages) == (GroupKind.UNKNOWN, GroupState.DEAD, 0)
        finally:
            member.stop(grace_seconds=0)
