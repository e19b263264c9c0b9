"""Whether this machine was too busy for what was seen to mean anything: how late this process's own event loop was."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

STEP_SECONDS = 0.1
TOO_LATE_SECONDS = 1.5
"""Proxies, group members and waits are all in this loop. A Lease of 15 s has ten to be renewed in several attempts."""


class Starvation:
    """`async with Starvation() as starvation` watches; `starved(since)` tells of the time from then (monotonic) on."""

    def __init__(self) -> None:
        self._late_at: list[float] = []

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])

    def starved(self, since: float) -> bool:
        return any(at >= since for at in self._late_at)

    async def _watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(STEP_SECONDS)
            if time.monotonic() - before - STEP_SECONDS > TOO_LATE_SECONDS:
                self._late_at.append(time.monotonic())
