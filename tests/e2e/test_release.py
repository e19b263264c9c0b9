"""A release's life with resources present: upgraded and rolled back under load, taken away, two side by side."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from tests.e2e.sites import delete, open_site
from tests.integration.site import Site, members
from tests.integration.support import Bed, eventually

from kind.cluster import Cluster, ClusterFailed
from kind.release import Release

SETTLED_SECONDS = 60.0


async def growing(site: Site, over: asyncio.Event) -> int:
    """More and more lag, a record on the next partition every two seconds, until told; how many records."""
    produced = 0
    while not over.is_set():
        await site.produce(*(int(p == produced % 6) for p in range(6)))
        produced += 1
        await asyncio.sleep(2)
    return produced


async def test_an_upgrade_and_a_rollback_under_load_lose_and_repeat_nothing(
    bed: Bed, cluster: Cluster, release: Release
) -> None:
    """While pods are replaced the lag grows on: only ups, each written once, up to what is due in the end."""
    site = await open_site(bed, "upgrade", partitions=6, scaling={"replicaSteps": "Any"})
    await site.until_read()
    over = asyncio.Event()
    async with members(site):
        load = asyncio.create_task(growing(site, over))
        try:
            before = {pod["metadata"]["uid"] for pod in await asyncio.to_thread(release.pods)}
            await asyncio.to_thread(release.install, {"image": {"tag": "next"}})
            after = {pod["metadata"]["uid"] for pod in await asyncio.to_thread(release.pods)}
            assert not before & after
            await asyncio.to_thread(release.rollback)
            images = {pod["spec"]["containers"][0]["image"] for pod in await asyncio.to_thread(release.pods)}
            assert {image.rpartition(":")[2] for image in images} == {"0.1.0"}
        finally:
            over.set()
            produced = await load
        await site.until_replicas(min(6, produced), within_seconds=SETTLED_SECONDS)
    assert all(a < b for a, b in pairwise(site.counts)), site.counts
    writes = await asyncio.to_thread(site.scale_writes, user=release.user)
    assert len(writes) == len(site.counts) - 1, (site.counts, writes)
    await asyncio.to_thread(delete, cluster, site)


def test_helms_own_test_passes(cluster: Cluster, release: Release) -> None:
    """`helm test`: a pod waits until the operator has reported a resource that only observes."""
    said = cluster.helm("test", release.name, "-n", release.namespace, "--timeout", "120s")
    assert "Phase:          Succeeded" in said


async def test_uninstalled_it_leaves_workloads_and_resources_as_they_are(
    bed: Bed, cluster: Cluster, release: Release
) -> None:
    """Replicas stay, so do the resources and their CRD; installed again, it goes on."""
    site = await open_site(bed, "uninstall")
    await site.until_read()
    await site.produce(1, 1)
    await site.until_replicas(2)
    await asyncio.to_thread(release.uninstall)
    try:
        assert not await asyncio.to_thread(release.pods)
        left = await asyncio.to_thread(
            cluster.kubectl, "get", "all,roles,rolebindings", "-n", release.namespace, "-o", "name"
        )
        assert "consumer-autoscaler" not in left
        await site.produce(0, 0, 1)
        await site.holds(2)
        assert (await site.status())["replicas"]["current"] == 2
    finally:
        await asyncio.to_thread(release.install)
    async with members(site):
        await site.until_replicas(3, within_seconds=SETTLED_SECONDS)
    assert site.counts == [0, 2, 3]
    await asyncio.to_thread(delete, cluster, site)


async def test_two_releases_share_the_resources_by_label_and_by_namespace(
    bed: Bed, cluster: Cluster, release: Release
) -> None:
    """Each scales its own and not the other's, by the audit log; with namespaces it has rights in those only."""
    other = Release(cluster, name="other")
    ours, theirs = [await open_site(bed, label) for label in ("ours", "theirs")]
    try:
        for way in ("label", "namespace"):
            for each, site, shard in ((release, ours, "a"), (other, theirs, "b")):
                part: dict[str, Any] = {"watchNamespaces": [site.name]}
                if way == "label":
                    part = {"watchLabelSelector": f"shard={shard}"}
                    await asyncio.to_thread(cluster.kubectl, "label", "cas/scaler", "-n", site.name, f"shard={shard}")
                crds = {"crds": {"install": each is release}}
                await asyncio.to_thread(each.install, {**part, **crds, "replicaCount": 1})
            for site in (ours, theirs):
                await site.produce(*((1, 0, 0) if way == "label" else (0, 1, 1)))
            for site in (ours, theirs):
                async with members(site):
                    await site.until_replicas(1 if way == "label" else 3, within_seconds=SETTLED_SECONDS)
        for mine, foreign, site in ((release, other, ours), (other, release, theirs)):
            assert site.counts == [0, 1, 3]
            assert len(await asyncio.to_thread(site.scale_writes, user=mine.user)) == 2
            assert not await asyncio.to_thread(site.scale_writes, user=foreign.user)
        assert await asyncio.to_thread(may_scale, cluster, other, theirs)
        assert not await asyncio.to_thread(may_scale, cluster, other, ours)
    finally:
        await asyncio.to_thread(other.uninstall)
        await asyncio.to_thread(release.install)
        for site in (ours, theirs):
            await asyncio.to_thread(delete, cluster, site)
    await eventually(lambda: asyncio.to_thread(release.leader), 60)


def may_scale(cluster: Cluster, release: Release, site: Site) -> bool:
    """What the API server says of the operator's account."""
    try:
        cluster.kubectl("auth", "can-i", "patch", "deployments/scale", f"--as={release.user}", "-n", site.name)
    except ClusterFailed:  # status 1 is a no
        return False
    return True
