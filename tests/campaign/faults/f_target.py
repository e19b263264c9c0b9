"""F: the target goes, is made again, rolls, is touched by others, and its pods cannot come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.campaign.faults.common import again_and_again
from tests.campaign.judge import Expected
from tests.campaign.run import Fault, Run

from bed.kubeapi import MERGE_PATCH

DEPLOYMENT = "/apis/apps/v1/namespaces/{}/deployments/consumers"
CORE = "/api/v1/namespaces/{}"


async def _patch(run: Run, change: object) -> None:
    path = DEPLOYMENT.format(run.site.name)
    await run.bed.api.call("PATCH", path, change, content_type=MERGE_PATCH)


@asynccontextmanager
async def _made_anew(run: Run) -> AsyncIterator[None]:
    """Deleted, missing for a while, and created again under another uid with the count it had."""
    await run.site.delete_target()
    await asyncio.sleep(run.chance.uniform(0.5, 4.0))
    await run.site.create_target(run.site.counts[-1])
    yield


@asynccontextmanager
async def _touched(run: Run) -> AsyncIterator[None]:
    """A tool of somebody's marks it again and again, and sets no count."""
    numbers = iter(range(1_000_000))

    async def touch() -> None:
        await _patch(run, {"metadata": {"annotations": {"example.com/touched": str(next(numbers))}}})

    async with again_and_again(touch, 0.2):
        yield


@asynccontextmanager
async def _rolls(run: Run) -> AsyncIterator[None]:
    """A rolling update, with pods above the count for a while, and another one before it is over."""

    async def roll() -> None:
        mark = {"example.com/version": str(run.chance.random())}
        await _patch(run, {"spec": {"template": {"metadata": {"annotations": mark}}}})

    async with again_and_again(roll, 1.5):
        yield


@asynccontextmanager
async def _paused(run: Run) -> AsyncIterator[None]:
    """A paused Deployment with a new template: it is scaled, but does not roll."""
    template = {"metadata": {"annotations": {"example.com/version": "2"}}}
    await _patch(run, {"spec": {"paused": True, "template": template}})
    yield
    await _patch(run, {"spec": {"paused": False}})


@asynccontextmanager
async def _quota(run: Run) -> AsyncIterator[None]:
    """No pod more may be made; those that there are go on."""
    quotas = CORE.format(run.site.name) + "/resourcequotas"
    await run.bed.api.call("POST", quotas, {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}})
    yield
    await run.bed.api.call("DELETE", f"{quotas}/full")


@asynccontextmanager
async def _pods_die(run: Run) -> AsyncIterator[None]:
    """All pods are deleted, again and again, as when nodes are drained."""

    async def delete() -> None:
        await run.bed.api.call("DELETE", CORE.format(run.site.name) + "/pods")

    async with again_and_again(delete, 1.0):
        yield


@asynccontextmanager
async def _budget(run: Run) -> AsyncIterator[None]:
    """A disruption budget that allows none: a scaling is no disruption."""
    budgets = f"/apis/policy/v1/namespaces/{run.site.name}/poddisruptionbudgets"
    spec = {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "consumers"}}}
    await run.bed.api.call("POST", budgets, {"metadata": {"name": "none"}, "spec": spec})
    yield
    await run.bed.api.call("DELETE", f"{budgets}/none")


_NOTED = Expected(status_writes=12)
_MISSING = Expected(events=frozenset({"TargetNotFound", "ReadyAgain"}), status_writes=12)
_NOT_READY = Expected(events=frozenset({"ReplicasNotReady"}), status_writes=20)
FAULTS = (
    Fault("F1", "made anew", _made_anew, moments=("resting",), expected=_MISSING),
    Fault("F2", "touched by others", _touched, expected=_NOTED),
    Fault("F3", "rolling update", _rolls, expected=_NOT_READY),
    Fault("F3", "paused", _paused, expected=_NOT_READY),
    Fault("F4", "quota", _quota, seconds=(3, 8), expected=_NOT_READY),
    Fault("F4", "pods die", _pods_die, expected=_NOT_READY),
    Fault("F5", "disruption budget", _budget, expected=_NOTED),
)
