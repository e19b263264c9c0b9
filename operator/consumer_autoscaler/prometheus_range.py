"""Range queries to a Prometheus, for the command line: over connections that are kept, one after the other.

Unlike in the operator the address is that of the person who asks, so any address is allowed. A token is sent to the
address that was given only, and by https:// only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from yarl import URL

ANSWER_SECONDS = 60  # a week of a large group, by a Prometheus that is busy
MOST_BYTES = 64 * 2**20


class NoAnswer(Exception):
    """Prometheus cannot be asked; the message says why and has no secrets."""


class RangeQueries:
    """`await queries(promql, start=…, end=…, step=…)` is the body of the answer, also where that is an error that
    Prometheus explains. Raises NoAnswer.
    """

    def __init__(self, session: aiohttp.ClientSession, url: URL) -> None:
        self._session = session
        self._url = url

    async def __call__(self, query: str, *, start: float, end: float, step: float) -> str:
        form = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        shown = self._url.with_user(None)
        try:
            async with self._session.post(self._url / "api/v1/query_range", data=form, allow_redirects=False) as answer:
                body = await _body(answer, shown)
                explained = answer.content_type == "application/json"
                if answer.status in (401, 403):
                    raise NoAnswer(f"{shown} refuses the login (status {answer.status}): see --bearer-token-file")
                if answer.status >= 300 and not explained:
                    raise NoAnswer(
                        f"{shown} answered with status {answer.status}: give the URL below which /api/v1 lives"
                    )
                return body
        except aiohttp.ClientConnectorCertificateError:
            raise NoAnswer(
                f"{shown} has a certificate that is not trusted: name the file of your CA in the variable SSL_CERT_FILE"
            ) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(
                f"{shown} cannot be reached ({type(error).__name__}): check the URL and the network"
            ) from None


async def _body(answer: aiohttp.ClientResponse, shown: URL) -> str:
    read = bytearray()
    async for chunk in answer.content.iter_chunked(2**16):
        read += chunk
        if len(read) > MOST_BYTES:
            raise NoAnswer(f"{shown} answered with more than {MOST_BYTES >> 20} MiB: ask for fewer --days")
    return read.decode("utf-8", errors="replace")


@asynccontextmanager
async def range_queries(address: str, token_file: Path | None = None) -> AsyncIterator[RangeQueries]:
    """Raises NoAnswer when the address or the token cannot be used."""
    try:
        url = URL(address)
    except ValueError:
        raise NoAnswer(f"--prometheus {address}: is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise NoAnswer("--prometheus: must be a URL such as http://prometheus.monitoring:9090")
    headers = {}
    if token_file is not None:
        if url.scheme != "https":
            raise NoAnswer("--bearer-token-file: a token is sent by https:// only")
        try:
            token = await asyncio.to_thread(token_file.read_text, "utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NoAnswer(f"--bearer-token-file {token_file}: cannot be read ({type(error).__name__})") from None
        headers["Authorization"] = f"Bearer {token.strip()}"
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        yield RangeQueries(session, url)
