"""A server that speaks Prometheus' API, well and badly: what a real one cannot be made to do on demand."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.addresses import ON_THIS_MACHINE

from bed.pki import make_ca, make_pair
from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.kafka.access.security import Tls
from consumer_autoscaler.sources.prometheus import Ask, PrometheusMetrics
from consumer_autoscaler.sources.prometheus_http import Failure, PrometheusFailed, PrometheusHttp, Server
from consumer_autoscaler.sources.promql import Scope

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECRET = "t0p-s3cret"


@asynccontextmanager
async def server(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Its address."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answers(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=headers)

    return handle


def vector(*entries: tuple[dict[str, str], str]) -> dict[str, Any]:
    result = [{"metric": labels, "value": [1700000000.1, value]} for labels, value in entries]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def refused(kind: str, message: str) -> dict[str, Any]:
    return {"status": "error", "errorType": kind, "error": message}


async def _slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def _drip(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(300):
        await answer.write(b" ")
        await asyncio.sleep(0.1)
    return answer


async def _endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(1000):
        await answer.write(b" " * 65_536)
    return answer


async def _cut_off(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "5000"})
    await answer.prepare(request)
    await answer.write(b"{")
    assert request.transport is not None
    request.transport.abort()
    return answer


FAULTS: dict[str, tuple[Handler, Failure, str]] = {
    "401": (answers("", 401), Failure.REFUSED, "refuses the login (status 401): check the Secret"),
    "403": (answers("<html>", 403), Failure.REFUSED, "refuses the login (status 403)"),
    "bad query": (
        answers(refused("bad_data", 'invalid parameter "query": 1:5: parse error'), 400),
        Failure.BAD_QUERY,
        'cannot work on the query (bad_data): invalid parameter "query": 1:5: parse error',
    ),
    "cannot execute": (
        answers(refused("execution", "found duplicate series"), 422),
        Failure.BAD_QUERY,
        "(execution): found duplicate series",
    ),
    "long message": (answers(refused("bad_data", "x\n" * 5000), 400), Failure.BAD_QUERY, "x x x"),
    "not found": (
        answers("404 page not found", 404),
        Failure.NOT_PROMETHEUS,
        "status 404 and no JSON: check `address`",
    ),
    "error": (answers("{}", 500), Failure.NOT_PROMETHEUS, "status 500 and something else than a result"),
    "web page": (answers("<html>hello"), Failure.NOT_PROMETHEUS, "no JSON: check `address`"),
    "other JSON": (answers(["x"]), Failure.NOT_PROMETHEUS, "something else than a result"),
    "no data": (answers({"status": "success"}), Failure.NOT_PROMETHEUS, "in a form that is not understood"),
    "no number": (answers(vector(({}, "abc"))), Failure.NOT_PROMETHEUS, "in a form that is not understood"),
    "nested": (answers("[" * 100_000), Failure.NOT_PROMETHEUS, "no JSON"),
    "matrix": (
        answers({"status": "success", "data": {"resultType": "matrix", "result": []}}),
        Failure.BAD_QUERY,
        "gives a matrix: the query must give a number",
    ),
    "redirect": (answers("", 302, {"Location": "http://127.0.0.1/"}), Failure.NOT_PROMETHEUS, "redirects (status 302)"),
    "busy": (answers("", 503), Failure.OVERLOADED, "is overloaded or away (status 503)"),
    "too many": (answers("", 429), Failure.OVERLOADED, "is overloaded or away (status 429)"),
    "slow": (_slow, Failure.UNREACHABLE, "did not answer within 0.5 s"),
    "dripping": (_drip, Failure.UNREACHABLE, "did not answer within 0.5 s"),
    "endless": (_endless, Failure.BAD_QUERY, "sent more than 4 MiB: let the query sum up"),
    "cut off": (_cut_off, Failure.UNREACHABLE, "cannot be reached"),
}


@pytest.fixture
async def http() -> AsyncIterator[PrometheusHttp]:
    client = PrometheusHttp(policy=ON_THIS_MACHINE)
    yield client
    await client.aclose()


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_has_its_kind_and_words_with_a_remedy(http: PrometheusHttp, fault: str) -> None:
    """Within the time, in one short line, and without the login."""
    handler, kind, words = FAULTS[fault]
    async with server(handler) as address:
        began = time.monotonic()
        # the first answer of a cold process may take its time, where it is not the fault itself
        seconds = 0.5 if fault in ("slow", "dripping") else 5.0
        with pytest.raises(PrometheusFailed) as caught:
            await http.query(Server(address=address, token=SECRET, timeout_seconds=seconds), "up")
        assert time.monotonic() - began < seconds + 1
    assert caught.value.kind is kind
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_fault_is_unavailable_to_the_reader_and_names_prometheus() -> None:
    """The reader never raises."""
    metrics = PrometheusMetrics(PrometheusHttp(policy=ON_THIS_MACHINE))
    async with server(answers("", 401)) as address:
        result = await read(metrics, Server(address=address))
    await metrics.aclose()
    assert isinstance(result, Unavailable)
    assert result.message.startswith(f"Prometheus at {address} refuses the login")


async def test_nobody_listening_and_a_name_that_does_not_exist_are_told(http: PrometheusHttp) -> None:
    """With the address, as it may be mistyped."""
    async with server(answers("")) as address:
        pass
    for nowhere in (address, "http://no-such-host.invalid:9090"):
        with pytest.raises(PrometheusFailed, match=r"cannot be reached at .*: check `address`") as caught:
            await http.query(Server(address=nowhere), "up")
        assert caught.value.kind is Failure.UNREACHABLE


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]"])
async def test_addresses_of_the_machine_itself_are_not_connected_to(host: str) -> None:
    """Whatever the name resolves to: the loopback is the operator's own, link-local addresses are the cloud's."""
    asked: list[web.Request] = []

    async def see(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return web.json_response(vector(({}, "1")))

    client = PrometheusHttp()
    async with server(see) as address:
        port = address.rpartition(":")[2]
        with pytest.raises(PrometheusFailed):
            await client.query(Server(address=f"http://{host}:{port}", timeout_seconds=1), "up")
    await client.aclose()
    assert asked == []


@pytest.mark.parametrize("login", [{"token": 't0ken-"quoted"'}, {"username": "me", "password": "p4ssword-ü"}])
async def test_an_error_that_repeats_the_login_is_not_shown(http: PrometheusHttp, login: dict[str, str]) -> None:
    """What a server says about a query goes into a status; a careless one says what it was sent."""

    async def echo(request: web.Request) -> web.StreamResponse:
        said = f"bad query from {request.headers['Authorization']} {login.get('password', '')}"
        return web.json_response({"status": "error", "errorType": "bad_data", "error": said}, status=422)

    async with server(echo) as address:
        with pytest.raises(PrometheusFailed, match="repeats the login and is left out") as caught:
            await http.query(Server(address=address, **login), "up")
    assert not any(secret in str(caught.value) for secret in login.values() if secret != "me")


async def test_a_redirect_and_a_proxy_of_the_environment_are_not_followed(
    http: PrometheusHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login goes to the address that was given and nowhere else."""
    seen: list[str] = []

    async def victim(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response(vector(({}, "1")))

    async with server(victim) as elsewhere:
        monkeypatch.setenv("http_proxy", elsewhere)
        monkeypatch.setenv("HTTP_PROXY", elsewhere)
        async with server(answers("", 307, {"Location": elsewhere})) as address:
            with pytest.raises(PrometheusFailed, match="redirects"):
                await http.query(Server(address=address, token=SECRET), "up")
    assert seen == []


async def test_the_login_the_path_and_the_query_arrive_and_the_connection_is_kept(http: PrometheusHttp) -> None:
    """A path below which it lives; a token, or a user; GET, which read-only proxies let through, and POST when long."""
    seen: list[tuple[str, str, str, str]] = []
    peers: set[object] = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        query = str(form.get("query") or request.query.get("query"))
        seen.append((request.method, request.path, query, request.headers.get("Authorization", "")))
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response(vector(({"a": 'b"+&%'}, "+Inf"), ({}, "1.5")))

    odd = 'x{a="é+&%\\\\"}'
    async with server(handle) as address:
        prefixed = Server(address=f"{address}/prometheus/", token=SECRET)
        assert await http.query(prefixed, odd) == [({"a": 'b"+&%'}, float("inf")), ({}, 1.5)]
        await http.query(Server(address=address, username="me", password="pä"), "x" * 5000)
        await http.query(Server(address=address), "up")
    assert seen[0] == ("GET", "/prometheus/api/v1/query", odd, f"Bearer {SECRET}")
    assert seen[1] == ("POST", "/api/v1/query", "x" * 5000, "Basic bWU6cMOk")
    assert seen[2] == ("GET", "/api/v1/query", "up", "")
    assert len(peers) == 1
    assert SECRET not in repr(prefixed)


async def test_tls_checks_the_certificate_before_the_login_is_shown(http: PrometheusHttp, tmp_path: Path) -> None:
    """A server whose CA is not trusted sees no request; bad material in the Secret is told."""
    make_ca(tmp_path)
    make_pair(tmp_path, "server", names="IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response(vector(({}, "1")))

    async with server(handle, tls=context) as address:
        with pytest.raises(PrometheusFailed, match=r"not trusted: set `tls\.caSecretRef`"):
            await http.query(Server(address=address, token=SECRET), "up")
        with pytest.raises(PrometheusFailed, match="`tls`: the CA is not a certificate") as caught:
            await http.query(Server(address=address, tls=Tls(ca_pem="x")), "up")
        assert caught.value.kind is Failure.REFUSED
        assert seen == []
        trusted = Tls(ca_pem=(tmp_path / "ca.crt").read_text())
        assert await http.query(Server(address=address, tls=trusted, token=SECRET), "up") == [({}, 1.0)]


async def test_no_more_queries_at_once_than_allowed() -> None:
    """However many resources there are; the time of one does not run while it waits for a place."""
    now = most = 0

    async def busy(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.1)
        now -= 1
        return web.json_response(vector(({}, "1")))

    client = PrometheusHttp(at_once=3, policy=ON_THIS_MACHINE)
    async with server(busy) as address:
        one = Server(address=address, timeout_seconds=0.5)
        await asyncio.gather(*(client.query(one, "up") for _ in range(24)))
    await client.aclose()
    assert most == 3


async def read(
    metrics: PrometheusMetrics, where: Server, *, at: float = 0.0, consumed: float | None = None
) -> ProcessingTime | Unavailable | None:
    return await metrics.read(
        key="uid",
        server=where,
        ask=Ask(preset="Auto", per="Record"),
        scope=Scope("shop", "payments-.*", "g", frozenset()),
        consumption_rate=lambda _: consumed,
        ready_pods=1,
        at=at,
    )


class Modelled:
    """Answers the reader's queries for a Spring listener that is scraped every 15 s."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.there = True
        self.values = {"sum": "2", "count": "40", "age": "3", "samples": "20", "pods": "4"}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        query = request.query["query"]
        self.queries.append(query)
        if not self.there:
            return web.json_response(vector())
        if "count by (__name__)" in query:
            return web.json_response(
                vector(({"__name__": "spring_kafka_listener_seconds_count", "part": "Spring"}, "4"))
            )
        return web.json_response(vector(*(({"part": part}, value) for part, value in self.values.items())))


async def test_one_query_per_reading_with_a_window_that_follows_the_scrapes() -> None:
    """The metric is looked for once; then a minute is enough for pods that are scraped every 15 s."""
    model, metrics = Modelled(), PrometheusMetrics(PrometheusHttp(policy=ON_THIS_MACHINE))
    async with server(model.handle) as address:
        results = [await read(metrics, Server(address=address), at=15.0 * n) for n in range(3)]
        for result in results:
            assert isinstance(result, ProcessingTime), result
            assert result.seconds_per_record == pytest.approx(0.05)
        assert len(model.queries) == 4
        assert "[300s]" in model.queries[1]
        assert "[60s]" in model.queries[2]
        model.there = False
        gone = await read(metrics, Server(address=address), at=60)
        assert isinstance(gone, Unavailable)
        assert "no samples of spring_kafka_listener_seconds any more" in gone.message
        model.there = True
        assert isinstance(await read(metrics, Server(address=address), at=75), ProcessingTime)
        assert "count by (__name__)" in model.queries[-2]  # it was looked for again
        metrics.forget("uid")
        await read(metrics, Server(address=address), at=90)
        assert "count by (__name__)" in model.queries[-2]
    await metrics.aclose()
