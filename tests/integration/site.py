"""A place of its own for each test of the operator: a namespace with a target, its autoscaler, real group members."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from tests.integration.support import Bed, Json, eventually

from bed import kafka_admin
from bed.audit import Request
from bed.kafka import Kafka
from bed.kubeapi import MERGE_PATCH
from bed.operator import NAMESPACE

SCALERS = "/apis/consumerautoscaler.dev/v1alpha1"
POLLS_TO_HOLD = 7  # resources here poll every second: what does not move for so many polls holds


def deployment(replicas: int, *, name: str = "consumers", pod: Mapping[str, Any] | None = None) -> Json:
    """Pods on fake nodes, unless `pod` (a pod's spec) says something else."""
    template = {
        "nodeSelector": {"type": "kwok"},
        "containers": [{"name": "consumer", "image": "none"}],
        "terminationGracePeriodSeconds": 0,
        **(pod or {}),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template},
        },
    }


@dataclass(slots=True)
class Site:
    """One namespace with the Deployment `consumers` and the ConsumerAutoscaler `scaler`; `name` is also the group's."""

    bed: Bed
    name: str
    kafka: Kafka
    topics: tuple[str, ...]
    began_at: float = field(default_factory=time.time)

    @classmethod
    async def open(
        cls,
        bed: Bed,
        label: str,
        *,
        partitions: int = 3,
        topics: int = 1,
        replicas: int | None = 0,
        kafka: Mapping[str, Any] | None = None,
        scaling: Mapping[str, Any] | None = None,
        spec: Mapping[str, Any] | None = None,
        committed: bool = False,
        broker: Kafka | None = None,
        resource: bool = True,
        pod: Mapping[str, Any] | None = None,
    ) -> Site:
        """Makes it all: the topics (none with `topics=0`), the target (none with `replicas=None`), the resource.

        The resource scales by one message per replica, polls every second, may go to zero after one idle second;
        `kafka`, `scaling` and `spec` change that. `committed`: the group has a commit at the start of each partition.
        """
        name = f"{label}-{secrets.token_hex(2)}"
        names = tuple(name if n == 0 else f"{name}-{n}" for n in range(topics))
        site = cls(bed, name, broker or bed.kafka, names)
        bootstrap = site.kafka.bootstrap
        if names:
            await kafka_admin.create_topics(bootstrap, [kafka_admin.Topic(topic, partitions) for topic in names])
        if committed:
            zeros = {TopicPartition(topic, p): 0 for topic in names for p in range(partitions)}
            await kafka_admin.commit_offsets(bootstrap, name, zeros)
        await bed.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        if replicas is not None:
            await site.create_target(replicas, pod=pod)
        if resource:
            await site.create_scaler(kafka=kafka, scaling=scaling, spec=spec)
        return site

    async def create_target(self, replicas: int, *, pod: Mapping[str, Any] | None = None) -> None:
        """Makes the Deployment, and waits until its pods are Ready, as those of a resting group are."""
        await self.bed.api.call("POST", self._deployments(), deployment(replicas, pod=pod))
        await eventually(lambda: self.bed.witness.ready.get(self.name) == replicas)

    async def create_scaler(
        self,
        *,
        name: str = "scaler",
        kafka: Mapping[str, Any] | None = None,
        scaling: Mapping[str, Any] | None = None,
        spec: Mapping[str, Any] | None = None,
    ) -> None:
        body = self.scaler(name=name, kafka=kafka, scaling=scaling, spec=spec)
        await self.bed.api.call("POST", self._scalers(), body)

    def scaler(
        self,
        *,
        name: str = "scaler",
        kafka: Mapping[str, Any] | None = None,
        scaling: Mapping[str, Any] | None = None,
        spec: Mapping[str, Any] | None = None,
    ) -> Json:
        source = {
            "bootstrapServers": self.kafka.bootstrap,
            "consumerGroup": self.name,
            "topics": list(self.topics),
            "offsetReset": "Earliest",
            **(kafka or {}),
        }
        pace = {
            "pollIntervalSeconds": 1,
            "idleSeconds": 1,
            "scaleDown": {"cooldownSeconds": 0},
            **(scaling or {}),
        }
        return {
            "apiVersion": "consumerautoscaler.dev/v1alpha1",
            "kind": "ConsumerAutoscaler",
            "metadata": {"name": name},
            "spec": {
                "targetRef": {"name": "consumers"},
                "minReplicas": 0,
                "maxReplicas": 10,
                "sources": [{"name": "main", "kafka": source}],
                "objective": {"lagPerReplica": 1},
                "scaling": pace,
                **(spec or {}),
            },
        }

    async def patch_scaler(self, spec: Mapping[str, Any], name: str = "scaler") -> None:
        await self.bed.api.call("PATCH", self._scalers(name), {"spec": spec}, content_type=MERGE_PATCH)

    async def delete_scaler(self, name: str = "scaler") -> None:
        await self.bed.api.call("DELETE", self._scalers(name))

    async def delete_target(self) -> None:
        await self.bed.api.call("DELETE", self._deployments("consumers"))

    async def get_scaler(self, name: str = "scaler") -> Json:
        return await self.bed.api.call("GET", self._scalers(name))

    async def status(self, name: str = "scaler") -> Json:
        return (await self.get_scaler(name)).get("status") or {}

    async def condition(self, type_: str, name: str = "scaler") -> Json:
        """Empty when the status does not have it yet."""
        conditions = (await self.status(name)).get("conditions") or ()
        return next((c for c in conditions if c["type"] == type_), {})

    async def until_condition(
        self, type_: str, status: str, reason: str, *, within_seconds: float = 30.0, name: str = "scaler"
    ) -> str:
        """Waits for it and returns its message."""
        seen: Json = {}

        async def there() -> bool:
            seen.update(await self.condition(type_, name))
            return (seen.get("status"), seen.get("reason")) == (status, reason)

        await eventually(there, within_seconds, lambda: f"{self.name}: {type_} is {seen}")
        return str(seen["message"])

    async def until_read(self) -> None:
        """Until the operator has a first good reading."""
        await self.until_condition("SourceHealthy", "True", "Valid")

    @property
    def counts(self) -> list[int]:
        """Every count the target was asked to have, in order."""
        return self.bed.witness.counts[self.name]

    async def until_replicas(self, count: int, *, within_seconds: float = 30.0) -> None:
        """Waits until the target is asked for so many; fails with what was decided instead."""
        end = time.monotonic() + within_seconds
        while self.counts[-1:] != [count]:
            if time.monotonic() > end:
                decision = (await self.status()).get("decision")
                raise AssertionError(f"{self.name}: asked for {self.counts}, not for {count}: {decision}")
            await asyncio.sleep(0.1)

    async def holds(self, count: int, *, polls: int = POLLS_TO_HOLD) -> None:
        """Fails when the target is asked for any other count while so many seconds, and polls, go by."""
        before = list(self.counts)
        assert before[-1:] == [count], f"{self.name}: asked for {before}, expected {count} now"
        end = time.monotonic() + polls
        while time.monotonic() < end:
            assert self.counts == before, f"{self.name}: {count} did not hold: {self.counts}"
            await asyncio.sleep(0.1)

    async def produce(self, *per_partition: int, topic: int = 0) -> None:
        """So many records to partition 0, 1, …; returns when they are acknowledged."""
        counts = {partition: count for partition, count in enumerate(per_partition) if count}
        await kafka_admin.produce_now(self.kafka.bootstrap, self.topics[topic], counts)

    async def commit(self, *per_partition: int, topic: int = 0) -> None:
        """Commits these offsets for partition 0, 1, …; the group must have no members."""
        offsets = {TopicPartition(self.topics[topic], p): offset for p, offset in enumerate(per_partition)}
        await kafka_admin.commit_offsets(self.kafka.bootstrap, self.name, offsets)

    def scale_writes(self, *, since: float | None = None, user: str | None = None) -> list[Request]:
        """The accepted writes of the target's scale, by the API server's audit log; the kubectl ones as well."""
        found = self.bed.controlplane.audit(self.began_at if since is None else since, user=user)
        return [
            r
            for r in found
            if (r.namespace, r.resource, r.subresource) == (self.name, "deployments", "scale")
            and r.verb in ("patch", "update")
            and r.status_code < 300
        ]

    def _deployments(self, name: str = "") -> str:
        return f"/apis/apps/v1/namespaces/{self.name}/deployments/{name}".rstrip("/")

    def _scalers(self, name: str = "") -> str:
        return f"{SCALERS}/namespaces/{self.name}/consumerautoscalers/{name}".rstrip("/")


@asynccontextmanager
async def members(site: Site, *, commit: bool = False, least: int = 0) -> AsyncIterator[list[AIOKafkaConsumer]]:
    """Real members of the site's group, as many as the target has Ready pods and `least` at least.

    The fake nodes' pods run nothing, so the members live here. Without `commit` they take part in the group and commit
    nothing, as consumers do that hang. Gives the list of them as it is.
    """
    crew: list[AIOKafkaConsumer] = []
    over = asyncio.Event()
    work = asyncio.create_task(_follow_target(site, crew, over, commit=commit, least=least))
    try:
        yield crew
        assert not work.done(), f"{site.name}: the members have failed: {work.exception()!r}"
    finally:
        over.set()  # rather than a cancellation, which would leave connections of a half-started member
        await asyncio.wait([work], timeout=30)
        work.cancel()
        await asyncio.gather(*(each.stop() for each in crew))


async def _follow_target(
    site: Site, crew: list[AIOKafkaConsumer], over: asyncio.Event, *, commit: bool, least: int
) -> None:
    while not over.is_set():
        wanted = max(least, site.bed.witness.ready.get(site.name, 0))
        while len(crew) > wanted:
            await crew[-1].stop()
            crew.pop()
        if len(crew) < wanted:
            new = [_member(site) for _ in range(wanted - len(crew))]
            crew += new
            await asyncio.gather(*(each.start() for each in new))
        if commit:
            for each in crew:
                with suppress(KafkaError):  # a rebalance: next time
                    await each.getmany(timeout_ms=10)
                    await each.commit()
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 0.2)


def _member(site: Site) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        *site.topics,
        bootstrap_servers=site.kafka.bootstrap,
        group_id=site.name,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        heartbeat_interval_ms=300,
        session_timeout_ms=20_000,
        rebalance_timeout_ms=20_000,
        metadata_max_age_ms=1_000,
    )


def own_lease(site: Site) -> tuple[str, ...]:
    """Flags for an operator that serves this site only, under a Lease of its own."""
    return ("--namespaces", site.name, "--lease-name", site.name, "--lease-namespace", NAMESPACE)
