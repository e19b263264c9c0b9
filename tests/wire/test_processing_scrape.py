"""Reading real HTTP servers that behave like healthy, broken and hostile pods.

Each pod is a server of its own on an own loopback address, all on one port, as pods are.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from tests.addresses import ON_THIS_MACHINE

from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.pod_http import PodHttp
from consumer_autoscaler.sources.processing import PodMetrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NAME = "kafka_consumer_processing_seconds"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def pod(ip: str, port: int, handler: Handler) -> AsyncIterator[None]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, ip, port, reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()


class Counting:
    """A healthy consumer: each reading finds ten more records of 50 ms each."""

    def __init__(self) -> None:
        self.count = 0
        self.requests: list[web.Request] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.count += 10
        body = f'{NAME}_count{{group="g"}} {self.count}\n{NAME}_sum{{group="g"}} {self.count * 0.05}\n'
        return web.Response(text=body)


async def _status(status: int, headers: dict[str, str] | None = None) -> web.StreamResponse:
    return web.Response(status=status, text=f"{NAME}_count 1\n{NAME}_sum 1\n", headers=headers)


async def _slow(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def _drip(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(300):
        await answer.write(b"#\n")
        await asyncio.sleep(0.1)
    return answer


async def _endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(1000):
        await answer.write(b"#" * 65_536)
    return answer


async def _bomb(request: web.Request) -> web.StreamResponse:
    return web.Response(body=gzip.compress(bytes(20_000_000)), headers={"Content-Encoding": "gzip"})


async def _cut_off(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "5000"})
    await answer.prepare(request)
    await answer.write(f"{NAME}_count 1\n".encode())
    assert request.transport is not None
    request.transport.abort()
    return answer


BROKEN: dict[str, tuple[Handler, str]] = {
    "error": (lambda _: _status(500), "answered with status 500"),
    "missing": (lambda _: _status(404), "answered with status 404"),
    "no content": (lambda _: _status(204), "answered with status 204"),
    "redirect": (lambda _: _status(302, {"Location": "http://127.0.0.1/"}), "redirects (status 302)"),
    "empty": (lambda _: _text(" \n"), "sent an empty page"),
    "web page": (lambda _: _text("<html>"), "sent something else than Prometheus metrics"),
    "not a number": (lambda _: _text(f"{NAME}_count NaN\n{NAME}_sum 1\n"), "not a finite number"),
    "infinite": (lambda _: _text(f"{NAME}_count 1\n{NAME}_sum +Inf\n"), "not a finite number"),
    "negative": (lambda _: _text(f"{NAME}_count -1\n{NAME}_sum 1\n"), "is negative"),
    "huge number": (lambda _: _text(f"{NAME}_count 1\n{NAME}_sum 1e18\n"), "too large"),
    "gauge": (lambda _: _text(f"# TYPE {NAME} gauge\n{NAME}_count 1\n{NAME}_sum 1\n"), "another type"),
    "slow": (_slow, "did not answer within 1.5 s"),
    "dripping": (_drip, "did not answer within 1.5 s"),
    "endless": (_endless, "sent more than 4 MiB"),
    "compressed": (_bomb, "compressed its answer"),
    "cut off": (_cut_off, "broke off"),
}


async def _text(text: str) -> web.StreamResponse:
    return web.Response(text=text)


@pytest.fixture
async def metrics() -> AsyncIterator[PodMetrics]:
    reader = PodMetrics(PodHttp(timeout_seconds=1.5, policy=ON_THIS_MACHINE))
    yield reader
    await reader.aclose()


async def read(
    metrics: PodMetrics, ips: dict[str, str], port: int, at: float, key: str = "uid"
) -> ProcessingTime | Unavailable | None:
    return await metrics.read(
        key=key, pods=list(ips.items()), port=port, preset="Auto", per="Record", group="g", topics=["t"],
        consumed_records=None, at=at,
    )  # fmt: skip


async def test_two_readings_of_two_pods_give_their_mean(metrics: PodMetrics):
    """The path from the pods' pages to the time per record."""
    port = free_port()
    ips = {"app-0": "127.0.7.1", "app-1": "127.0.7.2"}
    one, two = Counting(), Counting()
    async with pod(ips["app-0"], port, one), pod(ips["app-1"], port, two):
        assert await read(metrics, ips, port, 0) is None
        result = await read(metrics, ips, port, 15)
        assert isinstance(result, ProcessingTime), result
        assert (result.seconds_per_record, result.records) == (pytest.approx(0.05), 20)
        assert result.source == f"Convention ({NAME}), 2 of 2 pods"
        assert one.requests[0].path == "/metrics"
        assert one.requests[0].headers["Accept-Encoding"] == "identity"
        metrics.forget("uid")
        assert await read(metrics, ips, port, 30) is None  # a first reading again


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_pod_is_told_and_does_not_disturb_the_others(metrics: PodMetrics, fault: str):
    """Two healthy pods of three give the mean; alone, the broken one is Unavailable with its fault."""
    handler, words = BROKEN[fault]
    port = free_port()
    ips = {"app-0": "127.0.7.1", "app-1": "127.0.7.2", "broken": "127.0.7.3"}
    async with AsyncExitStack() as stack:
        for name, ip in ips.items():
            await stack.enter_async_context(pod(ip, port, handler if name == "broken" else Counting()))
        await read(metrics, ips, port, 0)
        result = await read(metrics, ips, port, 15)
        assert isinstance(result, ProcessingTime), result
        assert result.seconds_per_record == pytest.approx(0.05)
        assert result.source.endswith("2 of 3 pods")
        alone = await read(metrics, {"broken": ips["broken"]}, port, 0, key="alone")
    assert isinstance(alone, Unavailable)
    assert alone.message.startswith("0 of 1 pods could be read, more than half are needed: broken ")
    assert words in alone.message


@pytest.mark.parametrize(
    "bytes_sent", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", bytes(100)]
)
async def test_a_server_that_speaks_no_http_is_told(metrics: PodMetrics, bytes_sent: bytes):
    """A port of another protocol is one more fault, not an exception."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes_sent)
        writer.close()

    port = free_port()
    server = await asyncio.start_server(speak, "127.0.7.1", port)
    try:
        result = await read(metrics, {"app-0": "127.0.7.1"}, port, 0)
    finally:
        server.close()
        await server.wait_closed()
    assert isinstance(result, Unavailable)
    assert "app-0" in result.message


async def test_nobody_listening_is_told(metrics: PodMetrics):
    """A wrong port in the resource is named."""
    port = free_port()
    result = await read(metrics, {"app-0": "127.0.7.1"}, port, 0)
    assert isinstance(result, Unavailable)
    assert f"app-0 could not be connected to on port {port}" in result.message


async def test_a_redirect_is_not_followed(metrics: PodMetrics):
    """The server that the pod points at sees no request."""
    port = free_port()
    victim = Counting()

    async def redirect(_: web.Request) -> web.StreamResponse:
        return await _status(307, {"Location": f"http://127.0.7.2:{port}/metrics"})

    async with pod("127.0.7.1", port, redirect), pod("127.0.7.2", port, victim):
        assert isinstance(await read(metrics, {"app-0": "127.0.7.1"}, port, 0), Unavailable)
    assert victim.requests == []


async def test_a_proxy_of_the_environment_is_not_used(metrics: PodMetrics, monkeypatch: pytest.MonkeyPatch):
    """HTTP_PROXY would send the request to another address than the pod's."""
    port = free_port()
    proxy, real = Counting(), Counting()
    monkeypatch.setenv("http_proxy", f"http://127.0.7.9:{port}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.7.9:{port}")
    async with pod("127.0.7.9", port, proxy), pod("127.0.7.1", port, real):
        await read(metrics, {"app-0": "127.0.7.1"}, port, 0)
    assert (len(proxy.requests), len(real.requests)) == (0, 1)


@pytest.mark.parametrize(
    ("ip", "words"),
    [
        *((ip, "not connected to: " + ip.removeprefix("::ffff:")) for ip in (
            "127.0.7.1", "::1", "::ffff:127.0.7.1", "169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1",
        )),
        *((ip, "has no address that a pod can have") for ip in (
            "localhost", "", "127.1", "127.0.7.1@evil", "evil/127.0.7.1", "127.0.7.1%x", "fe80::1%lo",
        )),
    ],
)  # fmt: skip
async def test_an_address_that_no_pod_has_is_not_connected_to(ip: str, words: str):
    """Loopback, link-local, multicast, names and tricks are refused before any connection."""
    port = free_port()
    metrics = PodMetrics()
    server = Counting()
    async with pod("127.0.7.1", port, server):
        result = await read(metrics, {"app-0": ip}, port, 0)
    await metrics.aclose()
    assert isinstance(result, Unavailable)
    assert f"app-0 {'is ' if words.startswith('not') else ''}{words}" in result.message
    assert server.requests == []


async def test_a_session_that_is_led_elsewhere_ends_at_the_gate(metrics: PodMetrics):
    """Also when a name were to resolve to another address: the connection is refused, not made."""
    port = free_port()
    victim = Counting()
    http = PodHttp(policy=ON_THIS_MACHINE)
    async with pod("127.0.0.1", port, victim):
        session = http._opened()
        with pytest.raises(OSError):
            await session.get(f"http://localhost:{port}/metrics")
    await http.aclose()
    assert victim.requests == []


async def test_no_more_connections_at_once_than_allowed():
    """Many pods of many resources share the places of the process."""
    port = free_port()
    now = most = 0

    async def busy(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return web.Response(text="up 1\n")

    metrics = PodMetrics(PodHttp(at_once=6, policy=ON_THIS_MACHINE))
    ips = {f"app-{n:02}": f"127.0.7.{n}" for n in range(1, 13)}
    async with AsyncExitStack() as stack:
        for ip in ips.values():
            await stack.enter_async_context(pod(ip, port, busy))
        await asyncio.gather(*(read(metrics, ips, port, 0, key=str(n)) for n in range(3)))
    await metrics.aclose()
    assert most == 6


async def test_hanging_pods_do_not_keep_healthy_ones_waiting():
    """Pods that hung last time share few places, so another resource is read at once all the same."""
    port = free_port()
    metrics = PodMetrics(PodHttp(timeout_seconds=0.5, at_once=8, policy=ON_THIS_MACHINE))
    hanging = {f"bad-{n:02}": f"127.0.7.{n}" for n in range(1, 13)}
    async with AsyncExitStack() as stack:
        for ip in hanging.values():
            await stack.enter_async_context(pod(ip, port, _slow))
        await stack.enter_async_context(pod("127.0.7.99", port, Counting()))
        await read(metrics, hanging, port, 0, key="bad")
        stuck = asyncio.create_task(read(metrics, hanging, port, 15, key="bad"))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await read(metrics, {"app-0": "127.0.7.99"}, port, 15, key="well")
        took = time.monotonic() - began
        result = await stuck
    await metrics.aclose()
    assert took < 0.3
    assert isinstance(result, Unavailable)


async def test_all_pods_together_have_a_bounded_time(monkeypatch: pytest.MonkeyPatch):
    """However many pods hang, the reading ends and says so."""
    monkeypatch.setattr("consumer_autoscaler.sources.processing.READ_SECONDS", 0.4)
    port = free_port()
    metrics = PodMetrics(PodHttp(timeout_seconds=3, policy=ON_THIS_MACHINE))
    async with pod("127.0.7.1", port, _slow):
        began = time.monotonic()
        result = await read(metrics, {"app-0": "127.0.7.1"}, port, 0)
        assert time.monotonic() - began < 1.5
    await metrics.aclose()
    assert isinstance(result, Unavailable)
    assert "app-0 was not reached within the 0.4 s for all" in result.message


async def test_a_cancelled_reading_leaves_no_connection_behind(metrics: PodMetrics):
    """The cycle's own timeout ends the requests as well, and the next reading works."""
    port = free_port()
    async with pod("127.0.7.1", port, _slow), pod("127.0.7.2", port, Counting()):
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await read(metrics, {"app-0": "127.0.7.1"}, port, 0)
        ours = [t for t in asyncio.all_tasks() - before if "ask" in repr(t.get_coro())]
        assert ours == []
        await read(metrics, {"app-0": "127.0.7.2"}, port, 0, key="other")
        assert isinstance(await read(metrics, {"app-0": "127.0.7.2"}, port, 15, key="other"), ProcessingTime)


async def test_an_unknown_preset_is_a_mistake_of_the_caller(metrics: PodMetrics):
    """The schema has refused it long before."""
    with pytest.raises(ValueError, match="no preset"):
        await metrics.read(
            key="k", pods=[], port=1, preset="Nope", per="Record", group="g", topics=[],
            consumed_records=None, at=0,
        )  # fmt: skip
