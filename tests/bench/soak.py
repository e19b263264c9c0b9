"""Hours with sources that work and sources that fail in every way, made short: does the operator hold more and more?

`--pace 100` divides the default interval of 15 s between polls of each resource by 100, and so the intervals at which
Secrets are read and resources are listed again; timeouts, backoffs and the clock stay what they are, so that failures
are as slow as they really are. The operator is the program itself with the shipped rights, against a real API server
and a real broker with TLS and SASL. All the while resources come and go and a Secret changes.

Memory, descriptors, tasks and series are taken every five seconds. Growth is from the first tenth after the warm-up to
the last tenth of the run, by their medians.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

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
    say,
    until_ready,
)
from tests.bench.soak_sources import kafka_failures, odd_servers, processing_failures

from bed import kafka_admin
from bed.controlplane import ControlPlane
from bed.kafka_security import SecureKafka
from bed.kubeapi import MERGE_PATCH, ApiError, KubeApi
from bed.kwok import Kwok
from bed.operator import Operator, install
from bed.paths import REPOSITORY

DEFAULT_POLL_SECONDS = 15
HEALTHY, PARTITIONS = 10, 3
NAMESPACE = "default"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
COUNTED = ("rss_mib", "fds", "tasks", "series", "threads")
BARS = tuple(Bar(f"{name}_growth_percent", 2, strictly=True) for name in COUNTED)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench soak", description=__doc__)
    parser.add_argument("--n", type=float, default=75, help="minutes (default: 75)")
    parser.add_argument("--warm-up", type=float, default=0.2, help="share of the time that does not count")
    parser.add_argument("--pace", type=float, default=100, help="how many times faster than by default")
    options = parser.parse_args(arguments)
    # Java's parts are started by the thread that lives as long as they do.
    with (
        ControlPlane() as plane,
        Kwok(plane),
        SecureKafka(passwords={"alice": "alice-secret"}, clients={}, heap_mib=256) as kafka,
    ):
        install(plane)
        for on in (kafka_admin.AclOn.TOPIC, kafka_admin.AclOn.GROUP):
            kafka.allow("alice", kafka_admin.AclFor.DESCRIBE, on, "*")
        file = REPOSITORY / "build" / "bench" / "soak-operator.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        operator = Operator(
            plane,
            module="tests.bench.soak_operator",
            log=file.with_suffix(".log"),
            arguments=("--resync-seconds", str(max(1.0, 300 / options.pace)), "--allow-passwords-without-tls"),
            env={
                "PYTHONPATH": f"{REPOSITORY / 'operator'}:{REPOSITORY / 'deploy' / 'dev'}:{REPOSITORY}",
                "SOAK_PACE": str(options.pace),
                "SOAK_FILE": str(file),
            },
        )
        try:
            operator.wait_working()
            figures = asyncio.run(_soak(plane, kafka, operator, file, options))
        finally:
            operator.stop()
    return finish(figures, BARS)


async def _soak(
    plane: ControlPlane, kafka: SecureKafka, operator: Operator, file: Path, options: argparse.Namespace
) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        raw = stack.enter_context(Samples("soak"))
        api = await stack.enter_async_context(KubeApi(plane.kubeconfig))
        ports = await stack.enter_async_context(odd_servers())
        kinds = await _make(api, kafka, ports)
        say(f"{len(kinds)} resources, {HEALTHY} of them healthy, at {options.pace:g} times the default pace")
        work = [
            asyncio.create_task(each)
            for each in (_traffic(kafka), _come_and_go(api, kafka.bootstrap), _rotate(api, kafka))
        ]
        end = time.monotonic() + options.n * 60
        for turn in itertools.count():
            await asyncio.sleep(5)
            for each in work:
                if each.done():
                    each.result()
            if operator.process.returncode is not None:
                raise RuntimeError(f"the operator has ended\n{operator.process.log_tail(40)}")
            line = await asyncio.to_thread(_newest, file)
            status, page = await asyncio.to_thread(operator.get, "/metrics", 30.0)
            if line is not None and status == 200:
                line["series"] = sum(1 for each in page.splitlines() if each and not each.startswith("#"))
                raw.add("sample", **line)
            if turn % 12 == 0 and line is not None:
                say(" ".join(f"{name}={line.get(name)}" for name in (*COUNTED, "cycles", "objects", "connections")))
            if time.monotonic() > end:
                break
        reasons = await _reasons(api)
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)
    samples = [json.loads(text) for text in raw.path.read_text().splitlines()]
    say("conditions: " + json.dumps(reasons, sort_keys=True))
    figures = growth(samples, warm_up=options.warm_up)
    return figures | {
        "pace_of_a_resource": options.pace,
        "pace_of_all": round(figures["cycles_per_s"] / (len(kinds) / DEFAULT_POLL_SECONDS), 1),
        "resources": len(kinds),
        "failing_kinds": len(kinds) - HEALTHY,
        "reasons_seen": len(reasons),
    }


def growth(samples: Sequence[Mapping[str, Any]], *, warm_up: float) -> dict[str, float]:
    """How much more there is in the last tenth than in the first tenth after the warm-up, and what was done."""
    counted = samples[int(len(samples) * warm_up) :]
    tenth = max(1, len(counted) // 10)
    first, last = counted[:tenth], counted[-tenth:]
    figures: dict[str, float] = {}
    for name in (*COUNTED, "objects"):
        before, after = (statistics.median(float(each[name]) for each in part) for part in (first, last))
        figures[f"{name}_before"], figures[f"{name}_after"] = round(before, 2), round(after, 2)
        figures[f"{name}_growth_percent"] = round(100 * (after - before) / before, 2)
    seconds = samples[-1]["at"] - samples[0]["at"]
    cycles = samples[-1]["cycles"] - samples[0]["cycles"]
    return figures | {
        "minutes": round(seconds / 60, 1),
        "cycles": cycles,
        "cycles_per_s": round(cycles / seconds, 1),
        "readings": samples[-1]["readings"],
        "failed_readings": sum(samples[-1]["failures"].values()),
        "cpu_cores": round((samples[-1]["cpu_s"] - samples[0]["cpu_s"]) / seconds, 2),
    }


async def _make(api: KubeApi, kafka: SecureKafka, ports: dict[str, int]) -> list[str]:
    """All resources with their targets and Secrets; returns their names."""
    await kafka_admin.create_topics(kafka.bootstrap, [kafka_admin.Topic("records", PARTITIONS)])
    zero = {TopicPartition("records", p): 0 for p in range(PARTITIONS)}
    assert kafka.tokens is not None
    kafkas = kafka_failures(kafka.bootstrap, kafka.address("LOGIN"), kafka.tokens.url, ports)
    times = processing_failures(ports)
    login = {
        "bootstrapServers": kafka.address("LOGIN"),
        "tls": {"caSecretRef": {"name": "cluster-ca"}},
        "sasl": {"mechanism": "SCRAM-SHA-512", "credentialsSecretRef": {"name": "alice"}},
    }
    for name, data in {
        "cluster-ca": {"ca.crt": kafka.pem("ca.crt")},
        "alice": {"username": "alice", "password": "alice-secret"},
        "wrong": {"username": "alice", "password": "not-hers"},
        "refused-client": {"client-id": "nobody", "client-secret": "nothing"},
    }.items():
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        await api.call("POST", SECRETS, {"metadata": {"name": name}, "data": encoded})
    resources = [_resource(f"healthy-{i}", kafka.bootstrap, login if i % 2 else {}) for i in range(HEALTHY)]
    resources += [_resource(name, kafka.bootstrap, part) for name, part in kafkas.items()]
    resources += [_resource(name, kafka.bootstrap, {}, processingTime=part) for name, part in times.items()]
    names = [resource["metadata"]["name"] for resource in resources]
    await kafka_admin.commit_many(kafka.bootstrap, {name: zero for name in names if name in times or "healthy" in name})
    await create(api, DEPLOYMENTS.format(NAMESPACE), (deployment(name, 1) for name in names))
    await until_ready(api, NAMESPACE)
    await create(api, AUTOSCALERS.format(NAMESPACE), [*resources, _resource("no-target", kafka.bootstrap, {})])
    return [*names, "no-target"]


def _resource(name: str, bootstrap: str, kafka: Mapping[str, Any], **more: object) -> dict[str, Any]:
    source = {"bootstrapServers": bootstrap, "consumerGroup": name, "topics": ["records"], **kafka}
    return autoscaler(
        name,
        minReplicas=1,
        maxReplicas=2,
        sources=[{"kafka": source}],
        objective={"maxDelaySeconds": 60},
        scaling={"pollIntervalSeconds": DEFAULT_POLL_SECONDS},
        **more,
    )


async def _traffic(kafka: SecureKafka) -> None:
    """A record for each partition each second, and commits that follow."""
    names = [f"healthy-{i}" for i in range(HEALTHY)]
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        for sent in itertools.count(1):
            for partition in range(PARTITIONS):
                await producer.send_and_wait("records", b"x", partition=partition)
            if sent % 10 == 0:
                done = {TopicPartition("records", p): sent - 5 for p in range(PARTITIONS)}
                await kafka_admin.commit_many(kafka.bootstrap, dict.fromkeys(names, done))
            await asyncio.sleep(1)


async def _come_and_go(api: KubeApi, bootstrap: str) -> None:
    """Resources with names of their own that live for some seconds; every third cannot be read."""
    path = AUTOSCALERS.format(NAMESPACE)
    for number in itertools.count():
        kafka = {"bootstrapServers": "127.0.0.1:1"} if number % 3 == 0 else {}
        name = f"guest-{number}"
        await api.call("POST", path, _resource(name, bootstrap, kafka))
        await asyncio.sleep(5)
        await api.call("DELETE", f"{path}/{name}")


async def _rotate(api: KubeApi, kafka: SecureKafka) -> None:
    """The CA's Secret changes in what it says beside the certificate: a new way in each time."""
    for number in itertools.count():
        text = f"# {number}\n{kafka.pem('ca.crt')}"
        data = {"ca.crt": base64.b64encode(text.encode()).decode()}
        await api.call("PATCH", f"{SECRETS}/cluster-ca", {"data": data}, content_type=MERGE_PATCH)
        await asyncio.sleep(10)


async def _reasons(api: KubeApi) -> dict[str, list[str]]:
    """Which reasons of `SourceHealthy` there are, with the resources that have them."""
    found: dict[str, list[str]] = {}
    try:
        items = (await api.call("GET", AUTOSCALERS.format(NAMESPACE)))["items"]
    except ApiError as error:
        say(f"resources cannot be listed: {error}")
        return found
    for item in items:
        for condition in (item.get("status") or {}).get("conditions", ()):
            if condition["type"] == "SourceHealthy":
                found.setdefault(condition["reason"], []).append(item["metadata"]["name"])
    return found


def _newest(file: Path) -> dict[str, Any] | None:
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    whole = [line for line in lines[-2:] if line.endswith("\n")]
    newest: dict[str, Any] | None = json.loads(whole[-1]) if whole else None
    return newest


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
