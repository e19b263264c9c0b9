"""Looks host names up in threads of their own, so that a resolver that hangs for one cluster holds up no other.

`getaddrinfo` blocks its thread and cannot be cancelled. The event loop gives it its few default threads; when names
that get no answer have taken those, no name can be looked up any more, not even one that would be answered at once.
So a name is looked up here first, and only then is its connection made. A name whose look-up still waits is not looked
up again: later callers wait for the same one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress
from threading import Thread


def is_address(host: str) -> bool:
    """Whether it needs no look-up."""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


class Names:
    """Look-ups under way, one thread for each different name. The threads do not keep a process from ending."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def look_up(self, host: str) -> None:
        """Returns when the name has an address. Raises OSError, UnicodeError, ValueError; the caller sets a timeout."""
        if is_address(host):
            return
        answered = self._waiting.get(host)
        if answered is None:
            loop = asyncio.get_running_loop()
            answered = self._waiting[host] = loop.create_future()
            # Perhaps nobody waits for it any more by then.
            answered.add_done_callback(lambda done: done.cancelled() or done.exception())
            Thread(target=self._ask, args=(host, loop, answered), name="kafka-names", daemon=True).start()
        await asyncio.shield(answered)

    def _ask(self, host: str, loop: asyncio.AbstractEventLoop, answered: asyncio.Future[None]) -> None:
        failure: Exception | None = None
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except Exception as error:  # handed on, whatever it is
            failure = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._answer, host, answered, failure)

    def _answer(self, host: str, answered: asyncio.Future[None], failure: Exception | None) -> None:
        del self._waiting[host]
        if answered.done():
            return
        if failure is None:
            answered.set_result(None)
        else:
            answered.set_exception(failure)
