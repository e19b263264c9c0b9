"""The operator's own endpoint: /metrics, /healthz, /readyz, and /explain for those who may read the resource."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from consumer_autoscaler.cluster.errors import KubeError
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.objects import AccessQuestion
from consumer_autoscaler.decision.bundle import Bundle, dump
from consumer_autoscaler.resource.spec import GROUP, PLURAL

log = logging.getLogger(__name__)

PAGE_SECONDS = 60.0  # in which a scraper must have taken the page: longer than any would wait for it
_GZIP = 16 + zlib.MAX_WBITS  # what makes zlib write gzip's header


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong, None when nothing is; and whether the process is ready (a standby is)."""

    sick: Callable[[], str | None]
    ready: Callable[[], tuple[bool, str]]


class WebServer:
    """`async with WebServer(...)` listens; `port` is the real one."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        page: Callable[[], AsyncGenerator[bytes]],
        health: Health,
        kube: Kube,
        bundle_of: Callable[[str, str], Bundle | None],
        page_seconds: float = PAGE_SECONDS,
    ) -> None:
        self._host, self.port = host, port
        self._page, self._health, self._kube, self._bundle_of = page, health, kube, bundle_of
        self._page_seconds = page_seconds
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/explain/{namespace}/{name}", self._explain),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        log.info("listening=%s:%d", self._host, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stops listening. May be called twice."""
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        """Sent piece by piece as it is written, so neither the loop nor the memory has to hold all of it.

        Who takes it too slowly is cut off: a page that is not read to its end keeps all that it is about.
        """
        answer = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE_LATEST})
        zipped = None
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            answer.headers["Content-Encoding"] = "gzip"
            zipped = zlib.compressobj(level=1, wbits=_GZIP)
        try:
            async with asyncio.timeout(self._page_seconds), aclosing(self._page()) as pieces:
                await answer.prepare(request)
                async for piece in pieces:
                    if data := zipped.compress(piece) if zipped else piece:
                        await answer.write(data)
                if zipped:
                    await answer.write(zipped.flush())
                await answer.write_eof()
        except (ConnectionError, TimeoutError) as error:
            log.debug("metrics=broken off error=%s", type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        return answer

    async def _healthz(self, _: web.Request) -> web.Response:
        sick = self._health.sick()
        return web.Response(text=sick or "ok", status=500 if sick else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        ready, words = self._health.ready()
        return web.Response(text=words, status=200 if ready else 503)

    async def _explain(self, request: web.Request) -> web.Response:
        """The last bundle of a resource, for whoever may `get` it by the API server's own rules."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise web.HTTPUnauthorized(text="a Kubernetes bearer token is needed")
        try:
            user = await self._kube.review_token(token)
            if user is None:
                raise web.HTTPUnauthorized(text="the API server does not accept this token")
            question = AccessQuestion(verb="get", group=GROUP, resource=PLURAL, namespace=namespace, name=name)
            if not await self._kube.may(user, question):
                raise web.HTTPForbidden(text=f"{user.name} may not {question.text}")
        except KubeError as error:
            raise web.HTTPServiceUnavailable(text=f"the token cannot be checked: {error.reason}") from error
        bundle = self._bundle_of(namespace, name)
        if bundle is None:
            raise web.HTTPNotFound(text=f"nothing was decided yet for {namespace}/{name} by this process")
        return web.json_response(dump(bundle))
