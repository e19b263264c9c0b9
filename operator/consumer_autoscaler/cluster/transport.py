"""HTTP to the API server: JSON in, JSON out, a timeout on everything, errors typed, requests counted.

No response models: they cost memory for thousands of objects, and they refuse answers that lack a field we
never look at. No retries either, except once after a 401: the cycle that asked is the retry.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from consumer_autoscaler.cluster.credentials import Credentials
from consumer_autoscaler.cluster.errors import KubeUnreachable, error_from_answer
from consumer_autoscaler.durations import Durations

Json = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
# At most this many requests at once; the API server's fairness queues do the rest.
CONCURRENCY = 16


class Transport:
    """One HTTP session to one API server.

    `requests` counts by (verb, resource, code); the code is the HTTP status, or `timeout` or `error`. `request_seconds`
    has how long they took by verb, without watches.
    """

    def __init__(self, credentials: Credentials, *, request_timeout_seconds: float) -> None:
        self.credentials = credentials
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.request_seconds: defaultdict[str, Durations] = defaultdict(Durations)
        self._timeout_seconds = request_timeout_seconds
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._quiet_until = float("-inf")  # monotonic; set by a 429 with Retry-After
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Load the credentials and make the session. Raises CredentialsUnavailable."""
        await self.credentials.load()
        self._session = self.credentials.session()

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        verb: str,
        resource: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        timeout_seconds: float | None = None,
        urgent: bool = False,
    ) -> Json:
        """One request and its JSON object. `verb` is the API's (get, list, create, update, patch).

        An urgent request waits neither for a free slot nor for the end of a 429's quiet time: the Lease must
        not be lost behind ordinary work. Raises KubeError.
        """
        timeout = timeout_seconds or self._timeout_seconds
        if urgent:
            return await self._signed(verb, resource, path, query, body, timeout)
        async with self._slots:
            await self._wait_for_quiet_time(timeout)
            return await self._signed(verb, resource, path, query, body, timeout)

    async def stream(
        self,
        resource: str,
        path: str,
        *,
        query: Mapping[str, str],
        silence_seconds: float,
        total_seconds: float,
    ) -> AsyncIterator[Json]:
        """The events of a watch, until the server ends it. An ERROR event is raised as the KubeError it
        stands for.

        A stream that says nothing for `silence_seconds` is taken for dead: KubeUnreachable.
        """
        timeout = aiohttp.ClientTimeout(
            total=total_seconds, sock_connect=self._timeout_seconds, sock_read=silence_seconds
        )
        started = time.monotonic()
        try:
            async with self._open.get(self._url(path), params=query, timeout=timeout) as answer:
                self.requests["watch", resource, str(answer.status)] += 1
                if answer.status != HTTPStatus.OK:
                    await self._raise(answer)
                pending = bytearray()
                async for chunk in answer.content.iter_any():
                    pending += chunk
                    *lines, rest = pending.split(b"\n")
                    pending = rest
                    for line in lines:
                        if line.strip():
                            yield _event(bytes(line))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            waited = time.monotonic() - started
            raise KubeUnreachable("WatchEnded", f"{_describe(error)} after {waited:.0f} s") from error

    async def _signed(
        self,
        verb: str,
        resource: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json | None,
        timeout: float,
    ) -> Json:
        answer = await self._send(verb, resource, path, query, body, timeout)
        if answer is None:  # refused as unauthorized, so nothing was done: repeating is safe
            await self.credentials.reload()
            answer = await self._send(verb, resource, path, query, body, timeout, last=True)
            assert answer is not None
        return answer

    async def _send(
        self,
        verb: str,
        resource: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json | None,
        timeout: float,
        *,
        last: bool = False,
    ) -> Json | None:
        """The answer, or None for a 401 that is worth another try."""
        code, begin = "error", time.monotonic()
        try:
            async with self._open.request(
                _METHOD[verb],
                self._url(path),
                params=query,
                data=None if body is None else json.dumps(body, separators=(",", ":")),
                headers={"Content-Type": MERGE_PATCH if verb == "patch" else "application/json"},
                timeout=aiohttp.ClientTimeout(total=timeout),
                allow_redirects=False,
            ) as answer:
                code = str(answer.status)
                if answer.status == HTTPStatus.UNAUTHORIZED and not last:
                    return None
                if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    await self._raise(answer)
                content = json.loads(await answer.read())
        except TimeoutError as error:
            code = "timeout"
            raise KubeUnreachable("Timeout", f"{verb} {resource}: no answer within {timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise KubeUnreachable("ConnectionFailed", f"{verb} {resource}: {_describe(error)}") from error
        except ValueError as error:
            raise KubeUnreachable("BadAnswer", f"{verb} {resource}: the answer is not JSON") from error
        finally:
            self.requests[verb, resource, code] += 1
            self.request_seconds[verb].observe(time.monotonic() - begin)
        if not isinstance(content, dict):
            raise KubeUnreachable("BadAnswer", f"{verb} {resource}: the answer is not an object")
        return content

    async def _raise(self, answer: aiohttp.ClientResponse) -> None:
        error = error_from_answer(answer.status, await answer.read(), answer.headers.get("Retry-After"))
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS and error.retry_after_seconds:
            self._quiet_until = max(self._quiet_until, time.monotonic() + error.retry_after_seconds)
        raise error

    async def _wait_for_quiet_time(self, limit_seconds: float) -> None:
        """The API server's limits are per user, so one 429 speaks to all our requests."""
        wait = self._quiet_until - time.monotonic()
        if wait > limit_seconds:
            raise KubeUnreachable(
                "TooManyRequests", f"the API server asked to wait {wait:.0f} s", retry_after_seconds=wait
            )
        if wait > 0:
            await asyncio.sleep(wait)

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the transport is used before open()")
        return self._session

    def _url(self, path: str) -> str:
        return self.credentials.server + path


_METHOD = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH"}


def _event(line: bytes) -> Json:
    try:
        event = json.loads(line)
        kind, body = event["type"], event["object"]
        code = int(body.get("code") or 500) if kind == "ERROR" else 0
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KubeUnreachable("BadAnswer", "a watch sent something that is not an event") from error
    if code:
        raise error_from_answer(code, json.dumps(body).encode())
    return {"type": kind, "object": body}


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200] if str(error) else type(error).__name__
