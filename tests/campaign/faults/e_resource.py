"""E: the resource is edited, broken, deleted, made again, or not alone."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from tests.campaign.judge import Expected
from tests.campaign.run import Fault, Run
from tests.unit.spec_generator import spoilt
from tests.unit.spec_verdicts import SPEC

from bed.kubeapi import MERGE_PATCH, ApiError
from consumer_autoscaler.resource.pauses import PAUSED, PAUSED_REPLICAS

SCALERS = "/apis/consumerautoscaler.dev/v1alpha1/namespaces/{}/consumerautoscalers"
HPAS = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"


@asynccontextmanager
async def _refused_edits(run: Run) -> AsyncIterator[None]:
    """Edits that the API server refuses change nothing, however many they are."""
    spec = (await run.site.get_scaler())["spec"]
    refused = 0
    for _ in range(40):
        other, _ = spoilt(SPEC, spec, run.chance)
        dry = {**run.site.scaler(), "metadata": {"name": "tried"}, "spec": other}
        try:
            await run.bed.api.call("POST", SCALERS.format(run.site.name) + "?dryRun=All", dry)
        except ApiError as error:
            refused += 400 <= error.status < 500
            with suppress(ApiError):
                await run.site.patch_scaler({"objective": {"lagPerReplica": -1}})
    run.outcome.happened = refused > 0
    yield


@asynccontextmanager
async def _annotated(run: Run) -> AsyncIterator[None]:
    """An annotation of ours says nothing that can be understood; then it is removed."""
    name = run.chance.choice((PAUSED, PAUSED_REPLICAS))
    value = run.chance.choice(("yes", "", "-1", "9" * 5000, "\x01"))
    await _annotate(run, {name: value})
    yield
    await _annotate(run, {name: None})


async def _annotate(run: Run, annotations: Mapping[str, str | None]) -> None:
    path = f"{SCALERS.format(run.site.name)}/scaler"
    await run.bed.api.call("PATCH", path, {"metadata": {"annotations": annotations}}, content_type=MERGE_PATCH)


@asynccontextmanager
async def _broken_neighbours(run: Run) -> AsyncIterator[None]:
    """One broken resource of each kind in the same operator, which come and go."""
    whole = run.site.scaler()["spec"]
    source = whole["sources"][0]["kafka"]
    broken: dict[str, dict[str, Any]] = {
        "no-target": {},
        "nobody-there": _kafka(source, bootstrapServers="127.0.0.1:1"),
        "no-name": _kafka(source, bootstrapServers="no-such-broker.invalid:9092"),
        "no-topic": _kafka(source, topics=["no-such-topic"]),
        "no-secret": _kafka(source, sasl={"mechanism": "SCRAM-SHA-256", "credentialsSecretRef": {"name": "none"}}),
        "no-metrics": {"processingTime": {"sources": [{"prometheus": {"address": "http://127.0.0.1:1"}}]}},
        "no-url": {"processingTime": {"sources": [{"prometheus": {"address": "https://[[:x"}}]}},
    }
    for name, spec in broken.items():
        await run.site.create_scaler(name=name, spec={**spec, "targetRef": {"name": name}})
    yield
    for name in broken:
        await run.site.delete_scaler(name)


def _kafka(source: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {"sources": [{"name": "main", "kafka": {**source, **changes}}]}


def _edited_and_back(*edits: Mapping[str, Any]) -> Callable[[Run], AbstractAsyncContextManager[None]]:
    """One of the edits is made and taken back, some times in quick succession."""

    @asynccontextmanager
    async def edited(run: Run) -> AsyncIterator[None]:
        edit = copy.deepcopy(dict(run.chance.choice(edits)))
        for _ in range(run.chance.randint(1, 4)):
            kept = (await run.site.get_scaler())["spec"]
            if "sources" in edit:
                edit["sources"] = _kafka(kept["sources"][0]["kafka"], **edit["sources"])["sources"]
            await run.site.patch_scaler(edit)
            await asyncio.sleep(run.chance.uniform(0.0, 1.5))
            await run.site.patch_scaler({name: kept.get(name) for name in edit})
            edit = copy.deepcopy(dict(run.chance.choice(edits)))
        yield

    edited.__doc__ = "Edited and taken back, some times in quick succession, also in mid-poll."
    return edited


@asynccontextmanager
async def _made_anew(run: Run) -> AsyncIterator[None]:
    """Deleted, and created again with the same name: another uid, and nothing inherited but the target's own story."""
    spec = (await run.site.get_scaler())["spec"]
    await run.site.delete_scaler()
    await asyncio.sleep(run.chance.uniform(0.0, 3.0))
    await run.site.create_scaler(spec=spec)
    yield


@asynccontextmanager
async def _made_anew_unseen(run: Run) -> AsyncIterator[None]:
    """The same while the operator is down."""
    run.kept.kill()
    async with _made_anew(run):
        yield


@asynccontextmanager
async def _second_resource(run: Run) -> AsyncIterator[None]:
    """A younger resource for the same target: it holds, and says why."""
    await asyncio.sleep(1.1)  # creation times have whole seconds
    await run.site.create_scaler(name="second", spec={"objective": {"lagPerReplica": 7}})
    yield
    await run.site.delete_scaler("second")


@asynccontextmanager
async def _hpa(run: Run) -> AsyncIterator[None]:
    """An HPA for the same target: ours holds until it is gone."""
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "rival"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "consumers"},
            "minReplicas": 1,
            "maxReplicas": 10,
        },
    }
    await run.bed.api.call("POST", HPAS.format(run.site.name), body)
    yield
    await run.bed.api.call("DELETE", f"{HPAS.format(run.site.name)}/rival")


_NOTED = Expected(status_writes=6)
_TURNS = frozenset({"TargetNotFound", "ReadyAgain", "SourceFailed", "SourceRecovered"})
_PAUSES = frozenset({"Paused", "Resumed"})
FAULTS = (
    Fault("E1", "edits refused", _refused_edits, expected=_NOTED),
    Fault("E1", "annotation without a meaning", _annotated,
          expected=Expected(events=frozenset({"SpecInvalid", "ReadyAgain", *_PAUSES, *_TURNS}), status_writes=8)),
    Fault("E1", "broken neighbours", _broken_neighbours,
          expected=Expected(events=_TURNS | {"ReplicasNotReady"}, status_writes=60)),
    Fault("E2", "edited and back", _edited_and_back(
              {"alerts": [{"name": "far", "lagMessages": 1_000_000}]},
              {"capacity": {"expectedRecordsPerMinute": 60}},
              {"maxReplicas": 9},
          ), expected=Expected(status_writes=16)),
    Fault("E2", "target changed and back", _edited_and_back({"targetRef": {"name": "other"}}),
          expected=Expected(events=_TURNS, status_writes=20)),
    Fault("E2", "group changed and back", _edited_and_back({"sources": {"consumerGroup": "other"}}),
          moments=("resting",), expected=Expected(events=_TURNS, status_writes=20)),
    Fault("E3", "made anew", _made_anew, expected=Expected(events=_TURNS, status_writes=8)),
    Fault("E3", "made anew unseen", _made_anew_unseen,
          expected=Expected(restarts=(1, 1), events=_TURNS, events_may_be_lost=True, status_writes=8)),
    Fault("E4", "second resource", _second_resource, seconds=(4, 8),
          # The second one sees the first one's scalings, and tells of them as of anybody else's.
          expected=Expected(events=_TURNS | {"ConflictingAutoscaler", "PartitionLimitReached", "ExternalScaleDetected"},
                            status_writes=20)),
    Fault("E4", "HPA", _hpa, seconds=(4, 8),
          expected=Expected(events=frozenset({"ConflictingAutoscaler", "ReadyAgain"}), status_writes=6)),
)  # fmt: skip
