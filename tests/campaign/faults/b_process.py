"""B: the operator's process dies, stands still, is not alone, or has a wrong clock."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.campaign.apiproxy import Answer, Asked, Forward
from tests.campaign.faults.a_api import FAILED
from tests.campaign.faults.common import ruled
from tests.campaign.judge import Expected
from tests.campaign.operators import BLOCK_SECONDS, LEASE_SECONDS
from tests.campaign.run import UNTIL_THE_END, Fault, Inject, Run
from tests.integration.support import eventually

STOP_SECONDS = 10.0


@asynccontextmanager
async def _leader_stopped(run: Run) -> AsyncIterator[None]:
    """The leader stands still for longer than its Lease, a standby takes over, and the old one wakes up."""
    standby, _ = await run.also()
    process = run.kept.operator.process
    process.send(signal.SIGSTOP)
    yield
    process.send(signal.SIGCONT)
    await eventually(lambda: process.returncode is not None, 30)
    assert process.returncode != 0, "the old leader ended as if all were well"
    await _one_leads(run)
    assert standby.restarts == 0


@asynccontextmanager
async def _leader_cut_off(run: Run) -> AsyncIterator[None]:
    """The leader reaches nobody any more, and must have stopped to be one before the standby begins."""
    await run.also()
    run.proxy.down()
    yield
    await run.proxy.up()
    await run.kept.until_ready()
    await _one_leads(run)


@asynccontextmanager
async def _write_arrives_late(run: Run) -> AsyncIterator[None]:
    """The leader's scale is on its way while it stands still and another takes over: the version in it is too old."""
    await run.also()
    run.outcome.happened = False
    process = run.kept.operator.process
    late: list[Answer] = []

    async def held(asked: Asked, forward: Forward) -> Answer:
        if run.outcome.happened:
            return await forward(asked)
        run.outcome.happened = True
        before = len(run.site.counts)
        process.send(signal.SIGSTOP)
        try:
            await eventually(lambda: len(run.site.counts) > before, 90)  # by the other one
        finally:
            late.append(await forward(asked))
            process.send(signal.SIGCONT)
        return late[0]

    with ruled(run, lambda asked: asked.what == "patch deployments/scale", held):
        yield
    if run.outcome.happened:
        assert [each.status for each in late] == [409], f"the late write was answered {late}"


async def _one_leads(run: Run) -> None:
    async def one() -> bool:
        pages = [await each.page() for each in (run.kept, *run.others)]
        return all(pages) and sum("consumer_autoscaler_operator_leader 1.0" in page for page in pages) == 1

    await eventually(one, 3.0 * LEASE_SECONDS)


@asynccontextmanager
async def _terminated(run: Run) -> AsyncIterator[None]:
    """SIGTERM at any time, in a poll or not: it ends in order, and the next one need not wait for the Lease."""
    await asyncio.sleep(run.chance.uniform(0, 2))
    process = run.kept.operator.process
    begin = time.monotonic()
    process.send(signal.SIGTERM)
    await eventually(lambda: process.returncode is not None, 60)
    assert process.returncode == 0, f"ended with {process.returncode} after SIGTERM"
    assert time.monotonic() - begin <= STOP_SECONDS, f"took {time.monotonic() - begin:.0f} s to stop"
    yield


@asynccontextmanager
async def _killed(run: Run) -> AsyncIterator[None]:
    """SIGKILL at any time, as by the kernel when memory runs out."""
    await asyncio.sleep(run.chance.uniform(0, 2))
    run.kept.kill()
    yield


@asynccontextmanager
async def _killed_again_and_again(run: Run) -> AsyncIterator[None]:
    """SIGKILL three times within half a minute."""
    for _ in range(3):
        await asyncio.sleep(run.chance.uniform(0.5, 12))
        run.kept.kill()
    yield


@asynccontextmanager
async def _rolling_upgrade(run: Run) -> AsyncIterator[None]:
    """The new pod is there and stands by before the old one is told to go, as the shipped Deployment does it."""
    new, _ = await run.also()
    assert await run.kept.stop() == 0
    run.others.remove(new)
    run.kept = new
    yield


def _clock(shift_seconds: float, *, restart: bool) -> Inject:
    @asynccontextmanager
    async def moved(run: Run) -> AsyncIterator[None]:
        """The wall clock steps, and the time that goes by does not."""
        run.kept.clock(shift_seconds)
        if restart:
            run.kept.kill()
        yield

    return moved


@asynccontextmanager
async def _suspended(run: Run) -> AsyncIterator[None]:
    """The container stands still, alone, for a while."""
    process = run.kept.operator.process
    process.send(signal.SIGSTOP)
    yield
    process.send(signal.SIGCONT)


@asynccontextmanager
async def _loop_blocked(run: Run) -> AsyncIterator[None]:
    """Something holds up the event loop until the Lease is lost: the process ends rather than write late."""
    process = run.kept.operator.process
    run.kept.block()
    await asyncio.sleep(BLOCK_SECONDS)
    yield
    await eventually(lambda: process.returncode is not None, 30)


@asynccontextmanager
async def _log_not_taken(run: Run) -> AsyncIterator[None]:
    """Nobody takes what the operator logs, so its writes wait; then somebody does."""
    pipe = run.kept.pipe
    assert pipe is not None
    pipe.hold()
    yield
    pipe.release()


RESTARTED = Expected(restarts=(1, 1), events=FAILED, events_may_be_lost=True, status_writes=5)
LONGER_THAN_THE_LEASE = (LEASE_SECONDS + 5, LEASE_SECONDS + 10)
FAULTS = (
    Fault("B1", "leader stopped", _leader_stopped, seconds=LONGER_THAN_THE_LEASE, expected=RESTARTED),
    Fault("B1", "leader cut off", _leader_cut_off, seconds=LONGER_THAN_THE_LEASE, expected=RESTARTED),
    Fault("B1", "late write of an old leader", _write_arrives_late, seconds=UNTIL_THE_END, moments=("resting",),
          expected=RESTARTED),
    Fault("B3", "SIGTERM", _terminated, expected=Expected(restarts=(1, 1), events_may_be_lost=True, status_writes=5)),
    Fault("B3", "SIGKILL", _killed, expected=RESTARTED),
    Fault("B3", "SIGKILL three times", _killed_again_and_again,
          expected=Expected(restarts=(3, 3), events_may_be_lost=True, status_writes=12)),
    Fault("B3", "rolling upgrade", _rolling_upgrade, expected=Expected(events_may_be_lost=True, status_writes=5)),
    Fault("B4", "clock an hour ahead", _clock(3600, restart=False), shimmed=True, seconds=UNTIL_THE_END),
    Fault("B4", "clock an hour behind", _clock(-3600, restart=False), shimmed=True, seconds=UNTIL_THE_END),
    Fault("B4", "clock an hour behind, and a restart", _clock(-3600, restart=True), shimmed=True,
          seconds=UNTIL_THE_END, expected=RESTARTED),
    Fault("B4", "suspended for moments", _suspended, seconds=(1, 3), expected=Expected(events=FAILED)),
    Fault("B4", "suspended for longer than the Lease", _suspended, seconds=LONGER_THAN_THE_LEASE, expected=RESTARTED),
    Fault("B5", "event loop blocked", _loop_blocked, shimmed=True, seconds=(0, 1), expected=RESTARTED),
    Fault("B5", "log not taken", _log_not_taken, seconds=(4, 8), flags=("--log-level", "DEBUG"), piped=True,
          expected=Expected(restarts=(0, 1), events=FAILED, events_may_be_lost=True, status_writes=5)),
)  # fmt: skip
