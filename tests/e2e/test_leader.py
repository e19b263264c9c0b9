"""The leader goes in every way it can: the next one goes on with what is to do, once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.e2e.sites import delete, open_site
from tests.integration.site import Site, members
from tests.integration.support import Bed, eventually

from kind.cluster import Cluster
from kind.release import LEASE_SECONDS, Release

TAKEOVER_SECONDS = LEASE_SECONDS + 5
READINGS_SECONDS = 30  # of what there is to do, on a machine with other things to do


@pytest.fixture
async def site(bed: Bed, cluster: Cluster, release: Release) -> AsyncIterator[Site]:
    """One replica at rest, with two more partitions than that."""
    site = await open_site(bed, "leader")
    await site.until_read()
    await site.produce(1)
    await site.until_replicas(1)
    async with members(site):
        yield site
    await asyncio.to_thread(delete, cluster, site)


async def takes_over(site: Site, release: Release, make_it_go: Callable[[str], object]) -> float:
    """Makes the leader go while there is work to do, and waits until that is done.

    Gives the seconds from then to the new holder's start, by the Lease: all clocks here are this machine's.
    """
    before = (await asyncio.to_thread(release.lease))["holderIdentity"]
    await asyncio.to_thread(make_it_go, before.rpartition("_")[0])
    gone_at = datetime.now(UTC)
    await site.produce(0, 1, 1)
    now: dict[str, Any] = {}

    async def another() -> bool:
        now.update(await asyncio.to_thread(release.lease))
        return now.get("holderIdentity") not in (None, "", before)

    await eventually(another, TAKEOVER_SECONDS + 30, lambda: f"still {before}")
    seconds = (datetime.fromisoformat(now["acquireTime"]) - gone_at).total_seconds()
    await site.until_replicas(3, within_seconds=READINGS_SECONDS)
    await site.holds(3)
    assert site.counts == [0, 1, 3], "each step once, and no other"
    writes = await asyncio.to_thread(site.scale_writes, user=release.user)
    assert len(writes) == 2, writes
    return seconds


async def whole_again(release: Release) -> None:
    """Two pods that are ready, one of which holds the Lease."""

    def whole() -> bool:
        pods = release.pods()
        ready = [c["status"] for pod in pods for c in pod["status"].get("conditions", ()) if c["type"] == "Ready"]
        return ready == ["True", "True"] and release.leader() in {pod["metadata"]["name"] for pod in pods}

    await eventually(lambda: asyncio.to_thread(whole), 120)


async def test_a_leader_that_is_killed_is_followed_within_the_lease(
    site: Site, cluster: Cluster, release: Release, record_property: Callable[[str, object], None]
) -> None:
    """SIGKILL of its process: nothing is given up, the Lease has to run out."""

    def kill(pod: str) -> None:
        found = cluster.get(f"/api/v1/namespaces/{release.namespace}/pods/{pod}")
        container = found["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        cluster.on_node(
            found["spec"]["nodeName"], "ctr", "--namespace", "k8s.io", "tasks", "kill", "-s", "SIGKILL", container
        )

    seconds = await takes_over(site, release, kill)
    record_property("takeover_seconds", round(seconds, 1))
    assert seconds <= TAKEOVER_SECONDS
    await whole_again(release)


async def test_a_leader_that_is_evicted_gives_the_lease_up(
    site: Site, cluster: Cluster, release: Release, record_property: Callable[[str, object], None]
) -> None:
    """A clean end: nobody waits for the Lease to run out."""

    def evict(pod: str) -> None:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/{release.namespace}/pods/{pod}/eviction"
        cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body))

    seconds = await takes_over(site, release, evict)
    record_property("takeover_seconds", round(seconds, 1))
    assert seconds < LEASE_SECONDS
    await whole_again(release)


async def test_a_leader_whose_node_is_cut_off_stops_and_comes_back_as_a_standby(
    site: Site, cluster: Cluster, release: Release, record_property: Callable[[str, object], None]
) -> None:
    """Nothing reaches the node and nothing leaves it: another works; when it is back, there is no second writer."""
    old = await asyncio.to_thread(release.leader)
    node = await asyncio.to_thread(release.node_of, old)
    try:
        seconds = await takes_over(site, release, lambda _: cut_off(cluster, node))
        record_property("takeover_seconds", round(seconds, 1))
        assert seconds <= TAKEOVER_SECONDS
        holder = await asyncio.to_thread(release.leader)
    finally:
        await asyncio.to_thread(heal, cluster, node)
    await eventually(lambda: asyncio.to_thread(release.page, old, "/readyz"), 120)
    await site.holds(3)
    assert await asyncio.to_thread(release.page, old, "/readyz") == "standby"
    assert await asyncio.to_thread(release.leader) == holder
    assert len(await asyncio.to_thread(site.scale_writes, user=release.user)) == 2
    await whole_again(release)


_CUT = "for chain in INPUT OUTPUT FORWARD; do for way in -i -o; do"
_EACH = 'case "$chain$way" in INPUT-o|OUTPUT-i) continue ;; esac'


def cut_off(cluster: Cluster, node: str) -> None:
    """Drops all that comes to the node from outside, leaves it, or passes from and to its pods."""
    cluster.on_node(node, "sh", "-euc", f"{_CUT} {_EACH}; iptables -w -I $chain $way eth0 -j DROP; done; done")


def heal(cluster: Cluster, node: str) -> None:
    cluster.on_node(node, "sh", "-uc", f"{_CUT} {_EACH}; iptables -w -D $chain $way eth0 -j DROP; done; done")
    cluster.kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=120s", timeout_seconds=150)
