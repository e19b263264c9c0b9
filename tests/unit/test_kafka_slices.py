"""Long work in slices, by several tasks at once."""

from __future__ import annotations

import asyncio
import time

from consumer_autoscaler.sources.kafka.slices import Slices


async def test_tasks_that_work_at_the_same_time_share_each_turn_of_the_loop() -> None:
    """However many there are, the loop is never held much longer than one slice, and all of them end."""
    waits: list[float] = []
    done: list[int] = []

    async def work(number: int) -> None:
        slices = Slices()
        for _ in range(30):
            end = time.thread_time() + 0.001
            while time.thread_time() < end:
                pass
            await slices.breathe()
        done.append(number)

    async def watch() -> None:
        while len(done) < 10:
            began = time.thread_time()
            await asyncio.sleep(0)
            waits.append(time.thread_time() - began)

    await asyncio.gather(watch(), *(work(number) for number in range(10)))
    assert sorted(done) == list(range(10))
    assert sorted(waits)[len(waits) // 2] < 0.03
    assert len(waits) >= 10


async def test_short_work_is_not_interrupted() -> None:
    """Within a slice nothing else gets to run."""
    ran: list[str] = []
    slices = Slices()
    await slices.breathe()  # opens a slice
    asyncio.get_running_loop().call_soon(ran.append, "other")
    await slices.breathe()
    assert ran == []
    await asyncio.sleep(0)
    assert ran == ["other"]
