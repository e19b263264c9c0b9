"""From Secrets to a way into a cluster: what is read when, what a missing key is told, what happens on a change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from consumer_autoscaler.cluster.errors import Forbidden, KubeError, KubeUnreachable, NotFound
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.secrets import Secrets
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.resource.access import SaslAccess, SecretKey, TlsAccess
from consumer_autoscaler.resource.access_schema import SaslMechanism
from consumer_autoscaler.resource.spec import KafkaSpec
from consumer_autoscaler.runtime.kafka_access import KafkaAccess, Unresolved
from consumer_autoscaler.sources.kafka.access.security import (
    AwsLogin,
    Mechanism,
    OAuthLogin,
    PasswordLogin,
    Security,
    Tls,
)
from consumer_autoscaler.sources.kafka.inspection.owners import Owners
from consumer_autoscaler.sources.protocol import GroupRequest, LagSource, Subscription

Content = dict[str, bytes]
VALID = Unavailable(SourceReason.PARTIAL_READING, "stands for a reading")
REFUSED = Unavailable(SourceReason.AUTHENTICATION_FAILED, "wrong password")


class FakeKube:
    """Has Secrets of the namespace `shop`; an exception in place of a content is raised."""

    def __init__(self, **secrets: Content | KubeError) -> None:
        self.secrets = secrets
        self.reads: list[str] = []

    async def get_secret(self, namespace: str, name: str) -> Content:
        assert namespace == "shop"
        self.reads.append(name)
        found = self.secrets.get(name, NotFound("NotFound", "none"))
        if isinstance(found, KubeError):
            raise found
        return found


class FakeLag:
    """Remembers who subscribed with which Security, and gives `answer` to all."""

    def __init__(self) -> None:
        self.ways: list[Security | None] = []
        self.open = 0
        self.older_than: list[float | None] = []
        self.again: list[float] = []
        self.answer = VALID

    def subscribe(self, request: GroupRequest) -> Subscription:
        self.ways.append(request.security)
        self.open += 1
        lag = self

        class One:
            async def next(self) -> GroupReading | Unavailable:
                return lag.answer

            def look_up_older_than(self, seconds: float | None) -> None:
                lag.older_than.append(seconds)

            def look_again(self, seconds: float) -> None:
                lag.again.append(seconds)

            async def owners(self) -> Owners:
                return {}

            def close(self) -> None:
                lag.open -= 1

        return One()

    async def aclose(self) -> None:
        """Nothing to end."""


def access(
    kube: FakeKube, lag: FakeLag | None = None, *, bare: bool = False, again: float = 300, refused: float = 10
) -> KafkaAccess:
    return KafkaAccess(cast(LagSource, lag or FakeLag()), Secrets(cast(Kube, kube)), bare, again, refused)


def login(mechanism: SaslMechanism = SaslMechanism.SCRAM_SHA_512, **more: Any) -> SaslAccess:
    username = SecretKey("me", ("username",), or_name=True)
    return SaslAccess(mechanism=mechanism, username=username, password=SecretKey("me", ("password",)), **more)


def spec(tls: TlsAccess | None = None, sasl: SaslAccess | None = None) -> KafkaSpec:
    return KafkaSpec(
        bootstrap_servers=("k:1",),
        consumer_group="g",
        topics=(),
        offset_reset=OffsetReset.LATEST,
        tls=tls,
        sasl=sasl,
    )


def subscription(to: KafkaAccess, wanted: KafkaSpec, *, interval: float = 0.001) -> Subscription:
    request = GroupRequest(bootstrap_servers=("k:1",), consumer_group="g", interval_seconds=interval)
    return to.subscribe("shop", wanted, request)


async def resolved(kube: FakeKube, wanted: KafkaSpec, *, bare: bool = False) -> Security:
    return (await access(kube, bare=bare).resolve("shop", wanted, max_age_seconds=1))[0]


CA, OWN = SecretKey("ca", ("ca.crt",)), ("tls.crt", "user.crt")


async def test_the_keys_that_are_named_become_the_way_in() -> None:
    """TLS material and a login, each Secret read once."""
    kube = FakeKube(ca={"ca.crt": b"CA"}, me={"user.crt": b"CERT", "user.key": b"KEY", "password": b"p"})
    own = TlsAccess(ca=CA, certificate=SecretKey("me", OWN), private_key=SecretKey("me", ("tls.key", "user.key")))
    expected = PasswordLogin(mechanism=Mechanism.SCRAM_SHA_512, username="me", password="p")
    security = await resolved(kube, spec(own, login()))
    assert security == Security(tls=Tls(ca_pem="CA", certificate_pem="CERT", key_pem="KEY"), login=expected)
    assert kube.reads == ["ca", "me"]


async def test_tokens_and_msk_have_their_own_parts() -> None:
    """The user's key holds the client's id, or the access key's."""
    kube = FakeKube(ca={"ca.crt": b"CA"}, me={"username": b" id\n", "password": b"p"}, aws={"token": b"t"})
    oauth = login(SaslMechanism.OAUTHBEARER, token_endpoint="https://id/", scope="s", oauth_ca=CA)
    assert (await resolved(kube, spec(TlsAccess(), oauth))).login == OAuthLogin(
        token_endpoint="https://id/", client_id="id", client_secret="p", scope="s", ca_pem="CA"
    )
    token = SecretKey("aws", ("token",), optional=True)
    aws = login(SaslMechanism.AWS_MSK_IAM, aws_region="r", session_token=token)
    expected = AwsLogin(region="r", access_key_id="id", secret_access_key="p", session_token="t")
    assert (await resolved(kube, spec(TlsAccess(), aws))).login == expected
    kube.secrets["aws"] = {}
    assert (await resolved(kube, spec(TlsAccess(), aws))).login == AwsLogin(
        region="r", access_key_id="id", secret_access_key="p"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (NotFound("NotFound", ""), "there is no Secret me in namespace shop"),
        (Forbidden("Forbidden", ""), "the operator may not read Secret me: give it the right to get Secrets"),
        ({}, "Secret me has no key password"),
        ({"password": b""}, "Secret me: password is empty"),
        ({"password": b"\xff"}, "Secret me: password is not text in UTF-8"),
        ({"password": b"x" * 300_000}, "Secret me: password is longer than 256 KiB"),
        ({"password": b"p\n"}, "Secret me: password ends with a line break"),
    ],
)
async def test_what_cannot_be_used_is_named_and_not_shown(content: Content | KubeError, says: str) -> None:
    """The Secret, the key, and what to do; nothing of the content."""
    with pytest.raises(Unresolved, match=says):
        await resolved(FakeKube(me=content), spec(sasl=login()))


async def test_a_login_that_anybody_could_hear_needs_the_operators_leave() -> None:
    """PLAIN and tokens over no TLS, a client's secret over http; SCRAM shows nothing."""
    kube = FakeKube(me={"password": b"p"})
    plain, scram = spec(sasl=login(SaslMechanism.PLAIN)), spec(sasl=login())
    http = spec(TlsAccess(), login(SaslMechanism.OAUTHBEARER, token_endpoint="http://id/"))
    for wanted in (plain, http):
        with pytest.raises(Unresolved, match="--allow-passwords-without-tls"):
            await resolved(kube, wanted)
        assert (await resolved(kube, wanted, bare=True)).login is not None
    assert (await resolved(kube, scram)).protocol == "SASL_PLAINTEXT"


async def test_a_resource_without_secrets_costs_none() -> None:
    """It subscribes as it is."""
    kube, lag = FakeKube(), FakeLag()
    assert await subscription(access(kube, lag), spec()).next() is VALID
    assert (kube.reads, lag.ways) == ([], [None])


async def test_many_resources_share_one_reading_of_a_secret() -> None:
    """At the same time and later."""
    kube, lag = FakeKube(me={"password": b"p"}), FakeLag()
    shared = access(kube, lag)
    readings = [subscription(shared, spec(sasl=login())) for _ in range(20)]
    await asyncio.gather(*(each.next() for each in readings))
    await readings[0].next()
    assert kube.reads == ["me"]
    assert len(set(lag.ways)) == 1


async def eventually(kube: FakeKube, step: Callable[[], Awaitable[object]], holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await step()
            await asyncio.sleep(0.001)


async def test_a_new_password_is_taken_up_and_the_old_client_left() -> None:
    """With what was asked of the old subscription."""
    kube, lag = FakeKube(me={"password": b"old"}), FakeLag()
    reading = subscription(access(kube, lag, again=0.01), spec(sasl=login()))
    reading.look_up_older_than(7)
    await reading.next()
    reading.look_again(4)
    assert lag.again == [4]
    kube.secrets["me"] = {"password": b"new"}
    await eventually(kube, reading.next, lambda: len(lag.ways) > 1)
    assert [cast(PasswordLogin, way.login).password for way in lag.ways if way] == ["old", "new"]
    assert (lag.open, lag.older_than) == (1, [7, 7])
    reading.close()
    assert lag.open == 0


async def test_a_secret_is_read_again_soon_when_the_login_is_refused() -> None:
    """Long before the five minutes; unchanged content keeps its place."""
    kube, lag = FakeKube(me={"password": b"p"}), FakeLag()
    lag.answer = REFUSED
    reading = subscription(access(kube, lag, refused=0.005), spec(sasl=login()))
    await eventually(kube, reading.next, lambda: len(kube.reads) > 3)
    assert len(lag.ways) == 1


async def test_a_missing_secret_is_told_until_it_is_there() -> None:
    """And one that is taken away ends the reading: whoever deletes it means that."""
    kube, lag = FakeKube(), FakeLag()
    reading = subscription(access(kube, lag, again=0.005, refused=0.005), spec(sasl=login()))
    for _ in range(3):
        told = await reading.next()
        assert isinstance(told, Unavailable)
        assert told.reason is SourceReason.AUTHENTICATION_FAILED
        assert "there is no Secret me" in told.message
    kube.secrets["me"] = {"password": b"p"}
    await eventually(kube, reading.next, lambda: lag.open == 1)
    del kube.secrets["me"]
    await eventually(kube, reading.next, lambda: lag.open == 0)


async def test_a_repaired_secret_is_found_long_before_a_long_interval_ends() -> None:
    """Whoever creates the missing Secret need not wait for the next poll."""
    kube, lag = FakeKube(), FakeLag()
    reading = subscription(access(kube, lag, refused=0.005), spec(sasl=login()), interval=300)
    assert (await reading.next()) is not VALID
    asyncio.get_running_loop().call_later(0.02, kube.secrets.update, {"me": {"password": b"p"}})
    async with asyncio.timeout(5):
        assert await reading.next() is VALID


async def test_an_api_server_in_trouble_ends_no_reading() -> None:
    """What was read last goes on, and readings wait for it rarely."""
    kube, lag = FakeKube(me={"password": b"p"}), FakeLag()
    reading = subscription(access(kube, lag, again=0), spec(sasl=login()))
    await reading.next()
    kube.secrets["me"] = KubeUnreachable("Timeout", "no answer")
    for _ in range(10):
        assert await reading.next() is VALID
    assert (len(kube.reads), lag.open) == (2, 1)


async def test_secrets_that_cannot_be_read_at_the_start_are_waited_for() -> None:
    """Without a password there is nothing to connect with."""
    lag = FakeLag()
    down = FakeKube(me=KubeUnreachable("Timeout", "no answer"))
    told = await subscription(access(down, lag), spec(sasl=login())).next()
    assert told == Unavailable(SourceReason.AUTHENTICATION_FAILED, "the Secrets cannot be read now: Timeout")
    assert lag.ways == []
