"""How long the event loop is held up: what is due waits for whatever runs."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

STEP_SECONDS = 0.1
WINDOW_SECONDS = 60.0


class LoopLag:
    """`async with LoopLag() as lag` sleeps in short steps and keeps by how much each was too long."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = (
            deque()
        )  # (when, by how much), longer ones only after shorter ones left
        self._task: asyncio.Task[None] | None = None

    @property
    def longest_seconds(self) -> float:
        """The longest of the last minute."""
        return self._late[0][1] if self._late else 0.0

    def note(self, at: float, late_seconds: float) -> None:
        """One step was late by so much; what is older than a minute, or both older and shorter, is forgotten."""
        while self._late and self._late[-1][1] <= late_seconds:
            self._late.pop()
        self._late.append((at, late_seconds))
        while self._late[0][0] < at - WINDOW_SECONDS:
            self._late.popleft()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._measure(), name="loop-lag")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + STEP_SECONDS
            await asyncio.sleep(STEP_SECONDS)
            now = loop.time()
            self.note(now, max(0.0, now - due))
