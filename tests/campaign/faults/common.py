"""What faults of several rows share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from tests.campaign.apiproxy import Act, Asked, Rule
from tests.campaign.run import Run


@contextmanager
def ruled(run: Run, about: Callable[[Asked], bool], act: Act) -> Iterator[None]:
    """What `act` does with the operator's requests that `about` picks is in force within the block."""
    rule = Rule(about, act)
    run.proxy.rules.append(rule)
    try:
        yield
    finally:
        run.proxy.rules.remove(rule)


@contextmanager
def retold(run: Run, how: Callable[[Asked, bytes], AsyncIterator[bytes]]) -> Iterator[None]:
    """Within the block each line of a watch becomes what `how` gives for it: nothing, itself, or several."""
    run.proxy.on_event = how
    try:
        yield
    finally:
        run.proxy.on_event = None


@asynccontextmanager
async def again_and_again(what: Callable[[], Awaitable[None]], pause_seconds: float) -> AsyncIterator[None]:
    """Does something over and over within the block; what it raises is raised at the end."""
    over = asyncio.Event()

    async def repeat() -> None:
        while not over.is_set():
            await what()
            await asyncio.sleep(pause_seconds)

    repeating = asyncio.create_task(repeat())
    yield
    over.set()
    await repeating
