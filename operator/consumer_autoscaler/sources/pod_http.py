"""Gets one page from one pod, and from nothing else.

The pod's author chooses what the pod answers, so the answer must not be able to lead the operator anywhere or
to tie it up: only the IP address that was given is connected to, if the policy allows it; redirects are not
followed, no proxy is used, nothing is decompressed, and time and size are bounded.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import nullcontext
from ipaddress import IPv6Address

import aiohttp
from yarl import URL

from consumer_autoscaler.durations import Durations, timed
from consumer_autoscaler.sources.address_policy import (
    AS_INSTALLED,
    AddressDenied,
    AddressPolicy,
    IPAddress,
    parse_address,
)
from consumer_autoscaler.sources.http_guard import guarded_socket, request_to

MAX_PAGE_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_HEADERS = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}


class ScrapeFailed(Exception):
    """A pod's page could not be had. The text completes "POD ..." and quotes a status at most."""


class PodHttp:
    """HTTP GET to pods, `at_once` of them at a time in the whole process, each within `timeout_seconds`.

    `policy`: which addresses may be connected to. A quarter of the places is for `suspect` pods, those that
    failed last time: however many pods hang, the healthy ones of other resources are not kept waiting.
    """

    def __init__(self, *, timeout_seconds: float = 3, at_once: int = 16, policy: AddressPolicy = AS_INSTALLED) -> None:
        self._timeout_seconds = timeout_seconds
        self._policy = policy
        self._suspect_places = asyncio.Semaphore(max(1, at_once // 4))
        self._places = asyncio.Semaphore(at_once)
        self._session: aiohttp.ClientSession | None = None
        self.request_seconds: defaultdict[str, Durations] = defaultdict(Durations)
        """How long requests took, by how they ended: `ok`, `timeout` or `error`."""

    async def get(self, *, ip: str, port: int, path: str, suspect: bool = False) -> bytes:
        """The page, at most MAX_PAGE_BYTES. Raises ScrapeFailed. Waiting for a place takes no time of it."""
        address = _address(ip)
        if address is None:
            raise ScrapeFailed("has no address that a pod can have")
        url = URL.build(scheme="http", host=str(address), port=port, path=path)
        async with self._suspect_places if suspect else nullcontext(), self._places:
            try:
                with timed(self.request_seconds), request_to(str(address)):
                    async with asyncio.timeout(self._timeout_seconds):
                        return await self._page(url)
            except AddressDenied as denied:
                raise ScrapeFailed(f"is not connected to: {denied}") from None
            except TimeoutError:
                raise ScrapeFailed(f"did not answer within {self._timeout_seconds:g} s") from None
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError):
                raise ScrapeFailed(f"could not be connected to on port {port} or broke off") from None
            except (aiohttp.ClientError, ValueError):
                raise ScrapeFailed("did not answer in proper HTTP") from None

    async def aclose(self) -> None:
        """Closes what is open. A later `get` opens anew."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _page(self, url: URL) -> bytes:
        async with self._opened().get(url, headers=_HEADERS, allow_redirects=False) as answer:
            if 300 <= answer.status < 400:
                raise ScrapeFailed(f"redirects (status {answer.status}), which is not followed")
            if answer.status != 200:
                raise ScrapeFailed(f"answered with status {answer.status}")
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise ScrapeFailed("compressed its answer although it was asked not to")
            page = bytearray()
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                page += chunk
                if len(page) > MAX_PAGE_BYTES:
                    answer.close()
                    raise ScrapeFailed(f"sent more than {MAX_PAGE_BYTES // 1024 // 1024} MiB")
        if not page.strip():
            raise ScrapeFailed("sent an empty page")
        return bytes(page)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A connection per page: a pod's address passes to another pod, and 15 s outlive most idle
            # connections.
            connector = aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=guarded_socket(self._policy))
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # no proxy and no .netrc from the environment
                timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            )
        return self._session


def _address(ip: str) -> IPAddress | None:
    """The address, an IPv4 one in IPv6 clothes as what it is; None for anything else."""
    address = parse_address(ip)
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address
