"""/metrics over HTTP: plain and with gzip, and scrapers that leave in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, cast

import aiohttp
import pytest
from tests.fakes.fleet import START, Lone, body, measured, reading

from consumer_autoscaler.decision.values import GroupReading
from consumer_autoscaler.runtime.metrics.family import PREFIX
from consumer_autoscaler.runtime.metrics.resource import RESOURCE_FAMILIES
from consumer_autoscaler.runtime.web import Health, WebServer

RESOURCES = 1_500  # a page of some megabytes: more than what a socket holds


def said(_: str, at: float) -> GroupReading:
    return reading(at, done=int(at - START), lag=5)


def web_server(page: Callable[[], AsyncGenerator[bytes]], page_seconds: float = 60.0) -> WebServer:
    return WebServer(
        host="127.0.0.1",
        port=0,
        page=page,
        health=Health(lambda: None, lambda: (True, "working")),
        kube=cast(Any, None),
        bundle_of=lambda *_: None,
        page_seconds=page_seconds,
    )


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    operator = Lone(said, measured)
    for number in range(RESOURCES):
        operator.fleet.observe(body(f"payments-{number}"))
    await operator.tick()
    async with web_server(operator.page) as web:
        yield web
    await operator.fleet.aclose()


async def taken(server: WebServer, encoding: str) -> tuple[str, str, str]:
    """Content type and encoding, and the text."""
    url = f"http://127.0.0.1:{server.port}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url, headers={"Accept-Encoding": encoding}) as answer:
        assert answer.status == 200
        text = await answer.text()
        return answer.headers["Content-Type"], answer.headers.get("Content-Encoding", ""), text


def lags(text: str) -> int:
    """How many resources are on it; a page that was cut off has no end."""
    assert f"# TYPE {PREFIX}{RESOURCE_FAMILIES[-1].name} " in text
    return text.count(f"\n{PREFIX}lag_records{{")


async def test_a_page_is_whole_with_and_without_gzip(server: WebServer) -> None:
    kind, encoding, text = await taken(server, "identity")
    assert (kind.partition(";")[0], encoding, lags(text)) == ("text/plain", "", RESOURCES)
    kind, encoding, text = await taken(server, "gzip")
    assert (kind.partition(";")[0], encoding, lags(text)) == ("text/plain", "gzip", RESOURCES)


async def test_several_scrapers_at_once_get_a_whole_page_each(server: WebServer) -> None:
    pages = await asyncio.gather(*(taken(server, "gzip") for _ in range(3)))
    assert [lags(text) for _, _, text in pages] == [RESOURCES] * 3


async def test_a_scraper_that_leaves_in_the_middle_leaves_nothing_behind(server: WebServer) -> None:
    """No error in the log, no task that goes on writing, and the next one is served."""
    before = asyncio.all_tasks()
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        assert await reader.read(1000)
        writer.transport.abort()
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before:
            await asyncio.wait(asyncio.all_tasks() - before, timeout=1)
    assert lags((await taken(server, "identity"))[2]) == RESOURCES


async def test_a_scraper_that_does_not_read_on_is_cut_off() -> None:
    """However long the page is; what it was made of is let go."""
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"x" * 65_536
        finally:
            closed.set()

    async with web_server(endless, page_seconds=0.5) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1000)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        async with asyncio.timeout(10):
            await closed.wait()
            with suppress(ConnectionError):
                while await reader.read(1_000_000):  # what is on its way still comes
                    pass
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
