"""Generated specs on a real API server and a running operator: what is refused, what gets through, and what is left.

The API server must see each spec as the oracle of the unit tests does, and what it lets through must be work that the
operator can do or says why not. Whatever a resource has been through, in the end it is as a new one with its last spec.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from tests.integration.site import SCALERS, Site, members, own_lease
from tests.integration.support import Bed, Json, Together, eventually, operator_on
from tests.unit.spec_generator import changed, fields, good, shown, spoilers, spoilt, without
from tests.unit.spec_oracle import stored, wrong_fields
from tests.unit.spec_verdicts import SPEC, generated, outcome

from bed.kubeapi import ApiError
from consumer_autoscaler.resource.spec import Resource

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

together = Together(within_seconds=280)
AT_ONCE = 8
JSON_PATCH = "application/json-patch+json"


def scaler(spec: Any, name: str = "tried") -> Json:
    return {
        "apiVersion": "consumerautoscaler.dev/v1alpha1",
        "kind": "ConsumerAutoscaler",
        "metadata": {"name": name},
        "spec": spec,
    }


async def verdict(bed: Bed, spec: Any) -> str:
    """What is wrong with the API server's verdict on a spec, or with the operator's on what it stores; else empty."""
    wrong = {shown(path) for path in wrong_fields(SPEC, stored(SPEC, spec))}
    path = f"{SCALERS}/namespaces/default/consumerautoscalers"
    shortly = json.dumps(spec)[:300]
    try:
        body = await bed.api.call("POST", path, scaler(spec), query={"dryRun": "All"})
    except ApiError as error:
        if error.status not in (400, 422):
            return f"{error}: {shortly}"
        if not wrong:
            return f"refused by the API server only: {error.answer[:400]}: {shortly}"
        said = json.loads(error.answer)["message"]
        return "" if any(field in said for field in wrong) else f"{sorted(wrong)} are not in {said[:400]}"
    if wrong:
        return f"accepted by the API server, not by its schema: {sorted(wrong)}: {shortly}"
    read = outcome(body)
    return "" if isinstance(read, Resource) else f"stored, and refused by the operator: {read}: {shortly}"


async def verdicts(bed: Bed, specs: list[Any]) -> list[str]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(spec: Any) -> str:
        async with slots:
            return await verdict(bed, spec)

    return [words for words in await asyncio.gather(*(one(spec) for spec in specs)) if words]


@together
async def test_the_api_server_refuses_every_spoilt_field_by_its_name(bed: Bed) -> None:
    """Each field of a spec that has nearly all of them, spoilt in each way; what it accepts the operator can read."""
    rng, specs = Random(11), []
    for spec in (good(SPEC, rng, optional=0.9), good(SPEC, rng, optional=0.9)):
        specs += [without(spec, path) for path, _, value in fields(SPEC, spec) if value is not None]
        specs += [changed(spec, path, value) for path, part, _ in fields(SPEC, spec) for value in spoilers(part, rng)]
    assert len(specs) > 1000
    assert await verdicts(bed, specs) == []


@together
async def test_the_api_server_sees_generated_specs_as_the_operator_does(bed: Bed) -> None:
    """Several fields changed at once, and rules across fields: both accept, or both refuse."""
    assert await verdicts(bed, [generated(Random(seed)) for seed in range(400)]) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_the_api_server_sees_many_generated_specs_as_the_operator_does(bed: Bed) -> None:
    """The same for 20,000 more."""
    assert await verdicts(bed, [generated(Random(seed)) for seed in range(1_000, 21_000)]) == []


def accepted(seed: int) -> Any:
    """A spec of this seed that the schema accepts, somewhat odd."""
    rng = Random(f"accepted {seed}")
    spec = good(SPEC, rng, optional=0.6)
    for _ in range(6):
        other, _ = spoilt(SPEC, spec, rng)
        if not wrong_fields(SPEC, stored(SPEC, other)):
            spec = other
    return spec


@together
async def test_what_the_schema_lets_through_never_breaks_the_operator(bed: Bed) -> None:
    """Sixty odd resources are each reported on, none by a defect, and a sound one beside them is scaled meanwhile."""
    site = await Site.open(bed, "generated", replicas=1, spec={"minReplicas": 1})
    flags = own_lease(site)
    async with members(site), operator_on(bed, *flags, name="generated") as operator:
        await site.until_read()
        path = f"{SCALERS}/namespaces/{site.name}/consumerautoscalers"
        names = [f"odd-{seed}" for seed in range(60)]
        for seed, name in enumerate(names):
            spec = accepted(seed)
            spec["targetRef"] = {"name": name}  # not that of the sound one
            await bed.api.call("POST", path, scaler(spec, name))
        await site.produce(2, 2, 2)
        await site.until_replicas(3, within_seconds=60)

        async def reported() -> bool:
            items = (await bed.api.call("GET", path))["items"]
            return all(item.get("status", {}).get("conditions") for item in items)

        await eventually(reported, 120)
        items = (await bed.api.call("GET", path))["items"]
        reasons = {c["reason"] for item in items for c in item["status"]["conditions"]}
        assert "InternalError" not in reasons
        assert "InvalidSpec" not in reasons
        log = operator.process.log_tail(5000)
        assert "Traceback" not in log, log
        assert await asyncio.to_thread(operator.get, "/healthz") == (200, "ok")
        for name in names:
            await site.delete_scaler(name)


# What the walks of specs change, and to what in the end: the counts that come of these are the same for every history.
LAST: Mapping[str, tuple[Any, ...]] = {
    "minReplicas": (0, 1, 2),
    "maxReplicas": (3, 4, 10),
    "mode": ("Active", "Active", "Observe", "Paused"),
    "objective": ({"lagPerReplica": 1}, {"lagPerReplica": 2}, {"lagPerReplica": 5}),
    "alerts": ([], [{"name": "far", "lagMessages": 3}], [{"name": "near", "lagMessages": 100_000}]),
    "capacity": (None, {"expectedRecordsPerMinute": 60}),
    "scaling": (
        {"pollIntervalSeconds": 1, "idleSeconds": 1, "scaleDown": {"cooldownSeconds": 0}},
        {"pollIntervalSeconds": 1, "replicaSteps": "Any", "scaleDown": {"cooldownSeconds": 0}},
        {"pollIntervalSeconds": 1, "scaleUp": {"maxStep": 1}, "scaleDown": {"cooldownSeconds": 1}},
    ),
}


def last_spec(base: Mapping[str, Any], rng: Random) -> Json:
    drawn = {name: rng.choice(values) for name, values in LAST.items()}
    return {**base, **{name: value for name, value in drawn.items() if value is not None}}


def walk(base: Json, rng: Random, steps: int) -> list[Json]:
    """Specs one after the other: fields given other values, good and bad, taken away, and earlier specs put back."""
    seen = [base]
    for _ in range(steps):
        dice = rng.random()
        if dice < 0.2:
            seen.append(rng.choice(seen))
        elif dice < 0.5:
            seen.append(last_spec(base, rng))
        else:
            other, path = spoilt(SPEC, seen[-1], rng)
            seen.append(other if path[0] != "sources" or rng.random() < 0.5 else seen[-1])
    return seen[1:]


async def put_spec(site: Site, spec: Json) -> bool:
    """Puts the whole spec in place of the one there. False: the API server has refused it."""
    path = f"{SCALERS}/namespaces/{site.name}/consumerautoscalers/scaler"
    patch = [{"op": "replace", "path": "/spec", "value": spec}]
    try:
        await site.bed.api.call("PATCH", path, patch, content_type=JSON_PATCH)
    except ApiError as error:
        if error.status not in (400, 422):
            raise
        return False
    return True


async def state(site: Site) -> Json:
    """What a resource and its target are like, without what may differ: times, words with numbers, what was learned.

    How long a start or a rebalance takes is learned by scaling, so it belongs to the history; so do the steps that
    led to the last decision, and whether the group keeps up, which is a comparison with what was before.
    """
    body = await site.get_scaler()
    status = body.get("status") or {}
    conditions = {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions") or ()}
    conditions.pop("Backpressured", None)
    return {
        "observed": status.get("observedGeneration") == body["metadata"]["generation"],
        "conditions": conditions,
        "current": status.get("replicas", {}).get("current"),
        "desired": status.get("replicas", {}).get("desired"),
        "lag": status.get("lag", {}).get("messages"),
        "partitions": status.get("lag", {}).get("partitions"),
        "decision": status.get("decision", {}).get("reason"),
        "alerts": sorted(alert["name"] for alert in status.get("alerts") or ()),
        "asked": site.counts[-1:],
    }


async def at_rest(site: Site) -> int:
    """Waits until nothing has changed for some polls; the count that the target then has."""

    async def rests() -> bool:
        before = await state(site)
        await asyncio.sleep(4)
        return bool(before["observed"] and before == await state(site))

    await eventually(rests, 60, lambda: f"{site.name} does not come to rest: {site.counts}")
    return site.counts[-1]


async def become_alike(one: Site, other: Site, seed: int) -> None:
    """Until both are in the same state, for some polls."""
    seen: list[Json] = []

    async def alike() -> bool:
        for _ in range(4):
            seen[:] = await asyncio.gather(state(one), state(other))
            if seen[0] != seen[1] or not seen[0]["observed"]:
                return False
            await asyncio.sleep(0.7)
        return True

    def difference() -> str:
        return f"seed {seed}: {[(key, seen[0][key], seen[1][key]) for key in seen[0] if seen[0][key] != seen[1][key]]}"

    await eventually(alike, 100, difference)


async def walked(bed: Bed, seed: int, steps: int) -> None:
    """A walk, its end beside a new resource with the last spec, and back to the first spec beside another new one.

    The new one gets a target with the count that the walk has led to: several counts are at rest under one load (what
    helps nobody is not changed), and which of them the target has is a matter of the target.
    """
    rng = Random(f"walk {seed}")
    opened: dict[str, Any] = {"partitions": 4, "committed": True}
    site = await Site.open(bed, f"walk-{seed}", **opened, replicas=1, spec={"minReplicas": 1})
    first = (await site.get_scaler())["spec"]
    await site.produce(2, 0, 1, 1)
    refused = 0
    async with members(site, least=1), operator_on(bed, *own_lease(site), name=site.name):
        await site.until_read()
        for spec in walk(first, rng, steps):
            refused += not await put_spec(site, spec)
            await asyncio.sleep(rng.choice((0.0, 0.2, 1.2, 2.5)))
        last = last_spec(first, rng)
        for end in (last, first):
            assert await put_spec(site, end)
            count = await at_rest(site)
            fresh = await Site.open(bed, f"fresh-{seed}", **opened, replicas=count, resource=False)
            await fresh.produce(2, 0, 1, 1)
            async with members(fresh, least=1), operator_on(bed, *own_lease(fresh), name=fresh.name):
                source = {**end["sources"][0]["kafka"], "consumerGroup": fresh.name, "topics": list(fresh.topics)}
                await fresh.create_scaler(spec={**end, "sources": [{"name": "main", "kafka": source}]})
                await become_alike(site, fresh, seed)
    assert refused < steps


async def test_a_resource_that_was_edited_at_random_is_as_a_new_one(bed: Bed) -> None:
    """After a walk of edits it is as a new one with its last spec, and put back as one with its first."""
    await walked(bed, 0, 10)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(100, 120))
async def test_a_resource_that_was_edited_for_long_is_as_a_new_one(bed: Bed, seed: int) -> None:
    """Longer walks, and more of them."""
    await walked(bed, seed, 40)
