"""D: a source of processing time that answers rubbish, or only now and then. While it fails nothing goes down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aiohttp import web
from tests.campaign.judge import Expected
from tests.campaign.run import Fault, Run

Page = Callable[[], web.Response]


def _vector(*values: object, labels: object = None) -> Page:
    """An answer of Prometheus with these values, one series each."""
    result = [{"metric": labels or {"n": str(n)}, "value": [0, value]} for n, value in enumerate(values)]
    answer = {"status": "success", "data": {"resultType": "vector", "result": result}}
    return lambda: web.Response(text=json.dumps(answer), content_type="application/json")


def _plain(text: str, status: int = 200, **headers: str) -> Page:
    return lambda: web.Response(text=text, status=status, headers=headers)


GOOD = _vector("0.02")
RUBBISH: dict[str, Page] = {
    "status 500": _plain("no", 500),
    "status 404": _plain("no", 404),
    "status 401": _plain("no", 401),
    "redirect": _plain("", 302, Location="http://169.254.169.254/latest/meta-data"),
    "empty page": _plain(""),
    "web page": _plain("<html>It works!</html>"),
    "no series": _vector(),
    "several series": _vector("0.02", "0.03"),
    "NaN": _vector("NaN"),
    "infinite": _vector("+Inf"),
    "negative": _vector("-1"),
    "huge": _vector("1e18"),
    "words": _vector("many"),
    "wrong types": _vector(None, labels=[1]),
    "deeply nested": _plain("[" * 100_000),
    "matrix": _plain('{"status": "success", "data": {"resultType": "matrix", "result": []}}'),
}


@asynccontextmanager
async def asked_of(run: Run, answer: Callable[[], Page | None]) -> AsyncIterator[None]:
    """The resource reads its processing time of a Prometheus of this block; an answer of None is none at all."""

    async def handle(_: web.Request) -> web.StreamResponse:
        page = answer()
        if page is None:
            await asyncio.sleep(60)
            return web.Response()
        return page()

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    source = {"prometheus": {"address": f"http://127.0.0.1:{runner.addresses[0][1]}", "query": "work"}}
    try:
        await run.site.patch_scaler({"processingTime": {"sources": [source]}})
        yield
        await run.site.patch_scaler({"processingTime": None})
    finally:
        await runner.cleanup()


def _always(page: Page | None) -> Callable[[Run], AbstractAsyncContextManager[None]]:
    def rubbish(run: Run) -> AbstractAsyncContextManager[None]:
        """The Prometheus that tells the processing time answers so, as long as it is asked."""
        return asked_of(run, lambda: page)

    return rubbish


def _every_other_time(run: Run) -> AbstractAsyncContextManager[None]:
    """Good and bad answers take turns: replicas do not, and Events are few."""
    bad = run.chance.choice(sorted(RUBBISH))
    times = iter(range(1_000_000))
    return asked_of(run, lambda: RUBBISH[bad] if next(times) % 2 else GOOD)


_FAILS = Expected(events=frozenset({"SourceFailed", "SourceRecovered"}), status_writes=12)
FAULTS = (
    *(Fault("D1", name, _always(page), expected=_FAILS) for name, page in RUBBISH.items()),
    Fault("D1", "no answer", _always(None), expected=_FAILS),
    Fault("D2", "every other time", _every_other_time, seconds=(6, 10), expected=_FAILS),
)
