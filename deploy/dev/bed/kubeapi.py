"""A small client of the Kubernetes API for the bed's own agents: JSON in and out, list and watch.

Survives an API server that is killed and started again: `list_and_watch` comes back by itself, with a new list.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

log = logging.getLogger(__name__)

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_REQUEST_SECONDS = 10.0
_WATCH_SECONDS = 300
# The API server sends a bookmark about every minute, so a longer silence is a dead connection.
_SILENCE_SECONDS = 100.0
_RETRY_SECONDS = 0.5


class ApiError(Exception):
    """The API server refused (`status` is the HTTP code) or could not be reached (`status` is None).

    `answer` is all that the server said.
    """

    def __init__(self, status: int | None, message: str, answer: str = "") -> None:
        super().__init__(f"{status or 'unreachable'}: {message}")
        self.status = status
        self.answer = answer


class KubeApi:
    """`async with KubeApi(kubeconfig) as api`; certificates or a token, whatever the kubeconfig has."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._session: aiohttp.ClientSession | None = None
        self._server = ""

    async def __aenter__(self) -> Self:
        config = Configuration()
        await load_kube_config(config_file=str(self._kubeconfig), client_configuration=config)  # type: ignore[no-untyped-call]
        trust = ssl.create_default_context(cafile=config.ssl_ca_cert)
        if config.cert_file:
            trust.load_cert_chain(config.cert_file, config.key_file)
        token = config.api_key.get("BearerToken")
        self._server = config.host
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=30),
            headers={"Authorization": token} if token else None,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """One request within 10 s; raises ApiError."""
        assert self._session is not None
        try:
            async with self._session.request(
                method,
                self._server + path,
                params=query,
                data=None if body is None else json.dumps(body),
                headers={"Content-Type": content_type},
                timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS),
            ) as response:
                text = await response.text()
                if response.status >= 400:
                    raise ApiError(response.status, f"{method} {path}: {text[:300]}", text)
                found: dict[str, Any] = json.loads(text)
                return found
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(None, f"{method} {path}: {type(error).__name__}") from error

    async def list_and_watch(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
        """Endless: ("LIST", all objects) first and after each gap, then ("ADDED" | "MODIFIED" | "DELETED", [one])."""
        while True:
            try:
                answer = await self.call("GET", path, query=query)
                yield "LIST", answer.get("items") or []
                version = answer["metadata"]["resourceVersion"]
                while True:
                    async for kind, found in self._watch(path, query, version):
                        version = found["metadata"]["resourceVersion"]
                        if kind != "BOOKMARK":
                            yield kind, [found]
            except ApiError as error:
                log.warning("watch of %s: %s", path, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _watch(
        self, path: str, query: Mapping[str, str], version: str
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        assert self._session is not None
        asked = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        try:
            async with self._session.get(
                self._server + path,
                params=asked,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_SILENCE_SECONDS),
                read_bufsize=4 << 20,  # an object is one line
            ) as response:
                if response.status >= 400:
                    raise ApiError(response.status, await response.text())
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":  # 410 Gone: the version is too old
                        raise ApiError(event["object"].get("code"), str(event["object"].get("message")))
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(None, type(error).__name__) from error
