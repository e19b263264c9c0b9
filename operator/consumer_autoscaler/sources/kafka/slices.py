"""Keeps long work on the event loop from blocking it.

All tasks of a loop share each of its turns: of those that work through long answers at the same time, one works for a
slice, then the loop looks at its sockets and timers, and so on.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

_SLICE_SECONDS = 0.005


class _Turn:
    """When the slice of this turn of the loop began."""

    __slots__ = ("__weakref__", "began", "ending")

    def __init__(self) -> None:
        self.began = -float("inf")
        self.ending = False

    def renew(self, now: float) -> None:
        self.began, self.ending = now, False


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turn] = WeakKeyDictionary()


class Slices:
    """`await breathe()` between pieces of work: lets the loop run when this turn's slice has lasted long enough."""

    __slots__ = ("_loop", "_turn")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._turn = _turns.setdefault(self._loop, _Turn())

    async def breathe(self) -> None:
        while self._loop.time() - self._turn.began > _SLICE_SECONDS:
            if not self._turn.ending:  # the first to wait opens the next slice, when the next turn begins
                self._turn.ending = True
                self._loop.call_soon(self._renew)
            await asyncio.sleep(0)

    def _renew(self) -> None:
        self._turn.renew(self._loop.time())
