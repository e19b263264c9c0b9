"""A5 to A8: what the operator sees of the cluster is old, comes late or twice, is refused, or is not served yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode

import yaml
from tests.campaign.apiproxy import Answer, Asked, Forward, refusal
from tests.campaign.faults.a_api import FAILED, ordinary
from tests.campaign.faults.common import again_and_again, retold, ruled
from tests.campaign.judge import Expected
from tests.campaign.run import Fault, Inject, Run
from tests.campaign.stories import START

from bed.operator import NAMESPACE, SERVICE_ACCOUNT

SILENCE_SECONDS = 75.0
"""After which a watch that says nothing must have been given up: the API server sends a bookmark every minute."""


@asynccontextmanager
async def _cut(run: Run) -> AsyncIterator[None]:
    """All connections are reset, again and again."""

    async def cut() -> None:
        run.proxy.cut()

    async with again_and_again(cut, run.chance.uniform(1.0, 2.0)):
        yield


@asynccontextmanager
async def _expired(run: Run) -> AsyncIterator[None]:
    """Whoever continues a watch continues from a version of long ago: the real server answers 410."""

    def older(asked: Asked) -> Asked:
        if asked.verb != "watch":
            return asked
        query = {**dict(parse_qsl(asked.query)), "resourceVersion": "1"}
        return replace(asked, query=urlencode(query))

    run.proxy.rewrite = older
    run.proxy.cut()
    yield
    run.proxy.rewrite = None


@asynccontextmanager
async def _half_open(run: Run) -> AsyncIterator[None]:
    """The watches of this moment are dead and nobody says so; new ones work."""
    dead = run.proxy.requests.copy()

    async def swallow(asked: Asked, line: bytes) -> AsyncIterator[bytes]:
        if asked.number > dead[asked.what]:
            yield line

    with retold(run, swallow):
        yield


@asynccontextmanager
async def _late_events(run: Run) -> AsyncIterator[None]:
    """News of the watches come late, as from an API server that lags behind the others."""

    async def late(_: Asked, line: bytes) -> AsyncIterator[bytes]:
        await asyncio.sleep(run.chance.uniform(1, 3))
        yield line

    with retold(run, late):
        yield


@asynccontextmanager
async def _twice_and_old(run: Run) -> AsyncIterator[None]:
    """Each event comes twice, and after the one before has been told once more."""
    before: dict[str, bytes] = {}

    async def repeated(asked: Asked, line: bytes) -> AsyncIterator[bytes]:
        for each in (before.get(asked.what), line, line):
            if each is not None:
                yield each
        before[asked.what] = line

    with retold(run, repeated):
        yield


@asynccontextmanager
async def _missed_then_listed(run: Run) -> AsyncIterator[None]:
    """Events are missed, and the history that has them is gone: only a new list tells."""

    async def missed(_: Asked, line: bytes) -> AsyncIterator[bytes]:
        if False:
            yield line

    with retold(run, missed):
        yield
    async with _expired(run):
        await asyncio.sleep(3)


@asynccontextmanager
async def _old_reads(run: Run) -> AsyncIterator[None]:
    """What was read once is read again, however old it is: each answer to a GET is the first that was given."""
    first: dict[str, Answer] = {}

    async def old(asked: Asked, forward: Forward) -> Answer:
        if asked.path not in first:
            first[asked.path] = await forward(asked)
        return first[asked.path]

    with ruled(run, lambda asked: asked.verb == "get" and ordinary(asked), old):
        yield


@asynccontextmanager
async def _token_rotated(run: Run) -> AsyncIterator[None]:
    """The token is refused by the real server from now on; the kubeconfig gets a new one a moment later."""
    path = run.kept.kubeconfig
    configuration = yaml.safe_load(path.read_text())
    user = configuration["users"][0]["user"]
    old = f"Bearer {user['token']}"

    def spoilt(asked: Asked) -> Asked:
        refused = asked.headers.get("Authorization") == old
        return replace(asked, headers={**asked.headers, "Authorization": f"{old}x"}) if refused else asked

    kubectl = run.bed.controlplane.kubectl
    token = await asyncio.to_thread(
        kubectl, "create", "token", SERVICE_ACCOUNT, f"--namespace={NAMESPACE}", "--duration=23h"
    )
    run.proxy.rewrite = spoilt
    await asyncio.sleep(run.chance.uniform(0, 2))
    user["token"] = token.strip()
    path.write_text(yaml.safe_dump(configuration))
    yield
    run.proxy.rewrite = None


def _forbidden(what: str) -> Inject:
    @asynccontextmanager
    async def forbidden(run: Run) -> AsyncIterator[None]:
        """A right is missing: these requests arrive as somebody's who has none, so the real server answers 403."""

        def nobody(asked: Asked) -> Asked:
            if asked.what != what:
                return asked
            return replace(asked, headers={**asked.headers, "Authorization": f"Bearer {run.world.nobody}"})

        run.proxy.rewrite = nobody
        yield
        run.proxy.rewrite = None

    return forbidden


@asynccontextmanager
async def _no_crd(run: Run) -> AsyncIterator[None]:
    """The resource type is not served yet when the operator starts."""

    async def missing(_: Asked, __: Forward) -> Answer:
        return refusal(404, "NotFound")

    with ruled(run, lambda asked: "consumerautoscaler.dev" in asked.path, missing):
        yield


@asynccontextmanager
async def _no_discovery(run: Run) -> AsyncIterator[None]:
    """The API server cannot say what it serves, as one whose aggregated servers are down."""

    async def missing(_: Asked, __: Forward) -> Answer:
        return refusal(503, "ServiceUnavailable")

    with ruled(run, lambda asked: asked.path.count("/") <= 3 and asked.path.startswith("/api"), missing):
        yield


FAULTS = (
    Fault("A5", "connections reset", _cut, seconds=(2, 6), expected=Expected(events=FAILED)),
    Fault("A5", "410", _expired, seconds=(2, 6)),
    Fault(
        "A5",
        "half-open watches",
        _half_open,
        seconds=(SILENCE_SECONDS, SILENCE_SECONDS + 10),
        stories=("bounds", "pause", "up"),
        expected=Expected(events=frozenset({"Backpressured", "CaughtUp"})),  # load that nobody sees to for so long
    ),
    Fault("A6", "token rotated", _token_rotated, seconds=(8, 10), expected=Expected(events=FAILED)),
    Fault(
        "A6",
        "403 on scale",
        _forbidden("patch deployments/scale"),
        seconds=(4, 8),
        expected=Expected(events=FAILED, status_writes=2),
    ),
    Fault("A6", "403 on status", _forbidden("patch consumerautoscalers/status"), seconds=(4, 8)),
    Fault("A6", "403 on a watch", _forbidden("watch deployments"), seconds=(4, 8)),
    Fault("A7", "events come late", _late_events, seconds=(5, 10)),
    Fault("A7", "events twice and out of order", _twice_and_old, seconds=(5, 10)),
    Fault("A7", "events missed", _missed_then_listed, seconds=(3, 6)),
    Fault("A7", "old reads", _old_reads, seconds=(5, 10), expected=Expected(events=FAILED)),
    Fault("A8", "CRD missing at the start", _no_crd, seconds=(5, 10), moments=(START,)),
    Fault("A8", "no discovery at the start", _no_discovery, seconds=(5, 10), moments=(START,)),
)
