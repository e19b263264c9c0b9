"""The operator as people meet it: conditions, columns, Events, `explain`, its pages, edits of the spec."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.integration.site import Site, members
from tests.integration.support import Bed, Together, command_line, eventually

from bed import pki
from bed.controlplane import ControlPlane
from consumer_autoscaler.decision.bundle import load
from consumer_autoscaler.decision.decide import decide

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]

together = Together()


async def kubectl(bed: Bed, *arguments: str) -> str:
    return await asyncio.to_thread(bed.controlplane.kubectl, *arguments)


async def events_of(bed: Bed, site: Site, kind: str) -> dict[str, str]:
    """The notes of the Events about the site's object of this kind, by their reason."""
    answer = await bed.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{site.name}/events")
    return {e["reason"]: e["note"] for e in answer["items"] if e["regarding"]["kind"] == kind}


async def at_the_partition_limit(bed: Bed, label: str) -> Site:
    """A site at rest: three replicas, as many as partitions, with more lag than they should have."""
    site = await Site.open(bed, label)
    await site.until_read()
    await site.produce(3, 2, 2)
    await site.until_replicas(3)
    await eventually(lambda: bed.witness.ready[site.name] == 3)
    return site


def reader_account(controlplane: ControlPlane, namespace: str, name: str, *verbs: str) -> str:
    """The token of an account that has these verbs on our resources of its namespace and no other right."""
    controlplane.kubectl("create", "serviceaccount", name, "-n", namespace)
    if verbs:
        what = ("--verb", ",".join(verbs), "--resource", "consumerautoscalers.consumerautoscaler.dev")
        controlplane.kubectl("create", "role", name, "-n", namespace, *what)
        account = f"--serviceaccount={namespace}:{name}"
        controlplane.kubectl("create", "rolebinding", name, "-n", namespace, f"--role={name}", account)
    return controlplane.kubectl("create", "token", name, "-n", namespace).strip()


def kubeconfig_with(controlplane: ControlPlane, token: str, name: str) -> Path:
    ca = controlplane.folder / "pki" / "ca.crt"
    path = controlplane.folder / "kubeconfigs" / f"{name}.yaml"
    return pki.write_kubeconfig(path, server=controlplane.server, ca=ca, user={"token": token})


@together
async def test_a_scaling_is_shown_everywhere(bed: Bed) -> None:
    """Conditions, numbers and columns say what was done; Events on the resource and on its target say why."""
    site = await at_the_partition_limit(bed, "shown")
    await site.until_condition("ScalingLimited", "True", "PartitionLimit")
    status = await site.status()
    conditions = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    assert conditions["Ready"] == ("True", "Working")
    assert conditions["SourceHealthy"] == ("True", "Valid")
    assert conditions["AbleToScale"] == ("True", "ReadyForNewScale")
    assert conditions["PromiseKept"] == ("Unknown", "NoPromise")
    assert set(conditions) == {
        "Ready",
        "SourceHealthy",
        "AbleToScale",
        "ScalingLimited",
        "Backpressured",
        "PromiseKept",
    }
    assert {c["observedGeneration"] for c in status["conditions"]} == {1}
    assert (status["replicas"]["current"], status["replicas"]["desired"]) == (3, 3)
    assert (status["lag"]["messages"], status["lag"]["partitionsWithLag"]) == (7, 3)
    assert "lastScaleTime" in status

    columns = (await kubectl(bed, "get", "cas", "scaler", "-n", site.name)).splitlines()
    shown = dict(zip(columns[0].split(), columns[1].split(), strict=True))
    assert shown["TARGET"] == "consumers"
    assert shown["GROUP"] == site.name
    assert (shown["CURRENT"], shown["DESIRED"], shown["LAG"], shown["READY"]) == ("3", "3", "7", "True")
    await kubectl(bed, "wait", "--for=condition=Ready", "cas/scaler", "-n", site.name, "--timeout=10s")

    note = "from 0 to 3 replicas: lag 7 / 1 per replica"
    for kind in ("ConsumerAutoscaler", "Deployment"):
        events = await eventually(lambda kind=kind: events_of(bed, site, kind))
        assert events["TargetScaledUp"].startswith(note)
    for described in ("cas/scaler", "deployment/consumers"):
        text = await kubectl(bed, "describe", described, "-n", site.name)
        assert "TargetScaledUp" in text, described
        assert note in text, described


@together
async def test_explain_needs_no_more_than_the_right_to_read(bed: Bed) -> None:
    """From the status: what is asked for, the numbers, each step to the decision, the conditions."""
    site = await at_the_partition_limit(bed, "explained")
    await site.until_condition("ScalingLimited", "True", "PartitionLimit")
    token = await asyncio.to_thread(reader_account, bed.controlplane, site.name, "reader", "get")
    config = str(kubeconfig_with(bed.controlplane, token, site.name))
    code, out, err = await command_line("explain", f"{site.name}/scaler", "--kubeconfig", config)
    assert (code, err) == (0, "")
    assert "Scales     Deployment consumers, 0 to 10 replicas, mode Active" in out
    assert "Objective  1 messages of lag per replica" in out
    assert "7 messages" in out
    assert "lag 7 / 1 per replica" in out
    assert "3 partitions can keep 3 replicas busy" in out

    code, out, _ = await command_line("explain", f"{site.name}/scaler", "--kubeconfig", config, "--json")
    assert json.loads(out)["lag"]["messages"] == 7
    code, _, err = await command_line("explain", f"{site.name}/nobody", "--kubeconfig", config)
    assert code == 1
    assert f"there is no ConsumerAutoscaler {site.name}/nobody" in err


@together
async def test_explain_live_is_for_those_who_may_read_the_resource(bed: Bed) -> None:
    """The operator asks the API server who shows the token, and whether that user may `get` the resource."""
    site = await at_the_partition_limit(bed, "live")
    operator = bed.operator
    assert operator is not None
    may = await asyncio.to_thread(reader_account, bed.controlplane, site.name, "may", "get")
    may_not = await asyncio.to_thread(reader_account, bed.controlplane, site.name, "may-not", "list")
    live = ("explain", f"{site.name}/scaler", "--live", "--operator", f"http://127.0.0.1:{operator.port}")

    code, out, err = await command_line(*live, token=may)
    assert (code, err) == (0, "")
    assert "Decision   AtDemand: lag 7 / 1 per replica" in out
    code, out, err = await command_line(*live, token=may_not)
    assert (code, out) == (1, "")
    assert "403" in err
    assert f"system:serviceaccount:{site.name}:may-not may not get" in err
    code, out, err = await command_line(*live, token="garbage")
    assert (code, out) == (1, "")
    assert "401" in err
    assert await asyncio.to_thread(operator.get, f"/explain/{site.name}/scaler") == (
        401,
        "a Kubernetes bearer token is needed",
    )


@together
async def test_a_live_bundle_reproduces_the_decision(bed: Bed) -> None:
    """What `explain --live --json` prints, given to decide(), is the decision that the status shows."""
    site = await at_the_partition_limit(bed, "bundle")
    token = await asyncio.to_thread(reader_account, bed.controlplane, site.name, "may", "get")
    live = ("explain", f"{site.name}/scaler", "--live", "--operator", f"http://127.0.0.1:{bed.operator.port}")

    async def at_rest() -> bool:
        decision = (await site.status())["decision"]
        return bool(decision["reason"] == "AtDemand")

    await eventually(at_rest)
    code, out, err = await command_line(*live, "--json", token=token)
    assert (code, err) == (0, "")
    bundle = load(json.loads(out))
    decision = decide(bundle.policy, bundle.observation, bundle.history, bundle.now)
    status = await site.status()
    assert decision.desired == status["replicas"]["desired"] == 3
    assert decision.reason == status["decision"]["reason"]
    assert decision.message == status["decision"]["message"]
    steps = [{"name": s.name, "replicas": s.replicas, "message": s.message} for s in decision.steps]
    assert steps == status["decision"]["steps"]
    shown = {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}
    assert {c.type.value: (c.status, c.reason, c.message) for c in decision.conditions}.items() <= shown.items()


@together
async def test_observe_and_paused_write_nothing(bed: Bed) -> None:
    """Observe shows what it would do, Paused only what it sees; Active then does it."""
    observed, paused = await asyncio.gather(
        Site.open(bed, "observe", spec={"mode": "Observe"}), Site.open(bed, "paused", spec={"mode": "Paused"})
    )
    await observed.until_condition("Ready", "True", "Observing")
    await paused.until_condition("Ready", "True", "Paused")
    await asyncio.gather(observed.produce(1, 1, 1), paused.produce(1, 1, 1))

    async def sees_the_lag(site: Site) -> bool:
        return bool((await site.status()).get("lag", {}).get("messages") == 3)

    async def shows(site: Site, desired: int) -> bool:
        return bool((await site.status()).get("replicas", {}).get("desired") == desired)

    await eventually(lambda: shows(observed, 3))
    assert await sees_the_lag(observed)
    await asyncio.gather(observed.holds(0), paused.holds(0))
    assert (await paused.status())["decision"]["reason"] == "Paused"
    assert await asyncio.to_thread(observed.scale_writes) == await asyncio.to_thread(paused.scale_writes) == []

    await asyncio.gather(observed.patch_scaler({"mode": "Active"}), paused.patch_scaler({"mode": "Active"}))
    await asyncio.gather(observed.until_replicas(3), paused.until_replicas(3))
    assert "Resumed" in await eventually(lambda: _events_with(bed, paused, "Resumed"))


async def _events_with(bed: Bed, site: Site, reason: str) -> dict[str, str]:
    events = await events_of(bed, site, "ConsumerAutoscaler")
    return events if reason in events else {}


@together
async def test_edited_limits_count_at_once_and_a_reverted_edit_leads_back(bed: Bed) -> None:
    """No cooldown holds up a limit that the user has set; without it the demand decides as before."""
    slow = {"scaleDown": {"cooldownSeconds": 600}}
    site = await Site.open(bed, "edited", scaling=slow, spec={"minReplicas": 1}, replicas=1)
    async with members(site):
        await site.until_read()
        await site.produce(1, 1, 1)
        await site.until_replicas(3)
        await eventually(lambda: bed.witness.ready[site.name] == 3)
        await site.patch_scaler({"maxReplicas": 2})
        await site.until_replicas(2, within_seconds=4)
        events = await eventually(lambda: _events_with(bed, site, "LimitsEnforced"))
        assert "3 is outside of minReplicas and maxReplicas" in events["LimitsEnforced"]
        await site.patch_scaler({"maxReplicas": 10})
        await site.until_replicas(3)
        await site.patch_scaler({"minReplicas": 5})
        await site.until_replicas(5, within_seconds=4)
        await site.until_condition("ScalingLimited", "True", "MinReplicas")
    assert site.counts == [1, 3, 2, 3, 5]
    assert (await site.status())["observedGeneration"] == 4


@together
async def test_of_two_resources_on_one_target_the_older_one_scales(bed: Bed) -> None:
    """The younger says who has the target, and writes nothing; when the older one goes it takes over."""
    site = await Site.open(bed, "conflict")
    await asyncio.sleep(1.1)  # creation times have whole seconds
    await site.create_scaler(name="younger", spec={"objective": {"lagPerReplica": 2}})
    message = await site.until_condition("Ready", "False", "Conflicted", name="younger")
    assert message.startswith("scaler is older")
    await site.until_condition("Ready", "True", "Working")
    await site.produce(1, 1, 1)
    await site.until_replicas(3)
    await site.holds(3, polls=4)
    assert site.counts == [0, 3]
    await site.delete_scaler()
    await site.until_condition("Ready", "True", "Working", name="younger")


@together
async def test_a_count_that_somebody_else_sets_is_respected(bed: Bed) -> None:
    """It is told in an Event, and the cooldown begins with it instead of a war."""
    site = await Site.open(
        bed, "by-hand", replicas=1, scaling={"scaleUp": {"cooldownSeconds": 600}}, spec={"minReplicas": 1}
    )
    async with members(site):
        await site.until_read()
        await kubectl(bed, "scale", "deployment/consumers", "--replicas=2", "-n", site.name)
        events = await eventually(lambda: _events_with(bed, site, "ExternalScaleDetected"))
        assert "from 1 to 2 replicas" in events["ExternalScaleDetected"]
        await eventually(lambda: bed.witness.ready[site.name] == 2)
        await site.produce(1, 1, 1)
        await site.until_condition("ScalingLimited", "True", "Cooldown")
        await site.holds(2)
    assert site.counts == [1, 2]


@together
async def test_series_live_as_long_as_their_resource(bed: Bed) -> None:
    """/metrics shows a resource's numbers while it is there; /healthz and /readyz say that all is well."""
    site = await at_the_partition_limit(bed, "series")
    label = f'name="scaler",namespace="{site.name}"'

    async def page() -> str:
        code, text = await asyncio.to_thread(bed.operator.get, "/metrics")
        assert code == 200
        return text

    for series in (
        f"consumer_autoscaler_lag_records{{{label}}} 7.0",
        f"consumer_autoscaler_partitions{{{label}}} 3.0",
        f"consumer_autoscaler_status_current_replicas{{{label}}} 3.0",
        f"consumer_autoscaler_status_ready_replicas{{{label}}} 3.0",
        f'consumer_autoscaler_scale_total{{direction="up",{label}}} 1.0',
        f'consumer_autoscaler_status_condition{{condition="Ready",reason="Working",{label}}} 1.0',
        f'consumer_autoscaler_status_condition{{condition="ScalingLimited",reason="PartitionLimit",{label}}} 1.0',
        f'consumer_autoscaler_info{{group="{site.name}",target="consumers",target_kind="Deployment",{label}}} 1.0',
        'consumer_autoscaler_source_request_duration_seconds_bucket{source="kafka",result="ok",le="+Inf"}',
        'consumer_autoscaler_kube_request_duration_seconds_count{verb="patch"}',
        "consumer_autoscaler_operator_health_status 0.0",
        f'consumer_autoscaler_managed_resources{{namespace="{site.name}"}} 1.0',
        "consumer_autoscaler_operator_leader 1.0",
    ):

        async def shown(series: str = series) -> bool:
            return series in await page()

        await eventually(shown, 10, lambda series=series: series)
    assert await asyncio.to_thread(bed.operator.get, "/healthz") == (200, "ok")
    assert await asyncio.to_thread(bed.operator.get, "/readyz") == (200, "working")
    await site.delete_scaler()

    async def gone() -> bool:
        return f'namespace="{site.name}"' not in await page()

    await eventually(gone, 10)
