"""A proxy between one operator and the real API server that understands what is asked, and can fail in between.

It speaks HTTP, so a fault can be about one kind of request, and can come before the real server has done its work or
after it, when only the answer is lost. Without rules it is a network without faults.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

import aiohttp
import yaml
from aiohttp import web

_PATH = re.compile(
    r"^/apis?/(?:(?P<group>[^/]+)/)?v[0-9][^/]*(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?$"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
WRITES = frozenset(_VERBS.values())
_HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "keep-alive"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the operator. `number` is the how-manieth of its verb and resource it is, from 1 on."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    verb: str
    resource: str  # with its subresource: `deployments/scale`
    name: str
    number: int

    @property
    def what(self) -> str:
        return f"{self.verb} {self.resource}"

    @property
    def writes(self) -> bool:
        """Whether it changes the cluster: questions about rights are posted as well, and change nothing."""
        return self.verb in WRITES and not self.resource.endswith("reviews")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. Status 0 is a connection that is cut instead."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


CUT = Answer(0)
Forward = Callable[[Asked], Awaitable[Answer]]
Act = Callable[[Asked, Forward], Awaitable[Answer]]


def refusal(status: int, reason: str, **headers: str) -> Answer:
    """An answer as the API server words it."""
    body = f'{{"kind":"Status","apiVersion":"v1","status":"Failure","code":{status},"reason":"{reason}"}}'
    return Answer(status, body.encode(), {"Content-Type": "application/json", **headers})


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with the requests that it is about, in place of forwarding them."""

    about: Callable[[Asked], bool]
    act: Act


class ApiProxy:
    """`async with ApiProxy(kubeconfig) as proxy`; `proxy.kubeconfig(...)` writes the one that leads through it.

    `rules`: the first that is about a request decides on it; watches are asked like any other request.
    `on_event`: gives what becomes of each line of each watch: nothing, itself, or several. None passes all.
    `rewrite`: what a request is turned into before it goes on, such as one of somebody else.
    Frozen, connections stay open and nothing gets through, as with a peer that is gone without a word.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._configuration: Any = yaml.safe_load(kubeconfig.read_text())
        cluster = self._configuration["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._trust = ssl.create_default_context(cadata=authority)
        self.rules: list[Rule] = []
        self.on_event: Callable[[Asked, bytes], AsyncIterator[bytes]] | None = None
        self.rewrite: Callable[[Asked], Asked] | None = None
        self.writes: list[Asked] = []
        self.requests: Counter[str] = Counter()
        self.port = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._listening: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._trust),
            auto_decompress=False,
            read_bufsize=4 << 20,  # an object of a watch is one line
        )
        self._handler = web.Server(self._handle, handler_cancellation=True, access_log=None)  # type: ignore[arg-type]
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw()
        self.down()
        await self._handler.shutdown(0.5)
        await self._session.close()

    def kubeconfig(self, path: Path) -> Path:
        """The same user, through the proxy."""
        self._configuration["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        path.touch(0o600)
        path.write_text(yaml.safe_dump(self._configuration))
        return path

    async def up(self) -> None:
        """Listens (again)."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._handler, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    def down(self) -> None:
        """As if the server were killed: connections are reset, new ones refused."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self.cut()

    def cut(self) -> None:
        """Ends every connection at once."""
        for connection in list(self._handler.connections):
            if connection.transport is not None:
                connection.transport.abort()

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = await self._asked(request)
        if asked.writes:
            self.writes.append(asked)
        await self._flowing.wait()
        if self.rewrite is not None:
            asked = self.rewrite(asked)
        rule = next((rule for rule in self.rules if rule.about(asked)), None)
        if rule is None and asked.verb == "watch":
            return await self._stream(request, asked)
        answer = await (self._forward(asked) if rule is None else rule.act(asked, self._forward))
        await self._flowing.wait()
        if not answer.status:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _asked(self, request: web.BaseRequest) -> Asked:
        body = await request.read()
        match = _PATH.match(request.path)
        parts = match.groupdict() if match else {}
        name = parts.get("name") or ""
        resource = (parts.get("plural") or request.path) + (
            f"/{parts['subresource']}" if parts.get("subresource") else ""
        )
        verb = _VERBS.get(request.method, "get" if name or not match else "list")
        if verb == "list" and parse_qs(request.query_string).get("watch") == ["true"]:
            verb = "watch"
        self.requests[f"{verb} {resource}"] += 1
        return Asked(
            method=request.method,
            path=request.raw_path.partition("?")[0],
            query=request.query_string,
            headers={key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP},
            body=body,
            verb=verb,
            resource=resource,
            name=name,
            number=self.requests[f"{verb} {resource}"],
        )

    def _send(self, asked: Asked, timeout: aiohttp.ClientTimeout) -> Any:
        url = f"{self._server}{asked.path}" + (f"?{asked.query}" if asked.query else "")
        return self._session.request(asked.method, url, headers=asked.headers, data=asked.body or None, timeout=timeout)

    async def _forward(self, asked: Asked) -> Answer:
        """The real server's answer; CUT when it cannot be had."""
        try:
            async with self._send(asked, aiohttp.ClientTimeout(total=60)) as answer:
                kept = {key: answer.headers[key] for key in ("Content-Type", "Content-Encoding", "Retry-After")
                        if key in answer.headers}  # fmt: skip
                return Answer(answer.status, await answer.read(), kept)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return CUT

    async def _stream(self, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        """A watch, line by line. It ends with a reset when the real one breaks off."""
        asked.headers["Accept-Encoding"] = "identity"  # packed, its lines could not be told apart
        response = web.StreamResponse()
        try:
            async with self._send(asked, aiohttp.ClientTimeout(total=None, sock_connect=10)) as answer:
                if answer.status != 200:
                    return web.Response(status=answer.status, body=await answer.read())
                response.content_type = "application/json"
                await response.prepare(request)
                async for line in answer.content:
                    await self._flowing.wait()
                    if self.on_event is None:
                        await response.write(line)
                    else:
                        async for each in self.on_event(asked, line):
                            await response.write(each)
                await response.write_eof()
        except (aiohttp.ClientError, TimeoutError, OSError):
            if request.transport is not None:
                request.transport.abort()
        return response
