"""Pods that do not come up, and a node that is drained: the count that is asked for stays right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from tests.e2e.sites import delete, idle_pod, open_site
from tests.integration.site import Site, members
from tests.integration.support import Bed, Json, eventually

from kind.cluster import WORKERS, Cluster
from kind.release import Release

pytestmark = pytest.mark.usefixtures("release")

START_SECONDS = 120.0


async def held_back(site: Site) -> None:
    """One replica is asked for and does not come: more lag adds nothing on top."""
    await site.until_read()
    await site.produce(1)
    await site.until_replicas(1)
    await site.produce(0, 1, 1)
    await site.holds(1)


async def mended(bed: Bed, cluster: Cluster, site: Site, mend: Callable[[], object]) -> None:
    """Once the reason is gone, all that was waiting is done in one step."""
    async with members(site):
        await asyncio.to_thread(mend)
        await site.until_replicas(3, within_seconds=START_SECONDS)
        await eventually(lambda: bed.witness.ready[site.name] == 3, START_SECONDS)
        await site.until_condition("AbleToScale", "True", "ReadyForNewScale")
    assert site.counts == [0, 1, 3]
    await asyncio.to_thread(delete, cluster, site)


def patch_pods(cluster: Cluster, site: Site, spec: Json) -> None:
    """Another pod template for the target."""
    patch = json.dumps({"spec": {"template": {"spec": spec}}})
    cluster.kubectl("patch", "deployment", "consumers", "-n", site.name, "--type=merge", "-p", patch)


async def test_an_image_that_cannot_be_pulled(bed: Bed, cluster: Cluster) -> None:
    pod = idle_pod()
    pod["containers"][0]["image"] = "localhost:1/none:none"
    site = await open_site(bed, "pull", pod=pod)
    await held_back(site)
    await mended(bed, cluster, site, lambda: patch_pods(cluster, site, idle_pod()))


async def test_pods_that_find_no_node(bed: Bed, cluster: Cluster) -> None:
    site = await open_site(bed, "pending", pod={**idle_pod(), "nodeSelector": {"is-there": "none"}})
    await held_back(site)
    await mended(bed, cluster, site, lambda: patch_pods(cluster, site, {"nodeSelector": None}))


async def test_a_quota_that_leaves_no_room(bed: Bed, cluster: Cluster) -> None:
    site = await open_site(bed, "quota")
    await asyncio.to_thread(cluster.kubectl, "create", "quota", "pods", "-n", site.name, "--hard=pods=0")
    await held_back(site)
    room = json.dumps({"spec": {"hard": {"pods": "10"}}})
    patch = ("patch", "quota", "pods", "-n", site.name, "--type=merge", "-p", room)
    await mended(bed, cluster, site, lambda: cluster.kubectl(*patch))


async def test_a_drained_node_changes_no_count(bed: Bed, cluster: Cluster, release: Release) -> None:
    """Consumers and the leader move to the other node: no count changes for it, and the next change is made."""
    site = await open_site(bed, "drain")
    await site.until_read()
    await site.produce(1, 1)
    await site.until_replicas(2)
    await eventually(lambda: bed.witness.ready[site.name] == 2, START_SECONDS)
    node = release.node_of(await asyncio.to_thread(release.leader))
    assert node in WORKERS
    drain = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=180s")
    try:
        await asyncio.to_thread(lambda: cluster.kubectl(*drain, timeout_seconds=200))
        await eventually(lambda: bed.witness.ready[site.name] == 2, START_SECONDS)

        def elsewhere() -> bool:
            leader = release.leader()
            return leader in {pod["metadata"]["name"] for pod in release.pods()} and release.node_of(leader) != node

        await eventually(lambda: asyncio.to_thread(elsewhere), 60)
        async with members(site):
            await site.holds(2)
            await site.produce(0, 0, 1)
            await site.until_replicas(3, within_seconds=60)
        assert site.counts == [0, 2, 3]
    finally:
        await asyncio.to_thread(cluster.kubectl, "uncordon", node)
    await asyncio.to_thread(delete, cluster, site)
