"""A: the Kubernetes API is slow, refuses, forgets, or is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.campaign.apiproxy import CUT, Answer, Asked, Forward
from tests.campaign.faults.common import ruled
from tests.campaign.judge import Expected
from tests.campaign.run import UNTIL_THE_END, Fault, Run

from bed.kubeapi import MERGE_PATCH

REQUEST_SECONDS = 2  # how long the operators of A2 wait for an answer


def not_lease(asked: Asked) -> bool:
    """The Lease has a fault of its own: without it the operator ends, as it should."""
    return asked.resource != "leases" and asked.verb != "watch"


@asynccontextmanager
async def _slow(run: Run) -> AsyncIterator[None]:
    """Every answer takes almost as long as the operator waits."""

    async def late(asked: Asked, forward: Forward) -> Answer:
        await asyncio.sleep(REQUEST_SECONDS * run.chance.uniform(0.4, 0.9))
        return await forward(asked)

    with ruled(run, not_lease, late):
        yield


@asynccontextmanager
async def _answer_lost(run: Run) -> AsyncIterator[None]:
    """Writes are done, and nobody is told: the connection is cut, or says nothing until the operator gives up."""

    async def lost(asked: Asked, forward: Forward) -> Answer:
        await forward(asked)
        if run.chance.random() < 0.5:
            await asyncio.sleep(REQUEST_SECONDS + 1)
        return CUT

    with ruled(run, lambda asked: asked.writes and not_lease(asked), lost):
        yield


@asynccontextmanager
async def _scale_unanswered(run: Run) -> AsyncIterator[None]:
    """The scale is done and nobody is told, so whose count it is must be found out."""

    async def lost(asked: Asked, forward: Forward) -> Answer:
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

    with ruled(run, lambda asked: asked.writes and not_lease(asked), lost):
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


FAILED = frozenset({"ScaleFailed"})
SHORT = ("--request-timeout-seconds", str(REQUEST_SECONDS))
FAULTS = (
    Fault("A2", "slow", _slow, seconds=(4, 10), flags=SHORT),
    Fault("A2", "scale unanswered", _scale_unanswered, seconds=UNTIL_THE_END, expected=Expected(events=FAILED)),
    Fault("A2", "answers lost", _answer_lost, seconds=(3, 8), flags=SHORT,
          expected=Expected(events=FAILED, events_may_be_lost=True, status_writes=10)),
    Fault("A2", "never arrived", _never_arrived, seconds=(3, 8), flags=SHORT,
          expected=Expected(events=FAILED, events_may_be_lost=True)),
    Fault("A4", "conflict on scale", _somebody_was_faster, seconds=(10, 12),
          moments=("resting", "loaded", "raised", "lowered", "idle", "resumed"),
          expected=Expected(events=FAILED)),  # after three conflicts, until the next cycle
)  # fmt: skip
