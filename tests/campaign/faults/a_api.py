"""A: the Kubernetes API is slow, refuses, forgets, or is not there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.campaign.apiproxy import CUT, Answer, Asked, Forward, refusal
from tests.campaign.faults.common import ruled
from tests.campaign.judge import Expected
from tests.campaign.run import UNTIL_THE_END, Fault, Run

from bed.kubeapi import MERGE_PATCH

REQUEST_SECONDS = 4  # how long the operators of A2 wait for an answer
RETRY_AFTER_SECONDS = 3


def ordinary(asked: Asked) -> bool:
    """Neither a watch nor of the Lease, which is asked for whatever happens."""
    return asked.resource != "leases" and asked.verb != "watch"


@asynccontextmanager
async def _gone(run: Run) -> AsyncIterator[None]:
    """As if the API server were killed: connections are reset and new ones refused."""
    run.proxy.down()
    yield
    await run.proxy.up()


@asynccontextmanager
async def _silent(run: Run) -> AsyncIterator[None]:
    """Connections stay open, new ones are accepted, and no byte gets through."""
    run.proxy.freeze()
    yield
    run.proxy.thaw()


@asynccontextmanager
async def _slow(run: Run) -> AsyncIterator[None]:
    """Every answer takes almost as long as the operator waits."""

    async def late(asked: Asked, forward: Forward) -> Answer:
        await asyncio.sleep(REQUEST_SECONDS * run.chance.uniform(0.4, 0.9))
        return await forward(asked)

    with ruled(run, ordinary, late):
        yield


@asynccontextmanager
async def _answer_lost(run: Run) -> AsyncIterator[None]:
    """Writes are done, and nobody is told: the connection is cut, or says nothing until the operator gives up."""

    async def lost(asked: Asked, forward: Forward) -> Answer:
        await forward(asked)
        if run.chance.random() < 0.5:
            await asyncio.sleep(REQUEST_SECONDS + 1)
        return CUT

    with ruled(run, lambda asked: asked.writes and ordinary(asked), lost):
        yield


@asynccontextmanager
async def _scale_unanswered(run: Run) -> AsyncIterator[None]:
    """The scale is done and nobody is told, so whose count it is must be found out."""

    run.outcome.happened = False

    async def lost(asked: Asked, forward: Forward) -> Answer:
        run.outcome.happened = True
        await forward(asked)
        return CUT

    with ruled(run, lambda asked: asked.what == "patch deployments/scale", lost):
        yield


@asynccontextmanager
async def _never_arrived(run: Run) -> AsyncIterator[None]:
    """Writes are lost on their way."""

    async def lost(asked: Asked, forward: Forward) -> Answer:
        if run.chance.random() < 0.5:
            await asyncio.sleep(REQUEST_SECONDS + 1)
        return CUT

    with ruled(run, lambda asked: asked.writes and ordinary(asked), lost):
        yield


@asynccontextmanager
async def _somebody_was_faster(run: Run) -> AsyncIterator[None]:
    """Before the operator's write arrives another one changes the same object: the real server answers 409.

    One time in five nobody does, or three attempts of a cycle would never be enough.
    """
    api, namespace = run.bed.api, run.site.name
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/consumers"

    async def raced(asked: Asked, forward: Forward) -> Answer:
        if run.chance.random() < 0.8:
            mark = {"metadata": {"annotations": {"example.com/touched": str(asked.number)}}}
            await api.call("PATCH", deployment, mark, content_type=MERGE_PATCH)
        return await forward(asked)

    with ruled(run, lambda asked: asked.what == "patch deployments/scale", raced):
        yield


@asynccontextmanager
async def _too_many(run: Run) -> AsyncIterator[None]:
    """Refused with 429 and Retry-After. The operator keeps quiet for so long, except for its Lease, and counts it."""
    refused_at: list[float] = []
    too_early: list[str] = []

    async def refuse(asked: Asked, _: Forward) -> Answer:
        now = time.monotonic()
        # Those that were under way when the first was refused come within moments.
        if refused_at and 0.5 < now - refused_at[-1] < RETRY_AFTER_SECONDS - 0.2:
            too_early.append(asked.what)
        elif not refused_at or now - refused_at[-1] >= RETRY_AFTER_SECONDS - 0.2:
            refused_at.append(now)
        return refusal(429, "TooManyRequests", **{"Retry-After": str(RETRY_AFTER_SECONDS)})

    with ruled(run, lambda asked: ordinary(asked) and (asked.verb == "get" or asked.writes), refuse):
        yield
    assert not too_early, f"asked before the time was over: {too_early}"
    assert not refused_at or 'code="429"' in await run.kept.page(), "no metric counts the 429"
    run.outcome.happened = bool(refused_at)


@asynccontextmanager
async def _conflict_on_status(run: Run) -> AsyncIterator[None]:
    """The operator's status writes name no version, so a real server has no conflict for them: it is made here."""

    async def refuse(asked: Asked, forward: Forward) -> Answer:
        return refusal(409, "Conflict") if run.chance.random() < 0.7 else await forward(asked)

    with ruled(run, lambda asked: asked.what == "patch consumerautoscalers/status", refuse):
        yield


FAILED = frozenset({"ScaleFailed"})
SHORT = ("--request-timeout-seconds", str(REQUEST_SECONDS))
BEFORE_A_SCALE = ("resting", "loaded", "raised", "lowered", "idle", "resumed")
FAULTS = (
    Fault("A1", "gone for moments", _gone, seconds=(1, 4), expected=Expected(events=FAILED)),
    Fault("A1", "gone for 30 s", _gone, seconds=(30, 30),
          expected=Expected(restarts=(1, 1), events=FAILED, events_may_be_lost=True, status_writes=5)),
    Fault("A1", "gone for 5 min", _gone, seconds=(300, 300),
          expected=Expected(restarts=(1, 1), events=FAILED, events_may_be_lost=True, status_writes=5)),
    Fault("A1", "gone for 30 min", _gone, seconds=(1800, 1800),
          expected=Expected(restarts=(1, 1), events=FAILED, events_may_be_lost=True, status_writes=5)),
    Fault("A1", "silent", _silent, seconds=(1, 5), expected=Expected(events=FAILED)),
    Fault("A2", "slow", _slow, seconds=(4, 10), flags=SHORT),
    Fault("A2", "scale unanswered", _scale_unanswered, seconds=UNTIL_THE_END, moments=BEFORE_A_SCALE,
          expected=Expected(events=FAILED)),
    Fault("A2", "answers lost", _answer_lost, seconds=(3, 8), flags=SHORT,
          expected=Expected(events=FAILED, status_writes=10)),
    Fault("A2", "never arrived", _never_arrived, seconds=(3, 8), flags=SHORT,
          expected=Expected(events=FAILED)),
    Fault("A3", "429 with Retry-After", _too_many, seconds=(4, 8), expected=Expected(events=FAILED)),
    Fault("A4", "conflict on scale", _somebody_was_faster, seconds=(10, 12), moments=BEFORE_A_SCALE,
          expected=Expected(events=FAILED)),  # after three conflicts, until the next cycle
    Fault("A4", "conflict on status", _conflict_on_status, seconds=(4, 8), moments=BEFORE_A_SCALE),
)  # fmt: skip
