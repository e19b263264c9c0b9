"""Paused by annotations, and another autoscaler on the same target: the operator running, on a real API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration import keda_types
from tests.integration.site import Site
from tests.integration.support import Bed, eventually, operator_on

from bed.kubeapi import MERGE_PATCH

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

PREFIX = "consumerautoscaler.dev/"
HPAS = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"
SCALED_OBJECTS = "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects"


@pytest.fixture(scope="module")
async def served(bed: Bed) -> AsyncIterator[Bed]:
    """One operator, and KEDA's types beside ours."""
    await bed.aside(keda_types.install, bed.controlplane)
    try:
        async with operator_on(bed, name="rivals") as bed.operator:
            yield bed
    finally:
        await bed.aside(keda_types.remove, bed.controlplane)


async def annotate(site: Site, **values: str | None) -> None:
    annotations = {PREFIX + name.replace("_", "-"): value for name, value in values.items()}
    path = f"/apis/consumerautoscaler.dev/v1alpha1/namespaces/{site.name}/consumerautoscalers/scaler"
    await site.bed.api.call("PATCH", path, {"metadata": {"annotations": annotations}}, content_type=MERGE_PATCH)


async def ready(site: Site) -> tuple[str, str, str]:
    conditions = (await site.status()).get("conditions") or ()
    found = next((c for c in conditions if c["type"] == "Ready"), None)
    return (found["status"], found["reason"], found["message"]) if found else ("", "", "")


async def until_ready(site: Site, status: str, reason: str) -> str:
    """The message of Ready as soon as it says this."""

    async def said() -> str | None:
        is_status, is_reason, message = await ready(site)
        return message if (is_status, is_reason) == (status, reason) else None

    message = await eventually(said, 20)
    assert message is not None
    return message


async def events(site: Site) -> set[str]:
    found = await asyncio.to_thread(
        site.bed.controlplane.kubectl, "get", "events", "-n", site.name, "-o", "jsonpath={.items[*].reason}"
    )
    return set(found.split())


async def test_paused_holds_and_resumes(served: Bed) -> None:
    """Said in Ready and in Events; what waited meanwhile is scaled for as soon as it resumes."""
    site = await Site.open(served, "paused", committed=True)
    await site.until_read()
    await annotate(site, paused="true")
    message = await until_ready(site, "True", "Paused")
    assert "consumerautoscaler.dev/paused" in message
    assert "resume scaler" in message
    await site.produce(2, 2)
    await site.holds(0)
    await annotate(site, paused=None)
    await site.until_replicas(2)
    await until_ready(site, "True", "Working")
    await eventually(lambda: _has(site, {"Paused", "Resumed", "TargetScaledUp"}))


async def _has(site: Site, reasons: set[str]) -> bool:
    return reasons <= await events(site)


async def test_paused_replicas_is_kept(served: Bed) -> None:
    """The count is written once and put back when somebody else changes it."""
    site = await Site.open(served, "pinned", committed=True)
    await site.until_read()
    await annotate(site, paused_replicas="2")
    await site.until_replicas(2)
    await site.produce(9)
    await site.holds(2)
    await asyncio.to_thread(
        served.controlplane.kubectl, "scale", "deployment/consumers", "--replicas=4", "-n", site.name
    )
    await eventually(lambda: site.counts[-2:] == [4, 2])


async def test_a_paused_direction_holds_and_the_other_goes_on(served: Bed) -> None:
    site = await Site.open(served, "no-downs", committed=True)
    await site.until_read()
    await annotate(site, paused_scale_in="true")
    message = await until_ready(site, "True", "PartlyPaused")
    assert "does not scale" in message
    assert "down, by consumerautoscaler.dev/paused-scale-in" in message
    await site.produce(1, 1)
    await site.until_replicas(2)
    await site.commit(1, 1)
    await site.holds(2)
    decision = (await site.status())["decision"]
    assert decision["reason"] == "HoldPaused"
    await annotate(site, paused_scale_in="false")
    await site.until_replicas(0)


async def test_an_annotation_that_says_nothing_is_reported(served: Bed) -> None:
    site = await Site.open(served, "unsaid", committed=True)
    await site.until_read()
    await annotate(site, paused="yes")
    message = await until_ready(site, "False", "InvalidSpec")
    assert "metadata.annotations[consumerautoscaler.dev/paused]: must be 'true' or 'false', not 'yes'" in message
    await annotate(site, paused=None)
    await site.produce(1)
    await site.until_replicas(1)


def hpa(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, **metadata},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "consumers"},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [
                {
                    "type": "External",
                    "external": {"metric": {"name": "lag"}, "target": {"type": "AverageValue", "averageValue": "10"}},
                }
            ],
        },
    }


async def test_an_hpa_on_the_target_makes_it_hold_until_the_hpa_is_gone(served: Bed) -> None:
    """The other one is named, with the command that ends it; nothing is written meanwhile."""
    site = await Site.open(served, "rival-hpa", committed=True)
    await served.api.call("POST", HPAS.format(site.name), hpa("old"))
    message = await until_ready(site, "False", "Conflicted")
    assert f"HorizontalPodAutoscaler {site.name}/old scales the same target" in message
    assert f"kubectl delete hpa old -n {site.name}" in message
    await site.produce(3)
    await site.holds(0)
    await eventually(lambda: _has(site, {"ConflictingAutoscaler"}))
    await served.api.call("DELETE", HPAS.format(site.name) + "/old")
    await site.until_replicas(1)
    await until_ready(site, "True", "Working")
    await eventually(lambda: _has(site, {"ReadyAgain", "TargetScaledUp"}))
    told = await asyncio.to_thread(served.controlplane.kubectl, "describe", "cas/scaler", "-n", site.name)
    assert f"HorizontalPodAutoscaler {site.name}/old scales the same target; to end that: kubectl delete hpa" in told
    assert "from 0 to 1 replicas: lag 3 / 1 per replica; only 1 partition has lag" in told


async def test_a_scaled_object_is_named_and_not_the_hpa_that_keda_made_for_it(served: Bed) -> None:
    """A ScaledObject that is paused as KEDA understands it scales nothing, and is no conflict."""
    site = await Site.open(served, "rival-keda", committed=True)
    scaled = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "old"},
        "spec": {"scaleTargetRef": {"name": "consumers"}, "triggers": []},
    }
    made: dict[str, Any] = await served.api.call("POST", SCALED_OBJECTS.format(site.name), scaled)
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "old", "uid": made["metadata"]["uid"]}
    await served.api.call("POST", HPAS.format(site.name), hpa("keda-hpa-old", ownerReferences=[owner]))
    message = await until_ready(site, "False", "Conflicted")
    assert f"ScaledObject {site.name}/old" in message
    assert "autoscaling.keda.sh/paused=true" in message
    assert "keda-hpa" not in message

    await served.api.call("DELETE", HPAS.format(site.name) + "/keda-hpa-old")  # as KEDA does for a paused one
    pause = {"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}}
    await served.api.call("PATCH", SCALED_OBJECTS.format(site.name) + "/old", pause, content_type=MERGE_PATCH)
    await site.produce(3)
    await site.until_replicas(1)
    await until_ready(site, "True", "Working")


async def test_in_observe_the_other_one_is_only_said(served: Bed) -> None:
    site = await Site.open(served, "beside", committed=True, spec={"mode": "Observe"})
    await served.api.call("POST", HPAS.format(site.name), hpa("old"))

    async def said() -> bool:
        status, reason, message = await ready(site)
        return (status, reason) == ("True", "Observing") and f"HorizontalPodAutoscaler {site.name}/old" in message

    await eventually(said)


async def test_without_the_right_to_list_them_it_works_and_says_so_in_its_log(served: Bed) -> None:
    """A role of an earlier version: no conflict can be seen then, and nothing else is different."""
    role = json.loads(
        await asyncio.to_thread(served.controlplane.kubectl, "get", "clusterrole", "consumer-autoscaler", "-o", "json")
    )
    rules = role["rules"]
    role["rules"] = [r for r in rules if not {"autoscaling", "keda.sh"} & set(r["apiGroups"])]
    await asyncio.to_thread(served.controlplane.kubectl, "replace", "-f", "-", input=json.dumps(role))
    try:
        site = await Site.open(served, "blind", committed=True, resource=False)
        await served.api.call("POST", HPAS.format(site.name), hpa("old"))
        flags = ("--namespaces", site.name, "--lease-name", site.name)
        await asyncio.sleep(1)  # the API server's authorizer hears of the role by a watch
        async with operator_on(served, *flags, name="blind") as operator:
            log = operator.process.log_tail(80)
            assert log.count("rivals=unseen kind=HorizontalPodAutoscaler") == 1
            assert "no right to list and watch them" in log
    finally:
        role["rules"] = rules
        role["metadata"].pop("resourceVersion", None)
        await asyncio.to_thread(served.controlplane.kubectl, "replace", "-f", "-", input=json.dumps(role))
