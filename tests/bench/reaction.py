"""How soon a backlog is answered: seconds from its last acknowledged record to the `/scale` write of the final count.

Twenty bursts each of 1 -> 20 and 0 -> 8 replicas by `lagPerReplica`, every 5 seconds a poll, fake pods. Each burst has
a resource, a Deployment, a topic and a group of its own, and comes at a random moment, so at a random phase of the
poll. Groups from 1 have a member, groups from 0 have committed and have none. The time of a write is the API server's,
by its audit log.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import time
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from tests.bench.common import (
    AUTOSCALERS,
    DEPLOYMENTS,
    Bar,
    Samples,
    autoscaler,
    create,
    deployment,
    finish,
    percentile,
    say,
    until_ready,
)
from tests.bench.stream import Members, produce_burst

from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.kafka_admin import Topic, commit_many, create_topics
from bed.kubeapi import KubeApi
from bed.kwok import Kwok
from bed.operator import USER, Operator, install

NAMESPACE = "default"
POLL_SECONDS = 5
LAG_PER_REPLICA = 100
LONGEST_BURST_SECONDS = 0.5
SECONDS_BETWEEN_BURSTS = 1.5  # on average; each takes about a poll, so several are under way at a time
PATIENCE_SECONDS = 60.0

_POLLED = re.compile(r"^consumer_autoscaler_last_successful_poll_timestamp_seconds\{", re.M)


class _Kind(NamedTuple):
    """From how many replicas to how many; as many partitions as replicas at the end."""

    key: str
    before: int
    after: int


KINDS = (_Kind("1_20", 1, 20), _Kind("0_8", 0, 8))
BARS = tuple(Bar(f"p95_{kind.key}_s", POLL_SECONDS + 1) for kind in KINDS)


class _Burst(NamedTuple):
    name: str  # of the resource, its target, its topic and its group
    kind: _Kind


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench reaction", description=__doc__)
    parser.add_argument("--n", dest="bursts", type=int, default=20, help="bursts of each kind (20)")
    options = parser.parse_args(arguments)
    if options.bursts < 1:
        parser.error("at least one burst of each kind")
    bursts = [_Burst(f"from-{k.before}-{i:02d}", k) for k in KINDS for i in range(options.bursts)]
    with Samples("reaction") as samples, ControlPlane() as plane, Kafka() as kafka, Kwok(plane):
        install(plane)
        seconds = asyncio.run(_measure(plane, kafka, bursts, samples))
    figures: dict[str, float] = {"poll_s": POLL_SECONDS}
    for kind in KINDS:
        values = [seconds[burst] for burst in bursts if burst.kind is kind]
        for percent in (50, 95):
            figures[f"p{percent}_{kind.key}_s"] = round(percentile(values, percent), 2)
    return finish(figures, BARS)


async def _measure(plane: ControlPlane, kafka: Kafka, bursts: list[_Burst], samples: Samples) -> dict[_Burst, float]:
    say(f"{len(bursts)} topics, groups, Deployments and resources")
    await create_topics(kafka.bootstrap, [Topic(b.name, b.kind.after) for b in bursts])
    with_member = {b.name: b.name for b in bursts if b.kind.before}
    without = {b.name: {TopicPartition(b.name, p): 0 for p in range(b.kind.after)} for b in bursts if not b.kind.before}
    await commit_many(kafka.bootstrap, without)
    partitions = {b.name: b.kind.after for b in bursts}
    async with KubeApi(plane.kubeconfig) as api, Members(kafka.bootstrap, with_member, partitions):
        await create(api, DEPLOYMENTS.format(NAMESPACE), (deployment(b.name, b.kind.before) for b in bursts))
        await create(api, AUTOSCALERS.format(NAMESPACE), (_resource(kafka.bootstrap, b) for b in bursts))
        await until_ready(api, NAMESPACE)
        operator = Operator(plane)
        try:
            await asyncio.to_thread(operator.wait_working, 60)
            await _until_all_polled(operator, len(bursts))
            await asyncio.sleep(2 * POLL_SECONDS)
            return await _play(plane, kafka, api, bursts, samples)
        except BaseException:
            say(operator.process.log_tail(30))
            raise
        finally:
            operator.stop()


def _resource(bootstrap: str, burst: _Burst) -> dict[str, Any]:
    kafka = {"bootstrapServers": bootstrap, "consumerGroup": burst.name, "topics": [burst.name]}
    return autoscaler(
        burst.name,
        minReplicas=burst.kind.before,
        maxReplicas=100,
        sources=[{"name": "stream", "kafka": kafka}],
        objective={"lagPerReplica": LAG_PER_REPLICA},
        scaling={"pollIntervalSeconds": POLL_SECONDS},
    )


async def _until_all_polled(operator: Operator, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            _, text = await asyncio.to_thread(operator.get, "/metrics")
            if len(_POLLED.findall(text)) >= count:
                return
            await asyncio.sleep(0.5)


async def _play(
    plane: ControlPlane, kafka: Kafka, api: KubeApi, bursts: list[_Burst], samples: Samples
) -> dict[_Burst, float]:
    length = len(bursts) * SECONDS_BETWEEN_BURSTS
    say(f"{len(bursts)} bursts within {length:.0f} s")
    begin = time.time()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", linger_ms=2, max_batch_size=65_536)
    await producer.start()
    try:
        for burst in bursts:
            await producer.partitions_for(burst.name)  # the first record would otherwise wait for its metadata
        runs = [_run(api, producer, burst, random.uniform(0, length)) for burst in bursts]
        produced = dict(zip(bursts, await asyncio.gather(*runs), strict=True))
    finally:
        await producer.stop()
    writes: dict[str, list[float]] = {}
    for request in await asyncio.to_thread(plane.audit, begin, user=USER):
        if (request.subresource, request.verb, request.status_code) == ("scale", "patch", 200):
            writes.setdefault(request.name, []).append(request.received_at)
    seconds: dict[_Burst, float] = {}
    for burst, (began, acknowledged) in produced.items():
        after = [round(at - acknowledged, 3) for at in writes[burst.name]]
        seconds[burst] = after[-1]
        samples.add("burst", name=burst.name, produced_within_s=round(acknowledged - began, 3), writes_s=after)
        if acknowledged - began > LONGEST_BURST_SECONDS:
            say(f"{burst.name}: producing took {acknowledged - began:.2f} s, not {LONGEST_BURST_SECONDS} s")
    return seconds


async def _run(api: KubeApi, producer: AIOKafkaProducer, burst: _Burst, delay: float) -> tuple[float, float]:
    """One burst; when its production began and when its last record was acknowledged, once the final count holds."""
    await asyncio.sleep(delay)
    records = [bytes(100)] * (LAG_PER_REPLICA * burst.kind.after)
    began = time.time()
    acknowledged = await produce_burst(producer, burst.name, burst.kind.after, records)
    await _until_scaled(api, burst)
    await asyncio.sleep(2 * POLL_SECONDS)
    await _until_scaled(api, burst)  # nothing else was written after it
    return began, acknowledged


async def _until_scaled(api: KubeApi, burst: _Burst) -> None:
    path = f"{DEPLOYMENTS.format(NAMESPACE)}/{burst.name}"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if (await api.call("GET", path))["spec"]["replicas"] == burst.kind.after:
                return
            await asyncio.sleep(0.5)
