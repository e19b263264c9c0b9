"""Range queries of the command line: what is sent, and what is said when that cannot be, or no answer comes."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bed import pki
from consumer_autoscaler import prometheus_range
from consumer_autoscaler.prometheus_range import NoAnswer, range_queries


@asynccontextmanager
async def server(text: str, status: int = 200) -> AsyncIterator[tuple[str, list[web.Request]]]:
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        await request.post()
        requests.append(request)
        return web.Response(text=text, status=status, content_type="application/json")

    application = web.Application()
    application.router.add_post("/api/v1/query_range", answer)
    async with TestServer(application) as running:
        yield str(running.make_url("/")), requests


async def test_the_query_is_sent_as_a_form_with_its_times() -> None:
    """Long queries fit; the body is given back as it is, also of an error that Prometheus explains."""
    async with server('{"status":"error"}', status=400) as (url, requests), range_queries(url) as ask:
        assert await ask("up", start=1.5, end=61.5, step=15) == '{"status":"error"}'
    form = dict(await requests[0].post())
    assert form == {"query": "up", "start": "1.500", "end": "61.500", "step": "15"}
    assert "Authorization" not in requests[0].headers


async def test_a_login_in_the_address_is_used_and_not_shown() -> None:
    async with (
        server("{}", status=401) as (url, requests),
        range_queries(url.replace("http://", "http://reader:secret@")) as ask,
    ):
        with pytest.raises(NoAnswer, match="refuses the login") as refused:
            await ask("up", start=0, end=1, step=1)
    assert requests[0].headers["Authorization"].startswith("Basic ")
    assert "secret" not in str(refused.value)
    assert "reader" not in str(refused.value)


async def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_range, "MOST_BYTES", 1 << 20)
    async with server("x" * (3 << 20)) as (url, _), range_queries(url) as ask:
        with pytest.raises(NoAnswer, match="more than 1 MiB"):
            await ask("up", start=0, end=1, step=1)


async def test_a_token_is_read_from_its_file_and_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS only; the line break that editors leave is not part of it."""
    file = tmp_path / "token"
    file.write_text("abc\n", encoding="utf-8")
    async with range_queries("https://prometheus.example:9090", file) as ask:
        assert ask._session.headers["Authorization"] == "Bearer abc"
    with pytest.raises(NoAnswer, match="https:// only"):
        async with range_queries("http://prometheus.example:9090", file):
            pass
    with pytest.raises(NoAnswer, match="cannot be read"):
        async with range_queries("https://prometheus.example:9090", tmp_path / "missing"):
            pass


@pytest.mark.parametrize(("trusted", "says"), [(False, "SSL_CERT_FILE"), (True, "knows no group")])
async def test_certificates_are_checked(tmp_path: Path, trusted: bool, says: str) -> None:
    """Without a switch; a CA of one's own is named by SSL_CERT_FILE, as for other programs."""
    pki.make_ca(tmp_path)
    pki.make_pair(tmp_path, "prometheus", names="IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "prometheus.crt", tmp_path / "prometheus.key")

    async def nothing(request: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": []}})

    application = web.Application()
    application.router.add_post("/api/v1/query_range", nothing)
    running = TestServer(application, scheme="https")
    await running.start_server(ssl=context)
    try:
        environment = {**os.environ, **({"SSL_CERT_FILE": str(tmp_path / "ca.crt")} if trusted else {})}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "consumer_autoscaler", "simulate", "--prometheus", str(running.make_url("/")),
            "--group", "g", stderr=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip
        _, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        await running.close()
    assert says in err.decode()
