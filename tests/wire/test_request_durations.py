"""How long requests took is kept by how they ended, for each of those that the operator asks over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from aiohttp import web
from tests.addresses import ON_THIS_MACHINE

from bed.processes import free_port
from consumer_autoscaler.durations import Durations
from consumer_autoscaler.sources.pod_http import PodHttp, ScrapeFailed
from consumer_autoscaler.sources.prometheus_http import PrometheusFailed, PrometheusHttp, Server

TIMEOUT_SECONDS = 0.3


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a server that answers a pod and a Prometheus, and hangs below /hangs."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="up 1\n")

    async def query(_: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"resultType": "scalar", "result": [0, "1"]}})

    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    application = web.Application()
    application.add_routes([web.get("/metrics", page), web.get("/api/v1/query", query), web.get("/hangs{_:.*}", hang)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


def counts(request_seconds: dict[str, Durations]) -> dict[str, int]:
    return {result: durations.cumulative[-1] for result, durations in request_seconds.items()}


async def asked(ok: Callable[[], Awaitable[object]], *failing: Callable[[], Awaitable[object]]) -> None:
    await ok()
    for each in failing:
        with suppress(ScrapeFailed, PrometheusFailed):
            await each()


async def test_of_pods(port: int) -> None:
    http, nobody = PodHttp(timeout_seconds=TIMEOUT_SECONDS, policy=ON_THIS_MACHINE), free_port()
    await asked(
        lambda: http.get(ip="127.0.0.1", port=port, path="/metrics"),
        lambda: http.get(ip="127.0.0.1", port=port, path="/hangs"),
        lambda: http.get(ip="127.0.0.1", port=nobody, path="/metrics"),
        lambda: http.get(ip="127.0.0.1", port=port, path="/nothing"),
    )
    assert counts(http.request_seconds) == {"ok": 1, "timeout": 1, "error": 2}
    assert http.request_seconds["timeout"].total_seconds >= TIMEOUT_SECONDS
    await http.aclose()


async def test_of_prometheus(port: int) -> None:
    http = PrometheusHttp(policy=ON_THIS_MACHINE)
    good, hangs, nobody = (
        Server(address=f"http://127.0.0.1:{where}", timeout_seconds=TIMEOUT_SECONDS)
        for where in (port, f"{port}/hangs", free_port())
    )
    await asked(lambda: http.query(good, "1"), lambda: http.query(hangs, "1"), lambda: http.query(nobody, "1"))
    assert counts(http.request_seconds) == {"ok": 1, "timeout": 1, "error": 1}
    assert http.request_seconds["timeout"].total_seconds >= TIMEOUT_SECONDS
    await http.aclose()
