"""The address policy where aiohttp opens its sockets.

aiohttp resolves the name and hands each address to a socket factory right before it connects: there the policy is
asked, so that no other look-up can come in between. A refusal is kept beside the request, since aiohttp only tells that
the connection failed.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumer_autoscaler.sources.address_policy import AddressDenied, AddressPolicy

if TYPE_CHECKING:
    from aiohttp.connector import AddrInfoType


@dataclass(slots=True)
class _Request:
    host: str
    denied: AddressDenied | None = None


_request: ContextVar[_Request | None] = ContextVar("request", default=None)


@contextmanager
def request_to(host: str) -> Iterator[None]:
    """Around one request. What fails in it because of a denied address raises AddressDenied."""
    request = _Request(host)
    token = _request.set(request)
    try:
        yield
    except OSError:  # aiohttp's ClientConnectorError is one
        if request.denied is not None:
            raise request.denied from None
        raise
    finally:
        _request.reset(token)


def guarded_socket(policy: AddressPolicy) -> Callable[[AddrInfoType], socket.socket]:
    """A socket factory for aiohttp's connector. Nothing is connected outside of `request_to`."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = info
        request = _request.get()
        if request is None:
            raise AddressDenied("a connection for nobody's request")
        try:
            policy.check(request.host, str(where[0]), int(where[1]))
        except AddressDenied as denied:
            request.denied = denied
            raise
        return socket.socket(family, kind, protocol)

    return make
