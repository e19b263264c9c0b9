"""G: Secrets that go, many that come and go, metadata that never rests, sources that fail for long, a reinstall."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.campaign.faults.common import again_and_again
from tests.campaign.faults.d_sources import GOOD, asked_of
from tests.campaign.faults.e_resource import SCALERS
from tests.campaign.judge import Expected
from tests.campaign.run import Fault, Run

from bed.kubeapi import MERGE_PATCH

CROWD = 15


@asynccontextmanager
async def _secret_deleted(run: Run) -> AsyncIterator[None]:
    """The login of a source is gone while it is used."""
    secrets = f"/api/v1/namespaces/{run.site.name}/secrets"
    login = {"metadata": {"name": "login"}, "stringData": {"username": "me", "password": "x"}}
    await run.bed.api.call("POST", secrets, login)
    async with asked_of(run, lambda: GOOD):
        source = (await run.site.get_scaler())["spec"]["processingTime"]["sources"][0]
        source["prometheus"]["basicAuthSecretRef"] = {"name": "login"}
        await run.site.patch_scaler({"processingTime": {"sources": [source]}})
        await run.bed.api.call("DELETE", f"{secrets}/login")
        yield


@asynccontextmanager
async def _churn(run: Run) -> AsyncIterator[None]:
    """Resources are created by the dozen, and deleted before they have been read."""
    numbers = iter(range(1_000_000))

    async def come_and_go() -> None:
        names = [f"crowd-{next(numbers)}" for _ in range(CROWD)]
        for name in names:
            await run.site.create_scaler(name=name, spec={"targetRef": {"name": name}, "mode": "Observe"})
        for name in names:
            await run.site.delete_scaler(name)

    async with again_and_again(come_and_go, 0.5):
        yield


@asynccontextmanager
async def _metadata_never_rests(run: Run) -> AsyncIterator[None]:
    """Somebody writes annotations of his own on the resource, several times a second: none of it is ours to answer."""
    path, numbers = f"{SCALERS.format(run.site.name)}/scaler", iter(range(1_000_000))

    async def touch() -> None:
        mark = {"metadata": {"annotations": {"example.com/seen": str(next(numbers))}}}
        await run.bed.api.call("PATCH", path, mark, content_type=MERGE_PATCH)

    async with again_and_again(touch, 0.2):
        yield


@asynccontextmanager
async def _fails_for_long(run: Run) -> AsyncIterator[None]:
    """The broker closes every connection, for many polls: nothing piles up (open files are counted at the end)."""

    async def cut() -> None:
        run.kafka.cut()

    async with again_and_again(cut, 0.02):
        yield
    assert run.kafka.accepted < 300, f"{run.kafka.accepted} connections: a loop without a pause"


@asynccontextmanager
async def _reinstalled(run: Run) -> AsyncIterator[None]:
    """The operator is ended in good order, its resources stay, and it comes back."""
    run.kept.operator.process.send(signal.SIGTERM)
    yield


FAULTS = (
    Fault("G1", "Secret deleted", _secret_deleted,
          expected=Expected(events=frozenset({"SourceFailed", "SourceRecovered"}), status_writes=16)),
    Fault("G2", "churn", _churn, expected=Expected(events=frozenset({"TargetNotFound"}), status_writes=300)),
    Fault("G3", "metadata never rests", _metadata_never_rests, seconds=(4, 8)),
    Fault("G4", "fails for long", _fails_for_long, seconds=(15, 25), flags=("--request-timeout-seconds", "2"),
          expected=Expected(events=frozenset({"SourceFailed", "SourceRecovered"}), status_writes=16)),
    Fault("G5", "reinstalled", _reinstalled,
          expected=Expected(restarts=(1, 1), events_may_be_lost=True, status_writes=4)),
)  # fmt: skip
