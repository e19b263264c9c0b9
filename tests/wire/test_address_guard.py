"""The address policy where connections are made: over HTTP and to brokers, by number and by name."""

from __future__ import annotations

import ast
import asyncio
import socket
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web
from tests.unit.kafka_fake import FakeBroker

import consumer_autoscaler
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.sources.address_policy import AddressDenied, AddressPolicy, Endpoint
from consumer_autoscaler.sources.kafka.access.dial import Dial
from consumer_autoscaler.sources.kafka.access.security import OAuthLogin, Security
from consumer_autoscaler.sources.kafka.access.tokens import Tokens
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.prometheus_http import Failure, PrometheusFailed, PrometheusHttp, Server
from consumer_autoscaler.sources.protocol import GroupRequest

PACKAGE = Path(consumer_autoscaler.__file__).parent
NOT_THE_SECOND = AddressPolicy(allow_loopback=True, denied=(ip_network("127.0.0.2/32"),))


class Names:
    """A resolver of the test's own, which counts."""

    def __init__(self, real: object) -> None:
        self.real = real
        self.of: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def __call__(self, host: str | bytes | None, port: object, *more: object, **named: object) -> object:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self.of:
            return self.real(host, port, *more, **named)  # type: ignore[operator]
        self.asked.append(name)
        answers = self.of[name]
        now = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0)) for address in now]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", names)
    return names


@pytest.fixture
async def visits() -> AsyncIterator[tuple[int, list[str]]]:
    """A port at all loopback addresses, and at which of them somebody came."""
    came: list[str] = []

    async def see(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer.get_extra_info("sockname")[0])
        writer.close()

    server = await asyncio.start_server(see, "0.0.0.0", 0)
    yield server.sockets[0].getsockname()[1], came
    server.close()


def request(*servers: str, security: Security | None = None) -> GroupRequest:
    return GroupRequest(
        bootstrap_servers=servers,
        consumer_group="g",
        topics=("orders",),
        offset_reset=OffsetReset.EARLIEST,
        interval_seconds=0.2,
        security=security,
    )


async def read(policy: AddressPolicy, wanted: GroupRequest) -> GroupReading | Unavailable:
    source = KafkaLagSource(time.time, request_timeout_seconds=5, policy=policy)
    try:
        return await source.subscribe(wanted).next()
    finally:
        await source.aclose()


async def test_a_broker_at_a_denied_address_is_not_connected_to(visits: tuple[int, list[str]]) -> None:
    """The failure has a reason of its own; its message has the field, the class of the address and what to do."""
    port, came = visits
    reading = await read(AddressPolicy(), request(f"127.0.0.1:{port}", f"localhost:{port}"))
    assert isinstance(reading, Unavailable)
    assert reading.reason is SourceReason.ADDRESS_DENIED
    assert f"no bootstrap server is connected to: 127.0.0.1:{port} (`bootstrapServers`: 127.0.0.1 is" in reading.message
    assert f"localhost:{port} (`bootstrapServers`: localhost is at 127.0.0.1, which is a loopback" in reading.message
    assert "--allow-loopback" in reading.message
    assert came == []


async def test_an_address_that_a_broker_advertises_is_not_connected_to(visits: tuple[int, list[str]]) -> None:
    """The bootstrap server may be asked; where it leads is checked as well."""
    port, came = visits
    async with FakeBroker() as broker:
        broker.ends["orders"] = [10]
        broker.commits["g"] = {"orders": {0: 4}}
        broker.states["g"] = "Empty"
        assert isinstance(await read(NOT_THE_SECOND, request(broker.address)), GroupReading)
        broker.advertised = ("127.0.0.2", port)
        reading = await read(NOT_THE_SECOND, request(broker.address))
    assert isinstance(reading, Unavailable)
    assert reading.reason is SourceReason.ADDRESS_DENIED
    assert f"broker 7 (127.0.0.2:{port}) is not connected to: `advertised.listeners` of the brokers" in reading.message
    assert "127.0.0.2 is in 127.0.0.2/32, which the operator's --denied-cidrs has" in reading.message
    assert came == []


async def test_a_name_is_looked_up_once_for_a_connection(visits: tuple[int, list[str]], names: Names) -> None:
    """A second look-up could lead elsewhere than what was checked (DNS rebinding)."""
    port, came = visits
    names.of["rebound"] = [["127.0.0.1"], ["127.0.0.2"]]
    opened = await Dial(NOT_THE_SECOND).socket("rebound", port)
    with opened:
        assert opened.getpeername() == ("127.0.0.1", port)
    assert names.asked == ["rebound"]
    with pytest.raises(AddressDenied, match=r"rebound is at 127\.0\.0\.2"):
        await Dial(NOT_THE_SECOND).socket("rebound", port)
    await asyncio.sleep(0)
    assert "127.0.0.2" not in came


async def test_of_several_addresses_of_a_name_the_allowed_are_used(visits: tuple[int, list[str]], names: Names) -> None:
    port, came = visits
    names.of["several"] = [["169.254.169.254", "127.0.0.2", "127.0.0.1"]]
    with await Dial(NOT_THE_SECOND).socket("several", port) as opened:
        assert opened.getpeername() == ("127.0.0.1", port)
    http = PrometheusHttp(policy=NOT_THE_SECOND)
    with pytest.raises(PrometheusFailed):
        await http.query(Server(address=f"http://several:{port}"), "up")
    await http.aclose()
    assert set(came) == {"127.0.0.1"}


async def test_prometheus_and_token_endpoints_are_checked_by_what_their_names_lead_to(
    visits: tuple[int, list[str]], names: Names
) -> None:
    """By names as well as by addresses, and each with its field."""
    port, came = visits
    names.of["inner"] = [["127.0.0.2"]]
    http = PrometheusHttp(policy=NOT_THE_SECOND)
    for host in ("inner", "127.0.0.2", "[::ffff:127.0.0.2]"):
        with pytest.raises(PrometheusFailed, match=r"`address`: .*127\.0\.0\.2.*--denied-cidrs") as caught:
            await http.query(Server(address=f"http://{host}:{port}", timeout_seconds=2), "up")
        assert caught.value.kind is Failure.ADDRESS_DENIED
    await http.aclose()
    login = OAuthLogin(token_endpoint=f"http://inner:{port}/token", client_id="me", client_secret="s3cret")
    tokens = Tokens(login, policy=NOT_THE_SECOND, clock=time.time, timeout_seconds=2)
    with pytest.raises(AddressDenied, match="inner is at"):
        await tokens.token()
    reading = await read(NOT_THE_SECOND, request(f"127.0.0.1:{port}", security=Security(login=login)))
    assert isinstance(reading, Unavailable)
    assert reading.reason is SourceReason.ADDRESS_DENIED
    assert "`sasl.oauth.tokenEndpoint`: inner is at 127.0.0.2" in reading.message
    assert came == []


async def test_allowed_endpoints_hold_for_names_as_they_are_written(names: Names) -> None:
    """A name that is allowed is asked; another one of the same address is not."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "success", "data": {"resultType": "scalar", "result": [0, "3"]}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    names.of["prometheus.monitoring"] = names.of["another"] = [["127.0.0.1"]]
    allowed = Endpoint.parse(f"monitoring:{port}")
    http = PrometheusHttp(policy=AddressPolicy(allow_loopback=True, allowed=(allowed,)))
    try:
        assert await http.query(Server(address=f"http://prometheus.monitoring:{port}"), "up") == [({}, 3.0)]
        with pytest.raises(PrometheusFailed, match="--allowed-endpoints"):
            await http.query(Server(address=f"http://another:{port}"), "up")
    finally:
        await http.aclose()
        await runner.cleanup()


def test_nothing_of_a_resource_is_connected_to_but_through_the_policy() -> None:
    """Whoever opens connections is in this list: two that ask the policy, and the API server's client."""
    opens = {
        "socket", "create_connection", "open_connection", "create_conn", "AIOKafkaConnection", "AIOKafkaClient",
        "ClientSession", "TCPConnector", "urlopen", "sock_connect", "start_connection",
    }  # fmt: skip
    guarded = {
        "sources/http_guard.py": {"socket"},
        "sources/kafka/access/dial.py": {"socket", "create_connection", "AIOKafkaConnection", "sock_connect"},
        "sources/kafka/access/probe.py": {"socket", "open_connection"},  # its socket is the dial's
        "sources/kafka/access/opening.py": set(),
        "sources/kafka/access/tokens.py": {"ClientSession", "TCPConnector"},
        "sources/pod_http.py": {"ClientSession", "TCPConnector"},
        "sources/prometheus_http.py": {"ClientSession", "TCPConnector"},
        "cluster/credentials.py": {"ClientSession", "TCPConnector"},
    }
    found: dict[str, set[str]] = {}
    for folder in ("sources", "runtime", "cluster", "decision", "resource"):
        for path in (PACKAGE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = node.func
                    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                    if name in opens:
                        found.setdefault(path.relative_to(PACKAGE).as_posix(), set()).add(name)
                    if name == "TCPConnector" and "cluster" not in path.parts:
                        assert "socket_factory" in {keyword.arg for keyword in node.keywords}, path
                    if name == "ClientSession" and "cluster" not in path.parts:
                        assert "connector" in {keyword.arg for keyword in node.keywords}, path
                    if name == "open_connection":
                        assert "sock" in {keyword.arg for keyword in node.keywords}, path
    assert found == {path: names for path, names in guarded.items() if names}
