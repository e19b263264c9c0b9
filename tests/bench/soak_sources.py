"""What the soak reads: every kind of source that works, and every kind of failure, as parts of resources.

What no real server does on demand is done here by one on loopback: that says nothing, hangs up, sends noise, or answers
HTTP in ways that a Prometheus does not.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

Json = dict[str, Any]
Way = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


def _http(status: str, body: bytes, *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers])
    return f"{head}\r\n\r\n".encode() + body


_VECTOR = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,"0.05"]}]}}'
ANSWERS = {
    "works": _http("200 OK", _VECTOR),
    "broken": _http("500 Internal Server Error", b"oops"),
    "no-json": _http("200 OK", b"<html>login</html>"),
    "odd-json": _http("200 OK", b'{"status":"success","data":{"resultType":"matrix","result":[[]]}}'),
    "redirects": _http("302 Found", b"", "Location: http://169.254.169.254/"),
    "refuses": _http("401 Unauthorized", b""),
    "too-large": _http("200 OK", b"x" * 5_000_000),
    "no-http": b"\x00\x01\x02\r\n\r\n",
    "breaks-off": _http("200 OK", _VECTOR)[:-20],
}


def _answer(body: bytes) -> Way:
    async def way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        await writer.drain()

    return way


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def _noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        noise = os.urandom(64)
        writer.write(len(noise).to_bytes(4, "big") + noise)
        await writer.drain()


WAYS: dict[str, Way] = {
    "silent": _silent,
    "hangs-up": _hangs_up,
    "noise": _noise,
    **{name: _answer(body) for name, body in ANSWERS.items()},
}


@asynccontextmanager
async def odd_servers() -> AsyncIterator[dict[str, int]]:
    """The port of each way to answer."""

    def serving(way: Way) -> Way:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await way(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
                pass  # the other side has gone, or the soak has ended
            finally:
                writer.close()

        return serve

    async with AsyncExitStack() as stack:
        ports = {}
        for name, way in WAYS.items():
            server = await asyncio.start_server(serving(way), "127.0.0.1", 0)
            stack.callback(server.close)
            ports[name] = server.sockets[0].getsockname()[1]
        yield ports


def kafka_failures(bootstrap: str, login: str, token_url: str, ports: dict[str, int]) -> dict[str, Json]:
    """What differs from a healthy `kafka` part, by what it shows. `login`: a port with TLS and SASL."""

    def scram(secret: str) -> Json:
        return {
            "bootstrapServers": login,
            "tls": {"caSecretRef": {"name": "cluster-ca"}},
            "sasl": {"mechanism": "SCRAM-SHA-512", "credentialsSecretRef": {"name": secret}},
        }

    tokens = scram("refused-client") | {
        "sasl": {
            "mechanism": "OAUTHBEARER",
            "credentialsSecretRef": {"name": "refused-client"},
            "oauth": {"tokenEndpoint": token_url, "caSecretRef": {"name": "cluster-ca"}},
        }
    }
    return {
        "unreachable": {"bootstrapServers": "127.0.0.1:1"},
        "unresolved": {"bootstrapServers": "no-such-broker.invalid:9092"},
        "denied": {"bootstrapServers": "169.254.169.254:80"},
        **{f"broker-{way}": {"bootstrapServers": f"127.0.0.1:{ports[way]}"} for way in ("silent", "hangs-up", "noise")},
        "no-topic": {"topics": ["no-such-topic"]},
        "no-group": {"consumerGroup": "no-such-group", "topics": []},
        "no-secret": scram("no-such-secret"),
        "wrong-password": scram("wrong"),
        "no-ca": {**scram("alice"), "tls": {}},
        "tls-on-plain": {"bootstrapServers": bootstrap, "tls": {"caSecretRef": {"name": "cluster-ca"}}},
        "plain-on-tls": {"bootstrapServers": login},
        "refused-client": tokens,
    }


def processing_failures(ports: dict[str, int]) -> dict[str, Json]:
    """`processingTime` by what it shows; the first works."""
    asked = {f"prometheus-{way}": port for way, port in ports.items() if way != "noise"}
    found = {
        name: {"sources": [{"prometheus": {"address": f"http://127.0.0.1:{port}", "query": "x", "timeoutSeconds": 1}}]}
        for name, port in asked.items()
    }
    metadata = {"prometheus": {"address": "http://169.254.169.254", "query": "x"}}
    return {**found, "prometheus-denied": {"sources": [metadata]}, "pods": {"sources": [{"podMetrics": {"port": 80}}]}}
