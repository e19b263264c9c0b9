"""Asks a Prometheus: one instant query by its HTTP API, over connections that are kept.

The address comes from a resource, so the answer must not be able to lead the operator anywhere or to tie it up:
redirects are not followed, no proxy is used, time and size are bounded, and the policy for addresses is asked at the
moment of connecting, whatever the name resolves to. A login is sent to the address that was given and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp
from yarl import URL

from consumer_autoscaler.durations import Durations, timed
from consumer_autoscaler.sources.address_policy import AS_INSTALLED, AddressDenied, AddressPolicy
from consumer_autoscaler.sources.http_guard import guarded_socket, request_to
from consumer_autoscaler.sources.kafka.access.refusal import AuthenticationFailed
from consumer_autoscaler.sources.kafka.access.security import Tls
from consumer_autoscaler.sources.kafka.access.tls import tls_context

MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_CONTEXTS = 64  # of TLS material that differs
LONGEST_IN_ADDRESS = 4_000
KEEP_SECONDS = 75.0  # an idle connection, longer than most polls are apart
_WORDS = 200  # of what Prometheus says about a query


class Failure(StrEnum):
    """What went wrong, for those who count failures."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    ADDRESS_DENIED = "address denied"
    BAD_QUERY = "bad query"
    OVERLOADED = "overloaded"
    NOT_PROMETHEUS = "not Prometheus"


class PrometheusFailed(Exception):
    """No answer to work with. The text completes "Prometheus ..." and says what to do."""

    def __init__(self, kind: Failure, text: str) -> None:
        self.kind = kind
        super().__init__(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a Prometheus is, and how it lets one in: by a token, or by a user name and password, or by nothing."""

    address: str  # http(s)://host:port, with a path where it lives below one
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Tls | None = None
    timeout_seconds: float = 3.0

    @property
    def authorization(self) -> str:
        """What is sent as a login; empty for none."""
        if self.token:
            return f"Bearer {self.token}"
        if self.username:
            return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return ""

    def repeats_login(self, text: str) -> bool:
        """Whether a text shows the login, as careless servers do in what they say about an error."""
        shown = (self.token, self.password, self.authorization.rpartition(" ")[2])
        return any(secret and secret in text for secret in shown)


Entry = tuple[dict[str, str], float]  # labels and value


class PrometheusHttp:
    """Instant queries to many servers that `policy` allows, `at_once` of them at a time in the whole process."""

    def __init__(self, *, at_once: int = 32, policy: AddressPolicy = AS_INSTALLED) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._policy = policy
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[Tls, ssl.SSLContext] = {}
        self.request_seconds: defaultdict[str, Durations] = defaultdict(Durations)
        """How long queries took, by how they ended: `ok` (any answer), `timeout` or `error`."""

    async def query(self, server: Server, query: str) -> list[Entry]:
        """The entries of the result; a scalar is one without labels. Raises PrometheusFailed.

        Waiting for a place takes no time of the server's.
        """
        async with self._places:
            try:
                with timed(self.request_seconds), request_to(URL(server.address, encoded=True).host or ""):
                    async with asyncio.timeout(server.timeout_seconds):
                        status, body = await self._ask(server, query)
            except AddressDenied as denied:
                words = f"at {server.address} is not connected to: `address`: {denied}"
                raise PrometheusFailed(Failure.ADDRESS_DENIED, words) from None
            except TimeoutError:
                words = f"at {server.address} did not answer within {server.timeout_seconds:g} s"
                raise PrometheusFailed(Failure.UNREACHABLE, words) from None
            except aiohttp.ClientConnectorCertificateError:
                words = f"at {server.address} shows a certificate that is not trusted: set `tls.caSecretRef`"
                raise PrometheusFailed(Failure.UNREACHABLE, words) from None
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError):
                words = f"cannot be reached at {server.address}: check `address` and network policies"
                raise PrometheusFailed(Failure.UNREACHABLE, words) from None
            except (aiohttp.ClientError, ValueError):
                raise _no_prometheus(server, "does not answer in proper HTTP") from None
        return _entries(_data(server, status, body))

    async def aclose(self) -> None:
        """Closes what is open. A later query opens anew."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, server: Server, query: str) -> tuple[int, bytes]:
        url = URL(server.address.rstrip("/") + "/api/v1/query", encoded=True)
        # GET where the query fits into an address: proxies that check rights take a POST for a wish to write.
        short = len(query) <= LONGEST_IN_ADDRESS
        headers = {"Accept": "application/json"}
        if server.authorization:
            headers["Authorization"] = server.authorization
        async with self._opened().request(
            "GET" if short else "POST",
            url.update_query(query=query) if short else url,
            data=None if short else {"query": query},
            headers=headers,
            allow_redirects=False,
            ssl=await self._context(server.tls),
        ) as answer:
            if 300 <= answer.status < 400:
                raise _no_prometheus(server, f"redirects (status {answer.status}), which is not followed")
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    answer.close()
                    words = f"at {server.address} sent more than {MAX_ANSWER_BYTES // 1024 // 1024} MiB"
                    raise PrometheusFailed(Failure.BAD_QUERY, f"{words}: let the query sum up")
            return answer.status, bytes(body)

    async def _context(self, tls: Tls | None) -> ssl.SSLContext | bool:
        if tls is None:
            return True
        if tls not in self._contexts:
            if len(self._contexts) >= MAX_CONTEXTS:
                self._contexts.clear()
            try:
                self._contexts[tls] = await asyncio.to_thread(tls_context, tls)
            except AuthenticationFailed as problem:
                raise PrometheusFailed(Failure.REFUSED, f"cannot be asked: `tls`: {problem.args[0]}") from None
        return self._contexts[tls]

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEP_SECONDS, socket_factory=guarded_socket(self._policy)
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._session


def _data(server: Server, status: int, body: bytes) -> Any:
    """`data` of a successful answer."""
    if status in (401, 403):
        words = f"at {server.address} refuses the login (status {status}): check the Secret and its rights"
        raise PrometheusFailed(Failure.REFUSED, words)
    if status in (429, 502, 503, 504):
        raise PrometheusFailed(Failure.OVERLOADED, f"at {server.address} is overloaded or away (status {status})")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise _no_prometheus(server, f"answers with status {status} and no JSON") from None
    if isinstance(answer, dict) and answer.get("status") == "error":
        if server.repeats_login(f"{answer.get('errorType')} {answer.get('error')}"):
            said = "(error): what it says repeats the login and is left out"
        else:
            said = f"({_one_line(answer.get('errorType'))}): {_one_line(answer.get('error'))}"
        raise PrometheusFailed(Failure.BAD_QUERY, f"cannot work on the query {said}")
    if status != 200 or not isinstance(answer, dict) or answer.get("status") != "success":
        raise _no_prometheus(server, f"answers with status {status} and something else than a result")
    return answer.get("data")


def _entries(data: Any) -> list[Entry]:
    try:
        kind, result = data["resultType"], data["result"]
        if kind == "scalar":
            return [({}, float(result[1]))]
        if kind != "vector":
            raise PrometheusFailed(Failure.BAD_QUERY, f"gives a {_one_line(kind)}: the query must give a number")
        return [
            ({str(name): str(value) for name, value in each["metric"].items()}, float(each["value"][1]))
            for each in result
        ]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
        raise PrometheusFailed(Failure.NOT_PROMETHEUS, "answers in a form that is not understood") from None


def _no_prometheus(server: Server, what: str) -> PrometheusFailed:
    words = f"at {server.address} {what}: check `address`, with the path where the API lives below one"
    return PrometheusFailed(Failure.NOT_PROMETHEUS, words)


def _one_line(text: object) -> str:
    """What the server says about the query, as short plain text: it is shown in a status."""
    plain = re.sub(r"[\x00-\x1f\x7f]+", " ", str(text or "no reason given"))
    return plain if len(plain) <= _WORDS else plain[: _WORDS - 1] + "…"
