"""Brokers that die, hang, crawl and lie under load: no reading is wrong, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from itertools import pairwise
from types import TracebackType
from typing import Self

import pytest
from aiokafka import TopicPartition
from tests.addresses import ON_THIS_MACHINE
from tests.fakes.proxy import Proxy
from tests.integration.kafka_load import Load
from tests.integration.support import Aside, eventually
from tests.unit.kafka_fake import NODE, FakeBroker

from bed import kafka_admin
from bed.kafka import Kafka
from bed.processes import free_port
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource, KafkaSubscription
from consumer_autoscaler.sources.protocol import GroupRequest

pytestmark = pytest.mark.integration

_TIMEOUT_SECONDS = 2.0  # of one request
_NEVER_SECONDS = 60.0
_REPLICATED_SECONDS = 2.0  # followers hear of it when they fetch next, every half second
_SETTLED_SECONDS = 5.0
_GROUPS = 100
_TOPICS = {f"one-{i}": 1 for i in range(9)} | {f"three-{i}": 3 for i in range(3)}
_READING_SECONDS = 3 * _TIMEOUT_SECONDS + 1.0  # a reading may wait for three requests


@pytest.fixture
async def source() -> AsyncIterator[KafkaLagSource]:
    source = KafkaLagSource(time.time, request_timeout_seconds=_TIMEOUT_SECONDS, policy=ON_THIS_MACHINE)
    yield source
    await source.aclose()


def request(bootstrap: str, group: str, *topics: str, interval: float = 1.0) -> GroupRequest:
    return GroupRequest(
        bootstrap_servers=tuple(bootstrap.split(",")),
        consumer_group=group,
        topics=topics,
        offset_reset=OffsetReset.EARLIEST,
        interval_seconds=interval,
    )


class Followed:
    """`async with Followed(subscription)` keeps all readings of a subscription, with the times they came at."""

    def __init__(self, subscription: KafkaSubscription) -> None:
        self.readings: list[tuple[float, GroupReading | Unavailable]] = []
        self._subscription = subscription

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        self._subscription.close()

    async def _follow(self) -> None:
        while True:
            reading = await self._subscription.next()
            self.readings.append((time.time(), reading))

    def good(self, begin: float = 0.0, end: float = float("inf")) -> list[float]:
        """When valid readings came."""
        return [at for at, reading in self.readings if begin <= at < end and isinstance(reading, GroupReading)]

    def bad(self, begin: float = 0.0, end: float = float("inf")) -> list[Unavailable]:
        return [reading for at, reading in self.readings if begin <= at < end and isinstance(reading, Unavailable)]

    def longest_wait(self, begin: float, end: float) -> float:
        """The longest time without a valid reading."""
        return max(later - earlier for earlier, later in pairwise([begin, *self.good(begin, end), end]))


@pytest.fixture(scope="module")
def aside() -> Iterator[Aside]:
    """Where brokers are started and stopped: readings go on meanwhile."""
    with Aside() as aside:
        yield aside


@pytest.fixture(scope="module")
async def brokers(aside: Aside) -> AsyncIterator[Kafka]:
    """Three brokers of this file's own: it kills and stops them."""
    kafka = Kafka(brokers=3)
    try:
        await aside(kafka.start)
        topics = [kafka_admin.Topic(name, partitions, 3) for name, partitions in _TOPICS.items()]
        await kafka_admin.create_topics(kafka.bootstrap, topics)
        # The first commit makes the brokers create the offsets topic.
        await kafka_admin.commit_offsets(kafka.bootstrap, "first", {TopicPartition(next(iter(_TOPICS)), 0): 0})
        yield kafka
    finally:
        await aside(kafka.stop)


@asynccontextmanager
async def neighbour(kafka: Kafka, source: KafkaLagSource, label: str) -> AsyncIterator[Followed]:
    """A group of another, healthy cluster, read every second by the same source."""
    name = f"{label}-{secrets.token_hex(2)}"
    await kafka_admin.create_topics(kafka.bootstrap, [kafka_admin.Topic(name, 2)])
    await kafka_admin.produce_now(kafka.bootstrap, name, {0: 5})
    await kafka_admin.commit_offsets(kafka.bootstrap, name, {TopicPartition(name, p): 0 for p in range(2)})
    async with Followed(source.subscribe(request(kafka.bootstrap, name, name))) as followed:
        await eventually(followed.good)
        yield followed
    assert followed.bad() == []
    assert {r.lag_messages for _, r in followed.readings if isinstance(r, GroupReading)} == {5}


async def _outage(brokers: Kafka, aside: Aside, kafka: Kafka, source: KafkaLagSource, how: str, seconds: float) -> None:
    """One of three brokers is killed or stopped for so long under the load of a hundred groups."""
    names = list(_TOPICS)
    groups = {f"{how}-{seconds:g}-{i}": names[i % len(names)] for i in range(_GROUPS)}
    hit, heal = {"kill": (brokers.stop_broker, brokers.start_broker), "stop": (brokers.pause, brokers.resume)}[how]
    async with (
        neighbour(kafka, source, "outage") as other,
        Load(brokers.bootstrap, groups, _TOPICS) as load,
        AsyncExitStack() as stack,
    ):
        await eventually(lambda: load.committing, 20)
        seen: dict[str, Followed] = {}
        for group, topic in groups.items():
            followed = Followed(source.subscribe(request(brokers.bootstrap, group, topic)))
            seen[group] = await stack.enter_async_context(followed)
        await eventually(lambda: all(each.good() for each in seen.values()), 20)
        needed = {node: {group for group in groups if node in load.served_by(group)} for node in range(3)}
        victim = min(needed, key=lambda node: abs(len(needed[node]) - _GROUPS // 2))
        spared = [seen[group] for group in groups if group not in needed[victim]]
        coordinators = {group: load.coordinator(group) for group in groups}
        assert 0 < len(spared) < _GROUPS
        patient = KafkaLagSource(time.time, request_timeout_seconds=_NEVER_SECONDS, policy=ON_THIS_MACHINE)
        stack.push_async_callback(patient.aclose)
        calm = next(group for group in groups if seen[group] in spared)
        follower = Followed(patient.subscribe(request(brokers.bootstrap, calm, groups[calm])))
        await stack.enter_async_context(follower)
        rest = [group for group in groups if seen[group] not in spared][:20]
        for group in rest:
            await stack.enter_async_context(
                Followed(patient.subscribe(request(brokers.bootstrap, group, groups[group])))
            )
        await eventually(follower.good)
        load.away = {victim}
        begin = time.time()
        await aside(hit, victim)
        try:
            await eventually(lambda: load.whole, 20)
            whole = time.time()
            await asyncio.sleep(begin + seconds - whole)
            end = time.time()
        finally:
            await aside(heal, victim)
        back, load.away = time.time(), set()
        await asyncio.sleep(4.0)
        wrong: list[str] = []
        for group, each in seen.items():
            before = 0.0
            for at, reading in each.readings:
                # What was acknowledged just before a coordinator was lost, the next one may not serve at once: it has
                # the commit, and waits to hear that all replicas have. So a lag errs upwards, as ever.
                fresh = coordinators[group] == victim and begin <= at < whole + _SETTLED_SECONDS
                after = min(before, begin - _REPLICATED_SECONDS) if fresh else before
                if isinstance(reading, GroupReading) and (said := load.wrong(group, reading, after=after, arrived=at)):
                    wrong.append(f"{at - begin:.1f} s after the outage began, {at - back:.1f} s after its end: {said}")
                before = at
        assert wrong == []
        for group, each in seen.items():
            assert len(each.bad(whole)) <= 2, f"{group}: {each.bad(whole)}"
            assert len(each.good(back)) >= 2, f"{group}: {each.readings[-3:]}"
        waits = [each.longest_wait(begin, end) for each in spared]
        assert max(waits) < 1.5 + _TIMEOUT_SECONDS, "groups of living brokers wait for others"
        assert follower.good(begin + 1.0, begin + 5.0), "a broker that is silent is waited for by all"
        assert not any(each.bad() for each in spared), "groups of living brokers are not read"
        assert other.longest_wait(begin, end) < 2.5, "another cluster waits"
        unread = [reading for each in seen.values() for reading in each.bad()]
        assert unread, "the outage is not seen"
        assert {r.reason for r in unread} <= {SourceReason.BROKER_UNREACHABLE, SourceReason.PARTIAL_READING}


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_lost_broker_gives_no_wrong_reading_and_spares_the_others(
    brokers: Kafka, aside: Aside, kafka: Kafka, source: KafkaLagSource, how: str
) -> None:
    """Killed or silent under load: every reading is true or says that it is none, and all are read again in two."""
    await _outage(brokers, aside, kafka, source, how, 8)


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_broker_lost_for_a_minute_gives_no_wrong_reading(
    brokers: Kafka, aside: Aside, kafka: Kafka, source: KafkaLagSource, how: str
) -> None:
    """The same for as long as brokers are away when they are rolled."""
    await _outage(brokers, aside, kafka, source, how, 60)


@pytest.fixture(scope="module")
async def behind_proxy(aside: Aside) -> AsyncIterator[tuple[Kafka, Proxy]]:
    """A broker that tells its clients the address of a proxy, so that all they send goes through it."""
    port = free_port()
    advertised = {"advertised.listeners": f"CLIENT://127.0.0.1:{port}", "inter.broker.listener.name": "CLIENT"}
    kafka = Kafka(settings=advertised)
    try:
        await aside(kafka.start)
        host, _, client_port = kafka.bootstrap.rpartition(":")
        async with Proxy(host, int(client_port), listen=port) as proxy:
            yield kafka, proxy
    finally:
        await aside(kafka.stop)


async def group_on(kafka: Kafka, label: str) -> str:
    """A topic and group of one name, 5 records behind."""
    name = f"{label}-{secrets.token_hex(2)}"
    await kafka_admin.create_topics(kafka.bootstrap, [kafka_admin.Topic(name, 1)])
    await kafka_admin.produce_now(kafka.bootstrap, name, {0: 8})
    await kafka_admin.commit_offsets(kafka.bootstrap, name, {TopicPartition(name, 0): 3})
    return name


def all_true(followed: Followed, lag_messages: int) -> bool:
    return {r.lag_messages for _, r in followed.readings if isinstance(r, GroupReading)} == {lag_messages}


async def test_a_slow_broker_is_read_late_and_nobody_else_is(
    behind_proxy: tuple[Kafka, Proxy], kafka: Kafka, source: KafkaLagSource
) -> None:
    """Each answer takes a third of a second and a reading thus longer than its interval: it comes, and it is right."""
    broker, proxy = behind_proxy
    name = await group_on(broker, "slow")
    async with neighbour(kafka, source, "slow") as other:
        proxy.delay_seconds = 0.35
        begin = time.time()
        try:
            async with Followed(source.subscribe(request(f"127.0.0.1:{proxy.port}", name, name))) as slow:
                await eventually(lambda: len(slow.good()) >= 2, 30)
                end = time.time()
        finally:
            proxy.delay_seconds = 0.0
        assert slow.bad() == []
        assert all_true(slow, 5)
        assert other.longest_wait(begin, end) < 2.0


async def test_a_half_open_connection_costs_one_timeout_and_is_made_again(
    behind_proxy: tuple[Kafka, Proxy], kafka: Kafka, source: KafkaLagSource
) -> None:
    """The peer takes what is sent and never answers; when it is there again, on a new connection, readings go on."""
    broker, proxy = behind_proxy
    name = await group_on(broker, "half-open")
    async with (
        neighbour(kafka, source, "half-open") as other,
        Followed(source.subscribe(request(f"127.0.0.1:{proxy.port}", name, name))) as followed,
    ):
        await eventually(followed.good)
        begin = time.time()
        proxy.freeze()
        try:
            await eventually(lambda: len(followed.bad(begin)) >= 2, 2 * _READING_SECONDS)
        finally:
            end = time.time()
            proxy.thaw()
        await eventually(lambda: followed.good(end), 2 * _READING_SECONDS)
        assert {r.reason for r in followed.bad()} <= {SourceReason.BROKER_UNREACHABLE, SourceReason.PARTIAL_READING}
        assert all_true(followed, 5)
        assert other.longest_wait(begin, end) < 2.0


async def test_a_coordinator_that_has_to_load_its_groups_says_nothing_false(
    behind_proxy: tuple[Kafka, Proxy], aside: Aside, source: KafkaLagSource
) -> None:
    """A broker is killed and comes back: until it knows its groups again, none of them is without commits."""
    broker, proxy = behind_proxy
    name = await group_on(broker, "loads")
    groups = [name, *(f"{name}-{i}" for i in range(40))]
    offsets = {TopicPartition(name, 0): 3}
    for _ in range(5):  # so that there is something to load
        await kafka_admin.commit_many(broker.bootstrap, dict.fromkeys(groups, offsets))
    async with AsyncExitStack() as stack:
        address = f"127.0.0.1:{proxy.port}"
        seen = [
            await stack.enter_async_context(Followed(source.subscribe(request(address, group, name, interval=0.2))))
            for group in groups
        ]
        await eventually(lambda: all(each.good() for each in seen))
        await aside(broker.stop_broker, 0)
        proxy.cut()
        await eventually(lambda: all(each.bad() for each in seen))
        await aside(broker.start_broker, 0)
        back = time.time()
        await eventually(lambda: all(each.good(back) for each in seen), 20)
        assert all(all_true(each, 5) for each in seen)
        reasons = {reading.reason for each in seen for reading in each.bad()}
        assert reasons <= {SourceReason.BROKER_UNREACHABLE, SourceReason.PARTIAL_READING}


async def test_reconnects_are_few_and_not_at_the_same_time(source: KafkaLagSource) -> None:
    """A broker that closes every connection is tried with backoff, however often its groups are due."""
    attempts: list[float] = []

    def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(time.monotonic())
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with Followed(source.subscribe(request(address, "g", "t", interval=0.1))) as followed:
            await asyncio.sleep(6.0)
        assert followed.good() == []
        # A second look, at whether it refuses us or hangs up on anybody, is part of an attempt.
        began = [at for at, before in zip(attempts, [0.0, *attempts], strict=False) if at - before > 0.2]
        assert 3 <= len(began) <= 12, attempts
        assert len(attempts) <= 2 * len(began), attempts
        gaps = [later - earlier for earlier, later in pairwise(began)]
        assert max(gaps[-2:]) > gaps[0]
        assert len({round(gap, 2) for gap in gaps}) == len(gaps), "no jitter"
    finally:
        server.close()
        await server.wait_closed()


class _Liar(FakeBroker):
    """A cluster's only way in, which sends clients wherever `advertised` says."""

    def __init__(self, *advertised: tuple[int, str, int]) -> None:
        super().__init__()
        self.advertised = advertised
        self.ends["orders"] = [10] * max(1, len(advertised))
        self.commits["g"] = {"orders": {0: 4}}
        self.states["g"] = "Empty"

    def _metadata(self, request: object, error: int) -> object:
        nodes = [(node, host, port, None, {}) for node, host, port in self.advertised]
        parts = [
            (0, p, node, 0, [node], [node], [], {})
            for p, (node, *_) in zip(range(len(self.ends["orders"])), self.advertised, strict=False)
        ]
        return 0, nodes, "fake", NODE, [(0, "orders", b"orders".ljust(16), False, parts, 0, {})], 0, {}

    def _find(self, request: object, error: int) -> object:
        node, host, port = self.advertised[0]
        assert isinstance(request, tuple)
        return 0, [(group, node, host, port, 0, None, {}) for group in request[1]], {}


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port whose connections are never accepted, as behind a firewall that drops packets."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = int(server.getsockname()[1])
        for _ in range(8):  # until the kernel's queue is full
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


async def test_wrong_advertised_addresses_are_a_bounded_failure_of_their_own_cluster(
    kafka: Kafka, source: KafkaLagSource, deaf: int
) -> None:
    """Closed, deaf, senseless and another cluster's addresses: no reading, a reason in time, and others go on."""
    host, _, port = kafka.bootstrap.rpartition(":")
    lies = {
        "closed": [(NODE, "127.0.0.1", free_port())],
        "deaf": [(NODE, "127.0.0.1", deaf)],
        "no port": [(NODE, "127.0.0.1", 0)],
        "no such port": [(NODE, "127.0.0.1", 70_000)],
        "no name": [(NODE, "", 9092)],
        "no such name": [(NODE, "nowhere.invalid", 9092)],
        "not a name": [(NODE, "a" * 300 + "..\0", 9092)],
        "another cluster's": [(NODE, host, int(port))],
        "a crowd": [(node, "127.0.0.1", free_port()) for node in range(50)],
    }
    async with neighbour(kafka, source, "lies") as other, AsyncExitStack() as stack:
        begin = time.time()
        seen = {}
        for label, advertised in lies.items():
            liar = await stack.enter_async_context(_Liar(*advertised))
            followed = Followed(source.subscribe(request(liar.address, "g", "orders", interval=0.5)))
            seen[label] = await stack.enter_async_context(followed)
        await eventually(lambda: all(len(each.bad()) >= 4 for each in seen.values()), 3 * _READING_SECONDS)
        end = time.time()
        for label, each in seen.items():
            assert each.good() == [], label
            reasons = {reading.reason for reading in each.bad()}
            expected = {SourceReason.BROKER_UNREACHABLE, SourceReason.PARTIAL_READING}
            if label == "another cluster's":  # which has neither the topic nor the group, and says so
                expected |= {SourceReason.TOPIC_NOT_FOUND}
            assert reasons <= expected, (label, reasons)
        assert other.longest_wait(begin, end) < 2.5


async def test_a_resolver_that_fails_or_hangs_disturbs_no_connection_that_is_there(
    behind_proxy: tuple[Kafka, Proxy],
    kafka: Kafka,
    source: KafkaLagSource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connections outlive the resolver; names that cannot be looked up cost their own clusters only."""
    broker, proxy = behind_proxy
    name = await group_on(broker, "dns")
    resolve, hang = socket.getaddrinfo, threading.Event()

    def broken(host: str, *more: object, **named: object) -> object:
        if host == "gone.test":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if host.startswith("hangs"):
            hang.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *more, **named)  # type: ignore[arg-type]

    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(neighbour(kafka, source, "dns"))
        monkeypatch.setattr(socket, "getaddrinfo", broken)
        stack.callback(hang.set)
        begin = time.time()
        names = ["gone.test", *(f"hangs-{i}.test" for i in range(12))]
        seen = [
            await stack.enter_async_context(Followed(source.subscribe(request(f"{host}:9092", "g", "t", interval=0.5))))
            for host in names
        ]
        await eventually(lambda: all(each.bad() for each in seen), 2 * _READING_SECONDS)
        # A cluster that is only now connected to, by a name that can be looked up.
        fresh = Followed(source.subscribe(request(f"localhost:{proxy.port}", name, name)))
        await stack.enter_async_context(fresh)
        await eventually(fresh.good, _READING_SECONDS)
        end = time.time()
        assert not any(each.good() for each in seen)
        assert {reading.reason for each in seen for reading in each.bad()} == {SourceReason.BROKER_UNREACHABLE}
        assert other.longest_wait(begin, end) < 2.0
