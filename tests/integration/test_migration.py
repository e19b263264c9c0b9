"""docs/migration.md, its commands executed as they are printed, and all that `convert` makes, given to the API server.

KEDA's types are served, and KEDA itself is played by the test: it makes the HPA of a ScaledObject and takes it away
when that is paused. The operator is real, and so are kubectl, the HPAs and the broker.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration import keda_types
from tests.integration.site import Site, members
from tests.integration.support import Bed, eventually, operator_on
from tests.integration.test_kubectl_plugin import Kubectl
from tests.unit.convert_samples import CONVERTED, HPAS, Sample, external, hpa

from bed.kubeapi import MERGE_PATCH
from bed.paths import REPOSITORY
from consumer_autoscaler.convert.documents import Documents
from consumer_autoscaler.convert.everything import convert_all
from consumer_autoscaler.convert.hpa import Stream
from pages.blocks import blocks

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

PAGE = REPOSITORY / "docs" / "migration.md"
READERS_OWN = "export NAMESPACE=shop\n"
HPA_PATH = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/{}"
SCALED_PATH = "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects/payments"


@pytest.fixture(scope="module")
async def served(bed: Bed) -> AsyncIterator[Bed]:
    await bed.aside(keda_types.install, bed.controlplane)
    try:
        async with operator_on(bed, name="migration") as bed.operator:
            yield bed
    finally:
        await bed.aside(keda_types.remove, bed.controlplane)


class Shell:
    """Executes the blocks of the page one by one, in one folder, as the reader's administrator."""

    def __init__(self, bed: Bed, site: Site, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **Kubectl(folder, bed.controlplane.kubeconfig).environment,
            "NAMESPACE": site.name,
            "KAFKA": site.kafka.bootstrap,
        }

    async def __call__(self, block: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run, ["bash", "-euo", "pipefail", "-c", block], cwd=self._folder, env=self._environment,
            timeout=120, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


async def ready(site: Site, name: str) -> tuple[str, str]:
    condition = await site.condition("Ready", name)
    return str(condition.get("reason")), str(condition.get("message"))


async def until_said(site: Site, name: str, reason: str, words: str) -> None:
    async def said() -> bool:
        seen, message = await ready(site, name)
        return seen == reason and words in message

    await eventually(said, 30)


async def play_keda(bed: Bed, site: Site) -> None:
    """The HPA of the ScaledObject: there while it is, gone while it is paused. For ever."""
    made = hpa()
    made["metadata"] = {"name": "keda-hpa-payments"}
    made["spec"]["scaleTargetRef"]["name"] = "consumers"
    while True:
        found = await asyncio.to_thread(
            bed.controlplane.try_kubectl, "get", "scaledobject", "payments", "-n", site.name, "-o", "json"
        )
        body = json.loads(found.stdout) if found.returncode == 0 else None
        annotations = (body or {}).get("metadata", {}).get("annotations") or {}
        wanted = body is not None and "autoscaling.keda.sh/paused" not in annotations
        there = await asyncio.to_thread(
            bed.controlplane.try_kubectl, "get", "hpa", "keda-hpa-payments", "-n", site.name
        )
        if wanted and there.returncode:
            assert body is not None
            owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "payments"}
            made["metadata"]["ownerReferences"] = [{**owner, "uid": body["metadata"]["uid"]}]
            await bed.api.call("POST", HPA_PATH.format(site.name, "").rstrip("/"), made)
        elif not wanted and not there.returncode:
            await bed.api.call("DELETE", HPA_PATH.format(site.name, "keda-hpa-payments"))
        await asyncio.sleep(0.3)


async def test_from_a_scaled_object_beside_it_in_its_place_back_and_for_good(served: Bed, tmp_path: Path) -> None:
    """Nothing is scaled twice: the operator writes only while the ScaledObject is paused or gone."""
    own, beside, switch, back, for_good, *_ = blocks(PAGE, "sh")
    assert own == READERS_OWN
    site = await Site.open(served, "keda", committed=True, replicas=1, resource=False)
    scaled = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "payments"},
        "spec": {
            "scaleTargetRef": {"name": "consumers"},
            "pollingInterval": 1,
            "minReplicaCount": 1,
            "triggers": [
                {
                    "type": "kafka",
                    "metadata": {
                        "bootstrapServers": site.kafka.bootstrap,
                        "consumerGroup": site.name,
                        "topic": site.topics[0],
                        "lagThreshold": "1",
                    },
                }
            ],
        },
    }
    await served.api.call("POST", SCALED_PATH.format(site.name).removesuffix("/payments"), scaled)
    keda = asyncio.create_task(play_keda(served, site))
    try:
        async with members(site, least=1):
            run = Shell(served, site, tmp_path)
            seen = await run(beside)
            assert "ScaledObject " in seen
            assert "1 of 1 converted" in seen
            await until_said(site, "payments", "Observing", f"ScaledObject {site.name}/payments")
            await site.produce(1, 1, 1)
            await eventually(lambda: _desired(site, 3))
            await site.holds(1, polls=3)  # it only observes

            await run(switch)
            await site.until_replicas(3)

            await run(back)
            await until_said(site, "payments", "Paused", f"ScaledObject {site.name}/payments")
            await served.api.call(  # what KEDA does then, the operator leaves alone
                "PATCH", f"/apis/apps/v1/namespaces/{site.name}/deployments/consumers/scale", {"spec": {"replicas": 2}},
                content_type=MERGE_PATCH,
            )  # fmt: skip
            await site.until_replicas(2)
            await site.holds(2, polls=3)

            await run(for_good)
            await site.until_replicas(3)
            assert not keda.done(), keda.exception()
    finally:
        keda.cancel()
        await asyncio.wait([keda])


async def _desired(site: Site, count: int) -> bool:
    replicas = (await site.status("payments")).get("replicas") or {}
    return bool(replicas.get("desired") == count)


async def test_from_an_hpa_and_back(served: Bed, tmp_path: Path) -> None:
    """The HPA is really there, and comes back from the manifest that was kept."""
    *_, beside, switch, back = blocks(PAGE, "sh")
    site = await Site.open(served, "hpa", committed=True, replicas=1, resource=False)
    body = hpa(external(labels={"consumergroup": site.name, "topic": site.topics[0]}))
    body["metadata"] = {"name": "orders", "namespace": site.name}
    await asyncio.to_thread(served.controlplane.kubectl, "apply", "-f", "-", input=json.dumps(body))
    run = Shell(served, site, tmp_path)

    assert "kafka_consumergroup_lag is read from the brokers instead" in await run(beside)
    await until_said(site, "orders", "Observing", f"HorizontalPodAutoscaler {site.name}/orders")
    await run(switch)
    await until_said(site, "orders", "Working", "scales deployment")
    await run(back)
    await until_said(site, "orders", "Paused", f"HorizontalPodAutoscaler {site.name}/orders")
    await asyncio.to_thread(served.controlplane.kubectl, "get", "hpa", "orders", "-n", site.name)
    assert site.counts == [1]


async def test_what_is_converted_is_accepted_by_the_api_server(served: Bed) -> None:
    """All samples, by a server-side dry run: the CRD's schema and its rules say yes to each."""
    site = await Site.open(served, "accepted", topics=0, replicas=None, resource=False)
    samples: list[Sample] = [*CONVERTED, *HPAS]
    bodies: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        (result,) = convert_all(Documents(sample.objects, "shop"), Stream("kafka:9092"))
        assert result.body is not None
        bodies.append({**result.body, "metadata": {**result.body["metadata"], "name": f"s{number}"}})
        bodies[-1]["metadata"]["namespace"] = site.name
    many = json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies})
    said = await asyncio.to_thread(
        served.controlplane.kubectl, "create", "--dry-run=server", "--validate=strict", "-f", "-", input=many
    )
    assert said.count("created (server dry run)") == len(samples)


async def test_from_the_cluster_secrets_are_read_on_demand_only(served: Bed, tmp_path: Path) -> None:
    """The mechanism stands in a Secret: refused without --read-secrets, converted with it; no password is shown."""
    site = await Site.open(served, "secrets", topics=0, replicas=None, resource=False)
    kubectl = served.controlplane.kubectl
    literals = [f"--from-literal={k}={v}" for k, v in {"sasl": "scram_sha512", "user": "a", "pass": "hunter2"}.items()]
    await asyncio.to_thread(kubectl, "create", "secret", "generic", "kafka", *literals, "-n", site.name)
    targets = [
        {"parameter": p, "name": "kafka", "key": k}
        for p, k in (("sasl", "sasl"), ("username", "user"), ("password", "pass"))
    ]
    metadata = {"bootstrapServers": "kafka:9092", "consumerGroup": "g", "topic": "t", "tls": "enable"}
    for kind, name, spec in (
        ("TriggerAuthentication", "auth", {"secretTargetRef": targets}),
        ("ScaledObject", "payments", {
            "scaleTargetRef": {"name": "consumers"},
            "triggers": [{"type": "kafka", "metadata": metadata, "authenticationRef": {"name": "auth"}}],
        }),
    ):  # fmt: skip
        body = {"apiVersion": "keda.sh/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        await asyncio.to_thread(kubectl, "apply", "-n", site.name, "-f", "-", input=json.dumps(body))
    run = Kubectl(tmp_path, served.controlplane.kubeconfig)

    code, out, err = await run("convert", "-n", site.name)
    assert (code, out) == (1, "")
    assert "--read-secrets" in err
    code, out, err = await run("convert", "-n", site.name, "--read-secrets")
    assert code == 0, err
    assert "mechanism: SCRAM-SHA-512" in out
    assert "hunter2" not in out + err
    code, _, err = await run("convert", "-n", site.name, "--name", "nobody")
    assert code == 1
    code, _, err = await run("convert", "-f", "/nowhere.yaml")
    assert code == 2
    assert "/nowhere.yaml cannot be read" in err
