"""Keeps long work on the event loop from blocking it."""

from __future__ import annotations

import asyncio

_SLICE_SECONDS = 0.008


class Slices:
    """`await breathe()` between pieces of work: lets the loop run when this slice has lasted long enough."""

    __slots__ = ("_began", "_time")

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._began = self._time()

    async def breathe(self) -> None:
        if self._time() - self._began > _SLICE_SECONDS:
            await asyncio.sleep(0)
            self._began = self._time()
