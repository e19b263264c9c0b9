"""Every way into a real broker, each wrong one by its name, sessions that end, and the rights that readings need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import create_conn
from tests.addresses import ON_THIS_MACHINE

from bed import kafka_admin
from bed.jvm import KAFKA_NEWEST_VERSION, KAFKA_OLD_VERSION
from bed.kafka_admin import AclFor, AclOn
from bed.kafka_security import SESSION_SECONDS, SecureKafka
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, Unavailable
from consumer_autoscaler.sources.kafka.access.opening import Access
from consumer_autoscaler.sources.kafka.access.security import (
    AwsLogin,
    Login,
    Mechanism,
    OAuthLogin,
    PasswordLogin,
    Security,
)
from consumer_autoscaler.sources.kafka.access.security import Tls as TlsMaterial
from consumer_autoscaler.sources.kafka.access.tls import tls_context
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.kafka.wire import requests as wire
from consumer_autoscaler.sources.kafka.wire.codec import Cursor
from consumer_autoscaler.sources.kafka.wire.requests import Answer
from consumer_autoscaler.sources.protocol import GroupRequest, Subscription

pytestmark = pytest.mark.integration

TOPIC, GROUP = "ways", "ways"
Where = tuple[str, Security]  # a listener ("" for the bed's own) and a way into it
Way = Callable[[SecureKafka], Where]


def tls(kafka: SecureKafka, *, ca: str = "ca", own: str = "") -> TlsMaterial:
    pair = {"certificate_pem": kafka.pem(f"{own}.crt"), "key_pem": kafka.pem(f"{own}.key")} if own else {}
    return TlsMaterial(ca_pem=kafka.pem(f"{ca}.crt"), **pair)


def password(mechanism: str, user: str = "alice", secret: str = "") -> PasswordLogin:
    return PasswordLogin(mechanism=Mechanism(mechanism), username=user, password=secret or f"{user}-secret")


def oauth(kafka: SecureKafka, client: str = "app", secret: str = "", *, ca: str = "ca", url: str = "") -> OAuthLogin:
    assert kafka.tokens is not None
    endpoint = url or kafka.tokens.url
    return OAuthLogin(
        token_endpoint=endpoint,
        client_id=client,
        client_secret=secret or f"{client}-secret",
        ca_pem=kafka.pem(f"{ca}.crt"),
    )


def over_tls(login: Callable[[SecureKafka], Login]) -> Way:
    return lambda kafka: ("LOGIN", Security(tls=tls(kafka), login=login(kafka)))


def bare(login: Login) -> Way:
    return lambda kafka: ("BARE", Security(login=login))


RIGHT: dict[str, Way] = {
    "plaintext": lambda kafka: ("", Security()),
    "tls": lambda kafka: ("TLS", Security(tls=tls(kafka))),
    "mutual tls": lambda kafka: ("MUTUAL", Security(tls=tls(kafka, own="client"))),
    "plain over tls": over_tls(lambda _: password("PLAIN")),
    "scram 256 over tls": over_tls(lambda _: password("SCRAM-SHA-256")),
    "scram 512 over tls": over_tls(lambda _: password("SCRAM-SHA-512")),
    "oauthbearer over tls": over_tls(oauth),
    "plain": bare(password("PLAIN")),
    "scram 256": bare(password("SCRAM-SHA-256")),
}
AWS = AwsLogin(region="eu-west-1", access_key_id="AKID", secret_access_key="secret")
WRONG: dict[str, tuple[Way, str]] = {
    "wrong password, plain": (bare(password("PLAIN", secret="x")), "refuses user 'alice' by PLAIN: unknown user or"),
    "wrong password, scram": (
        over_tls(lambda _: password("SCRAM-SHA-512", secret="x")),
        "refuses user 'alice' by SCRAM-SHA-512: unknown user or wrong password",
    ),
    "unknown user": (bare(password("SCRAM-SHA-256", "eve")), "refuses user 'eve' by SCRAM-SHA-256: unknown user"),
    "unknown ca": (
        lambda kafka: ("TLS", Security(tls=tls(kafka, ca="other"))),
        "signed by a CA that is not trusted: name its CA in `tls.caSecretRef`",
    ),
    "own ca not named": (lambda kafka: ("TLS", Security(tls=TlsMaterial())), "signed by a CA that is not trusted"),
    "certificate expired": (lambda kafka: ("EXPIRED", Security(tls=tls(kafka))), "its certificate has expired"),
    "another name": (lambda kafka: ("OTHERNAME", Security(tls=tls(kafka))), "certificate is for another name"),
    "no client certificate": (
        lambda kafka: ("MUTUAL", Security(tls=tls(kafka))),
        "it wants a client's certificate: set `tls.certificateSecretRef`",
    ),
    "a stranger's certificate": (
        lambda kafka: ("MUTUAL", Security(tls=tls(kafka, own="stranger"))),
        "it does not accept the client's certificate",
    ),
    "mechanism not offered": (
        bare(password("SCRAM-SHA-512")),
        "does not offer SCRAM-SHA-512 on this port, but: PLAIN, SCRAM-SHA-256",
    ),
    "no tls on a tls port": (lambda kafka: ("TLS", Security()), "it speaks TLS on this port: set `tls`"),
    "tls on a port without": (lambda kafka: ("", Security(tls=tls(kafka))), "it speaks no TLS on this port: leave out"),
    "no login where one is wanted": (
        lambda kafka: ("BARE", Security()),
        "it wants a login, by one of PLAIN, SCRAM-SHA-256: set `sasl`",
    ),
    "no login where one is wanted, tls": (
        lambda kafka: ("LOGIN", Security(tls=tls(kafka))),
        "it wants a login, by one of OAUTHBEARER, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512: set `sasl`",
    ),
    "login where none is wanted": (
        lambda kafka: ("", Security(login=password("PLAIN"))),
        "it wants no login on this port: leave out `sasl`",
    ),
    "wrong client secret": (
        over_tls(lambda kafka: oauth(kafka, secret="x")),
        "gives no token: status 401 (invalid_client)",
    ),
    "token that the broker does not believe": (over_tls(lambda kafka: oauth(kafka, "forged")), "refuses the token"),
    "token endpoint of another ca": (
        over_tls(lambda kafka: oauth(kafka, ca="other")),
        "not trusted: name its CA in `sasl.oauth.caSecretRef`",
    ),
    "not an msk cluster": (over_tls(lambda _: AWS), "it refuses the signed token: check the access key, the region"),
}


@pytest.fixture(scope="module")
def kafka(secure_kafka: SecureKafka) -> SecureKafka:
    secure_kafka.create_topic(TOPIC, 2)
    kafka_admin.run(kafka_admin.produce_now(secure_kafka.bootstrap, TOPIC, {0: 3, 1: 4}))
    positions = {TopicPartition(TOPIC, 0): 1, TopicPartition(TOPIC, 1): 1}
    kafka_admin.run(kafka_admin.commit_offsets(secure_kafka.bootstrap, GROUP, positions))
    return secure_kafka


@pytest.fixture
async def source() -> AsyncIterator[KafkaLagSource]:
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    yield source
    await source.aclose()


def follow(source: KafkaLagSource, kafka: SecureKafka, where: Where, group: str = GROUP, *topics: str) -> Subscription:
    listener, security = where
    address = kafka.address(listener) if listener else kafka.bootstrap
    return source.subscribe(
        GroupRequest(
            bootstrap_servers=(address,), consumer_group=group, topics=topics, security=security, interval_seconds=1
        )
    )


@pytest.mark.parametrize("name", RIGHT)
async def test_every_way_in_gives_the_lag(source: KafkaLagSource, kafka: SecureKafka, name: str) -> None:
    """The same from each."""
    reading = await follow(source, kafka, RIGHT[name](kafka)).next()
    assert isinstance(reading, GroupReading), reading
    assert [partition.lag_messages for partition in reading.partitions] == [2, 3]


@pytest.mark.parametrize("name", WRONG)
async def test_every_wrong_way_in_is_named_with_its_remedy(
    source: KafkaLagSource, kafka: SecureKafka, name: str
) -> None:
    """AuthenticationFailed, what is wrong, and no secret in it."""
    way, says = WRONG[name]
    reading = await follow(source, kafka, way(kafka)).next()
    assert isinstance(reading, Unavailable)
    assert reading.reason is SourceReason.AUTHENTICATION_FAILED, reading
    assert says in reading.message
    assert "secret" not in reading.message.replace("check the client's id, secret", "")


@pytest.mark.long
@pytest.mark.parametrize("version", [KAFKA_OLD_VERSION, KAFKA_NEWEST_VERSION])
async def test_older_and_newer_brokers_let_in_and_refuse_alike(source: KafkaLagSource, version: str) -> None:
    """The same ways and the same words, from the oldest line to the newest."""
    users, clients = {"alice": "alice-secret"}, {"app": "app-secret", "forged": "forged-secret"}
    with SecureKafka(passwords=users, clients=clients, version=version, heap_mib=256) as kafka:
        await kafka_admin.create_topics(kafka.bootstrap, [kafka_admin.Topic(TOPIC, 1)])
        for on in (AclOn.TOPIC, AclOn.GROUP):
            await kafka_admin.allow(kafka.bootstrap, "User:*", AclFor.DESCRIBE, on, TOPIC)
        for name, way in RIGHT.items():
            reading = await follow(source, kafka, way(kafka), GROUP, TOPIC).next()
            assert isinstance(reading, GroupReading), f"{name}: {reading}"
        for name, (way, says) in WRONG.items():
            refused = await follow(source, kafka, way(kafka)).next()
            assert isinstance(refused, Unavailable), name
            assert refused.reason is SourceReason.AUTHENTICATION_FAILED, f"{name}: {refused}"
            assert says in refused.message


async def test_a_token_endpoint_that_does_not_answer_is_no_refusal(source: KafkaLagSource, kafka: SecureKafka) -> None:
    """It is tried again as a broker that does not answer is."""
    where = "LOGIN", Security(tls=tls(kafka), login=oauth(kafka, url="https://127.0.0.1:1/token"))
    reading = await follow(source, kafka, where).next()
    assert isinstance(reading, Unavailable)
    assert reading.reason is SourceReason.BROKER_UNREACHABLE
    assert "the token endpoint 127.0.0.1:1 does not answer" in reading.message


class _Token(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, text: str) -> None:
        self._text = text

    async def token(self) -> str:
        return self._text


async def test_aiokafka_takes_a_refused_token_for_accepted(kafka: SecureKafka) -> None:
    """Why the exchange is our own (docs/aiokafka-defects.md); fails when that has become unnecessary."""
    assert kafka.tokens is not None
    host, port = kafka.address("LOGIN").split(":")
    connection = await create_conn(
        host,
        int(port),
        security_protocol="SASL_SSL",
        ssl_context=tls_context(tls(kafka)),
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=_Token(kafka.tokens.token("forged")),
    )
    connection.close()


async def test_what_is_refused_is_asked_ever_more_rarely(source: KafkaLagSource, kafka: SecureKafka) -> None:
    """However many wait for it: a wrong password must not lock an account."""
    assert kafka.tokens is not None
    before = kafka.tokens.refused
    groups = [follow(source, kafka, over_tls(lambda k: oauth(k, secret="y"))(kafka), f"g{i}") for i in range(10)]
    for _ in range(5):
        readings = await asyncio.gather(*(each.next() for each in groups))
        assert {getattr(each, "reason", None) for each in readings} == {SourceReason.AUTHENTICATION_FAILED}
    assert 1 <= kafka.tokens.refused - before <= 5


async def test_connections_are_replaced_before_their_sessions_end(source: KafkaLagSource, kafka: SecureKafka) -> None:
    """Passwords where the broker ends sessions, and tokens that end: no reading fails over several lives."""
    assert kafka.tokens is not None
    kafka.tokens.life_seconds, before = SESSION_SECONDS, kafka.tokens.granted
    try:
        wanted = [RIGHT["scram 256"](kafka), RIGHT["oauthbearer over tls"](kafka)]
        readings = [follow(source, kafka, where) for where in wanted]
        end = time.monotonic() + 2.5 * SESSION_SECONDS
        while time.monotonic() < end:
            for reading in await asyncio.gather(*(each.next() for each in readings)):
                assert isinstance(reading, GroupReading), reading
        assert kafka.tokens.granted - before >= 3
    finally:
        kafka.tokens.life_seconds = 60


async def test_what_is_equal_shares_a_client(source: KafkaLagSource, kafka: SecureKafka) -> None:
    """And another password has another one, even of the same user."""
    where = [RIGHT["scram 512 over tls"](kafka) for _ in range(2)]
    await asyncio.gather(*(follow(source, kafka, each, f"g{i}").next() for i, each in enumerate(where)))
    assert (source.stats.clusters, source.stats.connections) == (1, 1)
    await follow(source, kafka, WRONG["wrong password, scram"][0](kafka)).next()
    assert source.stats.clusters == 2


@pytest.fixture(scope="module")
async def rights(kafka: SecureKafka) -> AsyncIterator[None]:
    """A group `live` with a member, and one `empty` with commits only, both on the topics one and two."""
    topics = [kafka_admin.Topic(name, 1) for name in ("one", "two")]
    await kafka_admin.create_topics(kafka.bootstrap, topics)
    positions = {TopicPartition(name, 0): 0 for name in ("one", "two")}
    await kafka_admin.commit_offsets(kafka.bootstrap, "empty", positions)
    allowed = {"full": ("one", "two"), "no-topic": (), "one-topic": ("one",), "no-group": ("one", "two")}
    for user, names in allowed.items():
        for name in names:
            await kafka_admin.allow(kafka.bootstrap, f"User:{user}", AclFor.DESCRIBE, AclOn.TOPIC, name)
        for group in ("live", "empty") if user != "no-group" else ():
            await kafka_admin.allow(kafka.bootstrap, f"User:{user}", AclFor.DESCRIBE, AclOn.GROUP, group)
    member = AIOKafkaConsumer("one", "two", bootstrap_servers=kafka.bootstrap, group_id="live")
    await member.start()
    yield
    await member.stop()


@pytest.mark.usefixtures("rights")
@pytest.mark.parametrize("topics", [(), ("one", "two")], ids=["the group's own", "named"])
@pytest.mark.parametrize("group", ["live", "empty"])
async def test_describe_on_the_group_and_its_topics_is_enough(
    source: KafkaLagSource, kafka: SecureKafka, group: str, topics: tuple[str, ...]
) -> None:
    """With a member and without, whether topics are named or not."""
    reading = await follow(source, kafka, bare(password("PLAIN", "full"))(kafka), group, *topics).next()
    assert isinstance(reading, GroupReading), reading
    assert {partition.topic for partition in reading.partitions} == {"one", "two"}


@pytest.mark.usefixtures("rights")
@pytest.mark.parametrize(
    ("user", "group", "topics", "missing"),
    [
        ("no-group", "live", (), "the right Describe on group live is missing"),
        ("no-group", "empty", ("one", "two"), "the right Describe on group empty is missing"),
        ("no-topic", "live", (), "the right Describe on topic one is missing"),
        ("no-topic", "empty", ("one", "two"), "the right Describe on topic one is missing"),
        ("one-topic", "live", (), "the right Describe on topic two is missing"),
        ("one-topic", "empty", ("one", "two"), "the right Describe on topic two is missing"),
    ],
)
async def test_one_right_less_is_named(
    source: KafkaLagSource, kafka: SecureKafka, user: str, group: str, topics: tuple[str, ...], missing: str
) -> None:
    """At every reading, and never as a part of the lag."""
    subscription = follow(source, kafka, bare(password("PLAIN", user))(kafka), group, *topics)
    for _ in range(2):
        reading = await subscription.next()
        assert isinstance(reading, Unavailable), reading
        assert reading.reason is SourceReason.AUTHORIZATION_FAILED
        assert missing in reading.message


def codes_of_topics(answer: Answer) -> list[int]:
    cursor = Cursor(answer.data)
    wire.read_brokers(cursor)
    return [topic.error for topic in wire.read_topics(cursor)]


def codes_of_offsets(answer: Answer) -> list[int]:
    return [error for _, rows in wire.read_offsets(answer.data) for _, error, _ in rows]


def codes_of_commits(answer: Answer) -> list[int]:
    (group,) = wire.read_committed(answer.data)
    return [group.error] if group.error else [group.partition_errors.get(topic, 0) for topic in group.committed]


# What is asked, how the codes are read, and the codes for `full`, `no-topic` and `no-group`.
REQUESTS: dict[str, tuple[wire.Request, Callable[[Answer], list[int]], list[list[int]]]] = {
    "Metadata": (wire.metadata(["one"]), codes_of_topics, [[0], [29], [0]]),
    "ListOffsets": (wire.list_offsets([wire.list_item("one", [0], -1)]), codes_of_offsets, [[0], [29], [0]]),
    "FindCoordinator": (
        wire.find_coordinator(["live"]),
        lambda answer: [error for _, error, _ in wire.read_coordinators(answer.data)],
        [[0], [0], [30]],
    ),
    "OffsetFetch": (
        wire.offset_fetch([wire.fetch_item("empty", {"one": 1})]),
        codes_of_commits,
        [[0], [29], [30]],
    ),
    "OffsetFetch of all topics": (
        wire.offset_fetch([wire.fetch_item("empty", None)]),
        codes_of_commits,
        [[0, 0], [], [30]],  # hidden, not refused
    ),
    "DescribeGroups": (
        wire.describe_classic(["live"]),
        lambda answer: [each.error for each in wire.read_classic(answer.data)],
        [[0], [0], [30]],
    ),
    "ConsumerGroupDescribe": (
        wire.describe_consumer(["live"]),
        lambda answer: [each.error for each in wire.read_consumer(answer)],
        [[69], [69], [30]],  # 69: of another kind; the right is asked for first
    ),
}


@pytest.mark.usefixtures("rights")
@pytest.mark.parametrize("name", REQUESTS)
async def test_which_right_each_request_needs(kafka: SecureKafka, name: str) -> None:
    """The table in docs/kafka-access.md, request by request."""
    request, read, expected = REQUESTS[name]
    host, port = kafka.address("BARE").split(":")
    found = []
    for user in ("full", "no-topic", "no-group"):
        security = Security(login=password("PLAIN", user))
        access = Access(security, policy=ON_THIS_MACHINE, clock=time.time, timeout_seconds=10)
        connection = await access.open(host, int(port), client_id="rights")
        try:
            found.append(read(await connection.send(request)))
        finally:
            connection.close()
    assert found == expected


@pytest.mark.usefixtures("rights")
async def test_kafka_hides_what_may_not_be_described_in_a_group_without_members(
    source: KafkaLagSource, kafka: SecureKafka
) -> None:
    """Why docs/kafka-access.md says to name the topics: nobody could tell that something is left out."""
    whole = await follow(source, kafka, bare(password("PLAIN", "no-topic"))(kafka), "empty").next()
    assert isinstance(whole, Unavailable)
    assert "has neither subscriptions nor commits that the operator may see; name its topics" in whole.message
    part = await follow(source, kafka, bare(password("PLAIN", "one-topic"))(kafka), "empty").next()
    assert isinstance(part, GroupReading)
    assert {partition.topic for partition in part.partitions} == {"one"}
