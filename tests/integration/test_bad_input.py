"""What only the operator can see to be wrong: it says so in a condition, keeps the replicas, and disturbs nobody.

All broken resources are served by one operator at the same time, with a sound one among them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from tests.integration.site import Site, members
from tests.integration.support import Bed, Json, Together, eventually

from bed.controlplane import ControlPlane
from bed.processes import free_port
from bed.processnode import ProcessNode

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]

together = Together()


async def _topics_of_the_broker(bed: Bed) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bed.kafka.bootstrap)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


@together
async def test_a_missing_target_is_named(bed: Bed) -> None:
    """`Ready` and `AbleToScale` are False, each with the name of what is not there."""
    site = await Site.open(bed, "no-target", replicas=None)
    await site.produce(1)
    ready = await site.until_condition("Ready", "False", "TargetNotFound")
    able = await site.until_condition("AbleToScale", "False", "FailedGetScale")
    for message in (ready, able):
        assert f"deployment/{site.name}/consumers" in message
    await site.until_condition("SourceHealthy", "True", "Valid")  # a broker just started may have to load the group


@together
async def test_a_missing_topic_is_named_and_not_created(bed: Bed) -> None:
    """The broker creates topics that are asked for; the operator asks so that it does not."""
    site = await Site.open(bed, "no-topic", replicas=2, topics=0, kafka={"topics": ["no-such-topic"]})
    message = await site.until_condition("SourceHealthy", "False", "TopicNotFound")
    assert message == "topic no-such-topic does not exist"
    await site.holds(2)
    assert "no-such-topic" not in await _topics_of_the_broker(bed)


@together
async def test_a_missing_group_is_named_with_the_remedy(bed: Bed) -> None:
    """Without topics in the spec there is no telling what a group that does not exist would read."""
    site = await Site.open(bed, "no-group", replicas=2, kafka={"topics": []})
    message = await site.until_condition("SourceHealthy", "False", "GroupNotFound")
    assert message == f"group {site.name} does not exist that the operator may see; name its topics"
    await site.holds(2)


@together
async def test_an_address_where_nobody_listens_is_named(bed: Bed) -> None:
    """Nothing is known, so nothing is changed, though idle time passes and zero replicas are allowed."""
    site = await Site.open(bed, "refused", replicas=2, kafka={"bootstrapServers": "127.0.0.1:1"})
    message = await site.until_condition("SourceHealthy", "False", "BrokerUnreachable")
    assert "127.0.0.1:1" in message
    await site.holds(2)
    assert (await site.condition("Ready"))["status"] == "True"
    assert (await site.status())["decision"]["reason"] == "HoldLagUnknown"


@together
async def test_a_name_that_cannot_be_resolved_is_named(bed: Bed) -> None:
    """As a typing error in the address shows itself."""
    address = "no-such-broker.invalid:9092"
    site = await Site.open(bed, "unresolved", replicas=2, kafka={"bootstrapServers": address})
    message = await site.until_condition("SourceHealthy", "False", "BrokerUnreachable")
    assert address in message
    await site.holds(2)


@together
async def test_an_address_that_may_not_be_connected_to_is_named(bed: Bed) -> None:
    """With its class and the field; nothing is connected to, so nothing has to be waited for."""
    site = await Site.open(bed, "denied", replicas=2, kafka={"bootstrapServers": "169.254.169.254:80"})
    message = await site.until_condition("SourceHealthy", "False", "AddressDenied")
    assert message == (
        "no bootstrap server is connected to: 169.254.169.254:80 "
        "(`bootstrapServers`: 169.254.169.254 is a link-local address: name another)"
    )
    await site.holds(2)


@together
async def test_one_address_that_works_is_enough(bed: Bed) -> None:
    """Of several addresses those that do not answer are passed over."""
    address = f"127.0.0.1:1,no-such-broker.invalid:9092,{bed.kafka.bootstrap}"
    site = await Site.open(bed, "some-work", kafka={"bootstrapServers": address})
    await site.produce(1)
    await site.until_replicas(1)


@together
async def test_a_sound_resource_is_not_disturbed(bed: Bed) -> None:
    """Amid all the broken ones it reacts within two polls, again and again."""
    site = await Site.open(bed, "sound", partitions=3)
    async with members(site) as crew:
        await site.until_read()
        for count, records in ((1, (1,)), (2, (0, 1)), (3, (0, 0, 1))):
            await eventually(lambda count=count: len(crew) == count - 1 and all(each.assignment() for each in crew))
            await asyncio.sleep(2)  # the group is seen stable
            begin = time.monotonic()
            await site.produce(*records)
            await site.until_replicas(count)
            assert time.monotonic() - begin < 4.0
    assert site.counts == [0, 1, 2, 3]


METRICS_SERVER = r"""
import os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "kafka_consumer_processing_seconds"
PAGES = {
    "bytes": bytes(range(256)) * 100,
    "web-page": b"<html><body>It works!</body></html>",
    "no-number": f"{NAME}_count NaN\n{NAME}_sum 1\n".encode(),
    "other": b"go_goroutines 7\n",
    "idle": f"{NAME}_count 5\n{NAME}_sum 1\n".encode(),
}

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        kind = sys.argv[1]
        if kind == "hangs":
            time.sleep(3600)
        self.send_response(500 if kind == "error" else 200)
        self.end_headers()
        self.wfile.write(PAGES.get(kind, b"no"))

ThreadingHTTPServer((os.environ["POD_IP"], int(sys.argv[2])), Handler).serve_forever()
"""
RUBBISH = {
    "bytes": "none of the 1 pods that were read has",
    "web-page": "sent something else than Prometheus metrics",
    "no-number": "not a finite number",
    "other": "none of the 1 pods that were read has",
    "error": "answered with status 500",
    "hangs": "did not answer within",
}


@pytest.fixture(scope="module", autouse=True)
async def process_node(bed: Bed) -> AsyncIterator[ProcessNode]:
    """A node whose pods are processes, with addresses that can be connected to."""
    node = ProcessNode(bed.controlplane, bed.controlplane.folder / "bad-input-node")
    await bed.aside(node.start)
    yield node
    await bed.aside(node.stop)


async def _with_metrics(bed: Bed, kind: str) -> Site:
    """An idle group with one pod, whose metrics are of this kind; zero replicas are allowed."""
    port = free_port("127.30.0.1")
    container = {
        "name": "consumer",
        "image": "none",
        "command": [sys.executable, "-c", METRICS_SERVER, kind, str(port)],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
    }
    pod = {"nodeSelector": {"bed/process-node": "true"}, "containers": [container]}
    source = {"podMetrics": {"port": port}}
    time_sources = {"processingTime": {"sources": [source]}}
    return await Site.open(bed, f"metrics-{kind}", replicas=1, pod=pod, spec=time_sources, committed=True)


@together
async def test_metrics_that_are_rubbish_keep_the_replicas(bed: Bed) -> None:
    """Each kind of rubbish is told in the condition with the pod's name, and the last replica is not taken away."""
    sites = dict(zip(RUBBISH, await asyncio.gather(*(_with_metrics(bed, kind) for kind in RUBBISH)), strict=True))
    for kind, site in sites.items():
        message = await site.until_condition("SourceHealthy", "False", "ProcessingTimeUnavailable")
        assert RUBBISH[kind] in message, kind
    await asyncio.gather(*(site.holds(1) for site in sites.values()))
    for kind, site in sites.items():
        assert (await site.status())["decision"]["reason"] == "HoldProcessingTimeUnknown", kind


@together
async def test_metrics_of_an_idle_pod_are_not_rubbish(bed: Bed) -> None:
    """Nothing processed is nothing wrong: the source is healthy, and the last replica may go."""
    site = await _with_metrics(bed, "idle")
    await site.until_replicas(0)
    assert (await site.condition("SourceHealthy"))["status"] == "True"


async def _store_unchecked(bed: Bed, site: Site, spec: Json) -> None:
    """Stores a spec that today's schema refuses, as a resource may be that was stored under an earlier one."""
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/consumerautoscalers.consumerautoscaler.dev"
    kept = json.loads(await asyncio.to_thread(_kubectl, bed.controlplane, "get", "--raw", crd))
    loose = json.loads(json.dumps(kept))
    del loose["metadata"]["resourceVersion"]
    schema = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    await bed.api.call("PUT", crd, {**loose, "metadata": {**kept["metadata"]}})
    body = {**site.scaler(), "spec": spec}

    async def stored() -> bool:
        done = await asyncio.to_thread(
            bed.controlplane.try_kubectl, "create", "-n", site.name, "-f", "-", input=json.dumps(body)
        )
        return done.returncode == 0

    try:
        await eventually(stored)
    finally:
        now = json.loads(await asyncio.to_thread(_kubectl, bed.controlplane, "get", "--raw", crd))
        await bed.api.call("PUT", crd, {**now, "spec": kept["spec"]})


def _kubectl(controlplane: ControlPlane, *arguments: str) -> str:
    return controlplane.kubectl(*arguments)


async def test_a_spec_stored_under_an_earlier_schema_says_what_is_wrong(bed: Bed) -> None:
    """Every problem is named by its path, the target is left alone, and a repair is taken up by itself."""
    site = await Site.open(bed, "stored", replicas=2, resource=False)
    good = site.scaler()["spec"]
    garbage = {**good, "maxReplicas": "many", "objective": {}, "sources": "orders"}
    await _store_unchecked(bed, site, garbage)
    message = await site.until_condition("Ready", "False", "InvalidSpec")
    assert "spec.maxReplicas: must be an integer" in message
    assert "spec.objective: exactly one of `maxDelaySeconds` and `lagPerReplica` must be set" in message
    assert "spec.sources: must be a list" in message
    assert (await site.condition("SourceHealthy"))["status"] == "Unknown"
    await site.holds(2, polls=3)
    await site.patch_scaler({**good, "minReplicas": 2})
    await site.until_condition("Ready", "True", "Working")
