"""Looks host names up in threads of their own, so that a resolver that hangs for one cluster holds up no other.

`getaddrinfo` blocks its thread and cannot be cancelled. The event loop gives it its few default threads; when names
that get no answer have taken those, no name can be looked up any more, not even one that would be answered at once.
So names are looked up here. A name whose look-up still waits is not looked up again: later callers wait for the same
one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress
from threading import Thread

Found = list[tuple[socket.AddressFamily, str]]  # addresses of a name


def as_address(host: str) -> Found:
    """An address, which needs no look-up; empty for a name."""
    with suppress(ValueError):
        version = ipaddress.ip_address(host).version
        return [(socket.AF_INET if version == 4 else socket.AF_INET6, host)]
    return []


class Names:
    """Look-ups under way, one thread for each different name. The threads do not keep a process from ending."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Found]] = {}

    async def look_up(self, host: str) -> Found:
        """Its addresses, in the resolver's order. Raises OSError, UnicodeError, ValueError.

        The caller sets a timeout.
        """
        if address := as_address(host):
            return address
        answered = self._waiting.get(host)
        if answered is None:
            loop = asyncio.get_running_loop()
            answered = self._waiting[host] = loop.create_future()
            # Perhaps nobody waits for it any more by then.
            answered.add_done_callback(lambda done: done.cancelled() or done.exception())
            Thread(target=self._ask, args=(host, loop, answered), name="kafka-names", daemon=True).start()
        return await asyncio.shield(answered)

    def _ask(self, host: str, loop: asyncio.AbstractEventLoop, answered: asyncio.Future[Found]) -> None:
        answer: Found | Exception
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            answer = [(family, str(where[0])) for family, _, _, _, where in found]
        except Exception as error:  # handed on, whatever it is
            answer = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._answer, host, answered, answer)

    def _answer(self, host: str, answered: asyncio.Future[Found], answer: Found | Exception) -> None:
        del self._waiting[host]
        if answered.done():
            return
        if isinstance(answer, Exception):
            answered.set_exception(answer)
        else:
            answered.set_result(answer)
