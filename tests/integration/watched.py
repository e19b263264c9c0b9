"""Three resources that a running operator serves, seen by a real Prometheus: one busy, one in trouble, one paused.

The busy one is scaled up for real records, and misses its promise while its consumers hang. Of the one in trouble
records are lost, new partitions are read by nobody, and the API server refuses its scale. The paused one reads a topic
that does not exist. So nearly every series of the operator has been there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from tests.integration.prometheus_server import pages, prometheus
from tests.integration.site import Site, members
from tests.integration.support import Bed, eventually, operator_on

from bed import kafka_admin
from bed.chart import CHART
from bed.operator import NAMESPACE

JOB = "consumer-autoscaler"
POD = "consumers-6b7f9c5d4-abcde"  # as a pod of the Deployment is called
POLICY = "refuse-scaling"


@dataclass(slots=True)
class Watched:
    """The sites by what they are for, and Prometheus' address."""

    sites: Mapping[str, Site]
    address: str

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus; raises with its words when it does not understand."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.address}/api/v1/{path}", params=parameters) as answer,
        ):
            body = await answer.json()
            assert body["status"] == "success", f"{parameters}: {body.get('error')}"
            return body["data"]


@asynccontextmanager
async def watched(bed: Bed, folder: Path) -> AsyncIterator[Watched]:
    """All of it, running, once the busy one was scaled and the others are in their troubles."""
    busy = await Site.open(bed, "busy", committed=True, replicas=1, resource=False)
    troubled = await Site.open(bed, "troubled", committed=True, replicas=1, resource=False, partitions=2)
    paused = await Site.open(bed, "paused", committed=True, resource=False)
    sites = {"busy": busy, "troubled": troubled, "paused": paused}
    flags = ("--namespaces", ",".join(site.name for site in sites.values()), "--lease-name", busy.name)
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(
            operator_on(bed, *flags, "--lease-namespace", NAMESPACE, name="watched")
        )
        port = await stack.enter_async_context(pages({POD: _consumer(busy.name)}))
        address = await stack.enter_async_context(prometheus(folder, _configuration(operator.port, port, busy.name)))
        await _until_refused(bed, troubled, stack)
        await _lose_records(troubled)
        await _create(sites, address)
        await busy.produce(40, 40, 40)
        async with members(busy):  # that hang
            await busy.until_condition("Backpressured", "True", "UnderProvisioned", within_seconds=60)
            await busy.until_replicas(3, within_seconds=60)
        await stack.enter_async_context(members(busy, commit=True))
        stack.push_async_callback((await _slow_to_notice(troubled)).stop)
        await _add_partition(troubled)
        yield Watched(sites, address)


def _consumer(group: str) -> Any:
    """A page with the processing time of records of this group."""
    registry = CollectorRegistry()
    labels = {"group": group, "topic": group}
    timed = Histogram("kafka_consumer_processing_seconds", "help", list(labels), registry=registry).labels(**labels)

    def page() -> str:
        for _ in range(10):
            timed.observe(2)
        return str(generate_latest(registry).decode())

    return page


def _configuration(operator_port: int, pod_port: int, namespace: str) -> str:
    """The operator as a ServiceMonitor of the chart scrapes it, the consumers as discovery finds them, the alerts."""
    return json.dumps(
        {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(CHART / "files" / "alerts.yaml")],
            "scrape_configs": [
                {
                    "job_name": JOB,
                    "honor_labels": True,
                    "static_configs": [{"targets": [f"127.0.0.1:{operator_port}"], "labels": {"namespace": NAMESPACE}}],
                },
                {
                    "job_name": "pods",
                    "metrics_path": f"/{POD}",
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{pod_port}"], "labels": {"namespace": namespace, "pod": POD}}
                    ],
                },
            ],
        }
    )


async def _create(sites: Mapping[str, Site], address: str) -> None:
    def time_from(source: Mapping[str, Any]) -> dict[str, Any]:
        return {"sources": [{"prometheus": {"address": address, **source}}]}

    await sites["busy"].create_scaler(
        spec={
            "minReplicas": 1,
            "objective": {"maxDelaySeconds": 10},
            "capacity": {"expectedRecordsPerMinute": 60},
            "processingTime": time_from({"preset": "Convention"}),
            "alerts": [{"name": "behind", "lagMessages": 10}],
        }
    )
    await sites["troubled"].create_scaler(spec={"processingTime": time_from({"query": "vector(0.02)"})})
    await sites["paused"].create_scaler(kafka={"topics": ["no-such-topic"]}, spec={"mode": "Paused"})


async def _until_refused(bed: Bed, site: Site, stack: AsyncExitStack) -> None:
    """The API server refuses each scale in the site's namespace, as a policy of a cluster's owner may."""
    name = f"{POLICY}-{site.name}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": ["deployments/scale"],
                    }
                ]
            },
            "validations": [{"expression": "false", "message": "nothing is scaled here"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": site.name}}},
        },
    }
    for document in (policy, binding):
        await asyncio.to_thread(bed.controlplane.kubectl, "apply", "-f", "-", input=json.dumps(document))
    kinds = "validatingadmissionpolicybinding,validatingadmissionpolicy"
    stack.push_async_callback(asyncio.to_thread, bed.controlplane.kubectl, "delete", kinds, name)

    async def refused() -> bool:
        command = ("scale", "deployment/consumers", "-n", site.name, "--replicas=2", "--dry-run=server")
        return (await asyncio.to_thread(bed.controlplane.try_kubectl, *command)).returncode != 0

    await eventually(refused, 30)


async def _slow_to_notice(site: Site) -> AIOKafkaConsumer:
    """The group's one member. It learns of new partitions after minutes, as consumers do by default."""
    member = AIOKafkaConsumer(
        *site.topics,
        bootstrap_servers=site.kafka.bootstrap,
        group_id=site.name,
        enable_auto_commit=False,
        metadata_max_age_ms=600_000,
    )
    await member.start()
    return member


async def _lose_records(site: Site) -> None:
    """Retention was faster than the group. Before the resource is there: starts are looked at every five minutes."""
    await site.produce(9, 9)
    await kafka_admin.delete_records(site.kafka.bootstrap, {TopicPartition(site.topics[0], 0): 5})


async def _add_partition(site: Site) -> None:
    """With records in it, and nobody was given it."""
    await kafka_admin.add_partitions(site.kafka.bootstrap, site.topics[0], 3)
    await site.produce(0, 0, 7)
