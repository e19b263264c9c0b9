"""The main job with nothing but pods: producer, consumers, broker and operator in the cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.sites import consumer_pod, delete, open_site, produce
from tests.integration.support import Bed, eventually

from bed import kafka_admin
from kind.cluster import Cluster
from kind.release import Release

INSIDE = Path(__file__).parent / "inside.py"
PARTITIONS = 6
RECORDS_PER_SECOND = 10.0  # of one consumer
UP_SECONDS = 240


@pytest.mark.usefixtures("release")
async def test_real_consumers_go_up_down_to_zero_and_back(bed: Bed, cluster: Cluster) -> None:
    """A load that takes three consumers at least, then a small one, then none, then one again: all of it is read."""
    promise: dict[str, Any] = {"objective": {"maxDelaySeconds": 30}, "maxReplicas": PARTITIONS}
    pace: dict[str, Any] = {"pollIntervalSeconds": 2, "idleSeconds": 10}
    site = await open_site(bed, "real", partitions=PARTITIONS, spec=promise, scaling=pace, pod=None, replicas=None)
    await site.create_target(0, pod=consumer_pod(site.name, RECORDS_PER_SECOND))

    await asyncio.to_thread(produce, cluster, site, PARTITIONS, 3 * RECORDS_PER_SECOND)
    await eventually(lambda: bed.witness.ready[site.name] >= 3, UP_SECONDS, lambda: site.counts)
    assert max(site.counts) <= PARTITIONS
    note = await site.until_condition("Ready", "True", "Working")
    assert note

    await asyncio.to_thread(produce, cluster, site, PARTITIONS, RECORDS_PER_SECOND / 5)
    most = max(site.counts)
    await eventually(lambda: 0 < site.counts[-1] < most, UP_SECONDS, lambda: site.counts)

    await asyncio.to_thread(produce, cluster, site, PARTITIONS, 0)
    await site.until_replicas(0, within_seconds=UP_SECONDS)
    assert await kafka_admin.lag_messages(site.kafka.bootstrap, site.name, site.name) == 0

    await site.produce(5)
    await site.until_replicas(1, within_seconds=60)
    await eventually(lambda: bed.witness.ready[site.name] == 1, 60)

    async def read() -> bool:
        return await kafka_admin.lag_messages(site.kafka.bootstrap, site.name, site.name) == 0

    await eventually(read, 60)
    await asyncio.to_thread(delete, cluster, site)


async def test_the_operator_runs_restricted_and_with_the_clusters_own_token(cluster: Cluster, release: Release) -> None:
    """In a namespace that refuses anything else: not root, nothing writable, no capability, a mounted token."""
    namespace = cluster.get(f"/api/v1/namespaces/{release.namespace}")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = release.pods()
    assert len(pods) == 2
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    leader = release.leader()
    python = "/opt/consumer-autoscaler/bin/python"
    seen = json.loads(cluster.kubectl("exec", "-n", release.namespace, leader, "--", python, "-c", INSIDE.read_text()))
    assert (seen["uid"], seen["capabilities"], seen["seccomp"], seen["writable"]) == (10001, 0, 2, ["/tmp"])
    assert "--kubeconfig" not in seen["command"]
    assert cluster.audit(user=release.user), "the API server knows it by its ServiceAccount"
    for pod in pods:
        name = pod["metadata"]["name"]
        assert release.page(name, "/healthz") is not None
        assert release.page(name, "/readyz") == ("working" if name == leader else "standby")
