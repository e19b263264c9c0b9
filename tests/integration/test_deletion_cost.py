"""`scaling.deletionCost: LeastWork`: the pods with the least work go first, by the real ReplicaSet controller.

The pods run nothing; their consumers live here and carry the names of their pods as client ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer
from tests.integration.site import Site
from tests.integration.support import Bed, Json, eventually

from bed.audit import Request
from bed.operator import USER
from bed.paths import REPOSITORY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180), pytest.mark.usefixtures("operator")]

COST = "controller.kubernetes.io/pod-deletion-cost"
LEAST_WORK = {"deletionCost": "LeastWork"}
LAGS = (9, 3, 7, 1, 5, 2)  # by partition; each member has one


@asynccontextmanager
async def consumers(site: Site) -> AsyncIterator[dict[str, int]]:
    """A member for each pod; gives the lag of each pod's partition. They commit nothing."""
    async with AsyncExitStack() as stack:
        crew = []
        for name in await pods_of(site):
            consumer = AIOKafkaConsumer(
                *site.topics,
                bootstrap_servers=site.kafka.bootstrap,
                group_id=site.name,
                client_id=name,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                heartbeat_interval_ms=300,
            )
            await consumer.start()
            stack.push_async_callback(consumer.stop)
            crew.append((name, consumer))
        await eventually(lambda: all(len(consumer.assignment()) == 1 for _, consumer in crew))
        yield {name: LAGS[next(iter(consumer.assignment())).partition] for name, consumer in crew}


async def pods_of(site: Site) -> dict[str, Json]:
    """The living pods by name."""
    items = (await site.bed.api.call("GET", f"/api/v1/namespaces/{site.name}/pods"))["items"]
    return {pod["metadata"]["name"]: pod for pod in items if "deletionTimestamp" not in pod["metadata"]}


def costs(pods: dict[str, Json]) -> dict[str, str]:
    return {name: a[COST] for name, pod in pods.items() if COST in (a := pod["metadata"].get("annotations") or {})}


def pod_patches(site: Site) -> list[Request]:
    found = site.bed.controlplane.audit(site.began_at, user=USER)
    return [r for r in found if (r.verb, r.resource, r.namespace) == ("patch", "pods", site.name)]


async def notes(site: Site, reason: str) -> list[str]:
    answer = await site.bed.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{site.name}/events")
    return [event["note"] for event in answer["items"] if event["reason"] == reason]


@asynccontextmanager
async def at_rest(bed: Bed, label: str, scaling: Json) -> AsyncIterator[tuple[Site, dict[str, int]]]:
    """Six pods with a partition each; the resource wants six and is told later to want fewer."""
    site = await Site.open(bed, label, partitions=6, replicas=6, resource=False)
    await site.produce(*LAGS)
    async with consumers(site) as work:
        await site.create_scaler(scaling=scaling, spec={"objective": {"lagPerReplica": 5}, "minReplicas": 1})
        await site.until_read()
        yield site, work


async def down_to(site: Site, count: int) -> dict[str, Json]:
    """Lowers the maximum, which counts at once, and returns the pods that stay."""
    await site.patch_scaler({"maxReplicas": count})
    await site.until_replicas(count)

    async def gone() -> dict[str, Json] | None:
        pods = await pods_of(site)
        return pods if len(pods) == count else None

    left = await eventually(gone)
    assert left is not None
    return left


@pytest.fixture
async def granted(bed: Bed) -> AsyncIterator[None]:
    """The right that is not in deploy/, as a user gives it."""
    folder = str(REPOSITORY / "deploy" / "deletion-cost")
    await bed.aside(bed.controlplane.kubectl, "apply", "-k", folder)
    yield
    await bed.aside(bed.controlplane.kubectl, "delete", "-k", folder)


@pytest.mark.usefixtures("granted")
async def test_the_pods_with_the_least_work_go_first(bed: Bed) -> None:
    """Two downs; each writes the pods that go, and no other."""
    async with at_rest(bed, "least", LEAST_WORK) as (site, work):
        before = await pods_of(site)
        left = await down_to(site, 3)
        assert sorted(work[name] for name in left) == [5, 7, 9]
        assert sorted(request.name for request in pod_patches(site)) == sorted(before.keys() - left.keys())
        assert costs(left) == {}
        assert await notes(site, "DeletionCostFailed") == []


@pytest.mark.usefixtures("granted")
async def test_a_mark_that_was_not_needed_is_taken_back(bed: Bed) -> None:
    """Of an earlier down that somebody else has undone; a cost that is not ours stays."""
    async with at_rest(bed, "stale", LEAST_WORK) as (site, work):
        by_lag = {lag: name for name, lag in work.items()}
        for lag, cost in ((9, "-1000"), (7, "12")):
            body = {"metadata": {"annotations": {COST: cost}}}
            path = f"/api/v1/namespaces/{site.name}/pods/{by_lag[lag]}"
            await bed.api.call("PATCH", path, body, content_type="application/merge-patch+json")
        left = await down_to(site, 4)
        assert sorted(work[name] for name in left) == [3, 5, 7, 9]
        assert costs(left) == {by_lag[7]: "12"}
        assert len(pod_patches(site)) == 3


@pytest.mark.usefixtures("granted")
async def test_unless_asked_for_no_pod_is_written(bed: Bed) -> None:
    async with at_rest(bed, "unasked", {}) as (site, _):
        await down_to(site, 3)
        assert pod_patches(site) == []


async def test_without_the_right_it_scales_all_the_same_and_says_so(bed: Bed) -> None:
    """With the command that gives it; what was refused is not tried pod by pod."""
    async with at_rest(bed, "refused", LEAST_WORK) as (site, _):
        await down_to(site, 3)
        told = await eventually(lambda: notes(site, "DeletionCostFailed"))
        assert "kubectl apply -k deploy/deletion-cost" in told[0]
        assert await notes(site, "ScaleFailed") == []
        await asyncio.sleep(1.1)
        assert len(site.scale_writes(user=USER)) == 1


@pytest.mark.usefixtures("granted")
async def test_nobody_is_marked_while_it_is_not_known_who_works_where(bed: Bed) -> None:
    """Members whose addresses and names are not those of pods."""
    site = await Site.open(bed, "nameless", partitions=2, replicas=2, resource=False)
    await site.produce(4, 4)
    consumer = AIOKafkaConsumer(*site.topics, bootstrap_servers=site.kafka.bootstrap, group_id=site.name)
    await consumer.start()
    try:
        scaler = {"objective": {"lagPerReplica": 4}, "minReplicas": 1}
        await site.create_scaler(scaling=LEAST_WORK, spec=scaler)
        await site.until_read()
        await down_to(site, 1)
        assert pod_patches(site) == []
        told = await eventually(lambda: notes(site, "DeletionCostFailed"))
        assert "cannot be told apart" in told[0]
    finally:
        await consumer.stop()
