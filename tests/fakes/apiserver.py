"""A small API server over sockets, in a thread of its own, for faults a real one does not show on demand.

It keeps objects with uid and resourceVersion, lists, watches and resumes from a version, merges patches under
optimistic locking, and can be told to answer with an error, to hang, to forget its history (410), or to lose
the news of a deletion. Nothing else: what a real server can show is tested on a real one.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]

_PATH = re.compile(
    r"^/apis?/(?:(?P<group>[^/]+\.[^/]+|apps)/)?v[^/]+(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?$"
)


@dataclass
class Fault:
    """What to answer instead, to how many requests; `times=-1` is until taken away."""

    status: int = 0  # 0 hangs
    times: int = -1
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"a proxy's page, not JSON"
    done: bool = False  # a create is done all the same, and only its answer is this


class FakeApiServer:
    """`with FakeApiServer() as server`; the methods may be called from any thread."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}  # (plural, namespace, name)
        self.faults: dict[str, Fault] = {}  # by "verb plural", with "/subresource"
        self.discovery = copy.deepcopy(_DISCOVERY)
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.silent = False  # watches stay open and say nothing
        self._version = 100
        self._oldest = 0  # versions before this one are forgotten
        self._log: list[tuple[int, str, str, Json]] = []  # version, plural, type, object
        self._generation = 0  # a change of it ends all watches
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def kubeconfig(self, folder: Path, token_file: Path) -> Path:
        """A kubeconfig for this server with a token read from a file."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "me", "user": {"tokenFile": str(token_file)}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
            "current-context": "fake",
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def put(self, plural: str, namespace: str, name: str, body: Json | None = None) -> Json:
        """Create or replace an object."""
        key = (plural, namespace, name)
        old = self.objects.get(key)
        self._version += 1
        uid = old["metadata"]["uid"] if old else str(uuid.uuid4())
        metadata = {"name": name, "namespace": namespace, "uid": uid, "generation": 1}
        metadata["resourceVersion"] = str(self._version)
        stored = {**(body or {}), "metadata": {**(body or {}).get("metadata", {}), **metadata}}
        self.objects[key] = stored
        self._log.append((self._version, plural, "MODIFIED" if old else "ADDED", stored))
        return stored

    def delete(self, plural: str, namespace: str, name: str, *, lost: bool = False) -> None:
        """Remove an object; `lost` without telling any watch, as when the news falls into a gap."""
        gone = self.objects.pop((plural, namespace, name))
        self._version += 1
        if not lost:
            gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self._version)}}
            self._log.append((self._version, plural, "DELETED", gone))

    def forget_history(self) -> None:
        """Compaction: whoever continues from an older version is answered 410."""
        self._version += 1
        self._oldest = self._version
        self._log.clear()

    def say(self, plural: str, type: str, body: Json) -> None:
        """Put any event into the watches."""
        self._version += 1
        self._log.append((self._version, plural, type, body))

    def end_watches(self) -> None:
        self._generation += 1

    async def _serve(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in self.discovery:
            return web.json_response(self.discovery[request.path])
        match = _PATH.match(request.path)
        if match is None:
            return _status(404, "NotFound")
        plural = match["plural"] + (f"/{match['subresource']}" if match["subresource"] else "")
        verb = self._verb(request, match["name"])
        self.requests.append(f"{verb} {plural}")
        self.tokens.append(request.headers.get("Authorization"))
        fault = self.faults.get(f"{verb} {plural}") or self.faults.get("*")
        if fault is not None and fault.times != 0:
            fault.times -= 1
            if fault.done:
                body = await request.json()
                self.put(match["plural"], match["namespace"], body["metadata"]["name"], body)
            if not fault.status:
                await self._stop.wait()
            return web.Response(status=fault.status, headers=dict(fault.headers), body=fault.body)
        if verb == "watch":
            return await self._watch(request, match["plural"], match["namespace"])
        if verb == "list":
            return self._list(request, match["plural"], match["namespace"])
        key = (match["plural"], match["namespace"], match["name"] or "")
        if verb == "create":
            body = await request.json()
            if (key[0], key[1], body["metadata"]["name"]) in self.objects:
                return _status(409, "AlreadyExists")
            return web.json_response(self.put(key[0], key[1], body["metadata"]["name"], body), status=201)
        if key not in self.objects:
            return _status(404, "NotFound")
        if verb == "patch":
            return self._patch(key, await request.json())
        return web.json_response(self.objects[key])

    def _verb(self, request: web.Request, name: str | None) -> str:
        if request.method != "GET":
            return {"POST": "create", "PUT": "update", "PATCH": "patch"}[request.method]
        return "watch" if "watch" in request.query else "get" if name else "list"

    def _patch(self, key: tuple[str, str, str], patch: Json) -> web.Response:
        stored = self.objects[key]
        version = patch.get("metadata", {}).get("resourceVersion")
        if version not in (None, stored["metadata"]["resourceVersion"]):
            return _status(409, "Conflict")
        body = {k: {**stored.get(k, {}), **v} for k, v in patch.items() if k != "metadata"}
        return web.json_response(self.put(*key, {**stored, **body}))

    def _list(self, request: web.Request, plural: str, namespace: str | None) -> web.Response:
        items = [body for (p, n, _), body in sorted(self.objects.items()) if p == plural and namespace in (None, n)]
        start = int(request.query.get("continue") or 0)
        limit = int(request.query.get("limit") or 0) or len(items) or 1
        metadata = {"resourceVersion": str(self._version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        return web.json_response({"kind": "List", "metadata": metadata, "items": items[start : start + limit]})

    async def _watch(self, request: web.Request, plural: str, namespace: str | None) -> web.StreamResponse:
        since, generation = int(request.query["resourceVersion"]), self._generation
        response = web.StreamResponse()
        await response.prepare(request)
        while generation == self._generation and not self._stop.is_set():
            if since < self._oldest:
                error = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
                await response.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
                break
            for version, name, type, body in list(self._log):
                mine = name == plural and namespace in (None, body.get("metadata", {}).get("namespace"))
                if version > since and mine and not self.silent:
                    since = version
                    await response.write(json.dumps({"type": type, "object": body}).encode() + b"\n")
            await asyncio.sleep(0.01)
        return response


def _status(code: int, reason: str) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": f"the fake says {reason}"}
    return web.json_response(body, status=code)


_DISCOVERY: dict[str, Json] = {
    "/version": {"major": "1", "minor": "36"},
    "/api": {"versions": ["v1"]},
    # kopf waits until it has seen this one, although it reads no namespaces.
    "/api/v1": {"resources": [{"name": "namespaces", "singularName": "", "kind": "Namespace", "namespaced": False}]},
    "/apis": {
        "groups": [
            {
                "name": "consumerautoscaler.dev",
                "preferredVersion": {"version": "v1alpha1"},
                "versions": [{"version": "v1alpha1"}],
            }
        ]
    },
    "/apis/consumerautoscaler.dev/v1alpha1": {
        "resources": [
            {
                "name": "consumerautoscalers",
                "singularName": "consumerautoscaler",
                "kind": "ConsumerAutoscaler",
                "namespaced": True,
                "verbs": ["get", "list", "watch", "patch"],
            }
        ]
    },
}
