"""How the operator starts, stands by and ends; each test has operators of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.integration.site import Site, own_lease
from tests.integration.support import Bed, Together, command_line, eventually, operator_on

from bed.controlplane import ControlPlane
from bed.operator import NAMESPACE, SERVICE_ACCOUNT, Operator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

together = Together()
STOP_SECONDS = 2.0


@together
async def test_a_standby_is_ready_and_takes_over_when_the_leader_ends_in_order(bed: Bed) -> None:
    """Both end with 0 within two seconds of SIGTERM; the Lease is handed over, not waited for."""
    site = await Site.open(bed, "standby")
    flags = (*own_lease(site), "--lease-duration-seconds", "15")
    async with (
        operator_on(bed, *flags, name="standby-a") as leader,
        operator_on(bed, *flags, name="standby-b", working=False) as standby,
    ):
        await eventually(lambda: asyncio.to_thread(_is_standby, standby))
        assert await asyncio.to_thread(standby.get, "/healthz") == (200, "ok")
        await site.until_read()
        assert await asyncio.to_thread(_shows_resources, leader)
        assert not await asyncio.to_thread(_shows_resources, standby)
        assert await _stopped(leader) == 0
        await site.produce(1)
        await site.until_replicas(1, within_seconds=10)
        assert await asyncio.to_thread(_shows_resources, standby)
        assert await _stopped(standby) == 0
    assert len(await asyncio.to_thread(site.scale_writes)) == 1


def _is_standby(operator: Operator) -> bool:
    return operator.get("/readyz") == (200, "standby")


def _shows_resources(operator: Operator) -> bool:
    """Only one process may, or Prometheus adds up what is one thing."""
    _, page = operator.get("/metrics")
    leads, shows = "consumer_autoscaler_operator_leader 1.0" in page, "consumer_autoscaler_info{" in page
    assert leads == shows
    return shows


async def _stopped(operator: Operator) -> int | None:
    """SIGTERM; the exit status if it ends within the two seconds that are promised."""
    begin = time.monotonic()
    operator.process.send(signal.SIGTERM)
    await eventually(lambda: operator.process.returncode is not None, 10)
    took = time.monotonic() - begin
    assert took <= STOP_SECONDS, f"took {took:.1f} s to stop"
    assert "never retrieved" not in operator.process.log_tail(200)
    return operator.process.returncode


@together
async def test_an_alert_that_fires_goes_on_over_a_restart(bed: Bed) -> None:
    """Since the same time, without being resolved and raised anew; it is resolved by the first lag that says so."""
    alert = {"name": "far-behind", "lagMessages": 100, "forSeconds": 5}
    spec = {"minReplicas": 1, "maxReplicas": 1, "objective": {"lagPerReplica": 1_000}, "alerts": [alert]}
    site = await Site.open(bed, "restart", replicas=1, spec=spec, committed=True)
    await site.produce(200, 200, 200)
    flags = own_lease(site)
    async with operator_on(bed, *flags, name="restart-a") as first:
        await site.until_condition("AlertFiring", "True", "ThresholdCrossed")
        before = (await site.status())["alerts"]
        assert await _stopped(first) == 0
    async with operator_on(bed, *flags, name="restart-b") as second:
        series = f'alert_firing{{alert="far-behind",name="scaler",namespace="{site.name}"}} '
        await eventually(lambda: asyncio.to_thread(lambda: f"{series}1.0" in second.get("/metrics")[1]))
        await asyncio.sleep(2)  # more than a reading
        assert (await site.status())["alerts"] == before
        assert (await site.condition("AlertFiring"))["status"] == "True"
        await site.commit(200, 200, 200)
        await site.until_condition("AlertFiring", "False", "WithinThresholds")
        assert "alerts" not in await site.status()

        async def told() -> bool:
            answer = await bed.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{site.name}/events")
            reasons = [e["reason"] for e in answer["items"] for _ in range((e.get("series") or {}).get("count") or 1)]
            assert reasons.count("AlertFiring") == 1
            return reasons.count("AlertResolved") == 1

        await eventually(told)


@together
async def test_a_missing_right_is_named_at_the_start(bed: Bed) -> None:
    """Without one verb the operator ends with 1 and says which, instead of failing in silence later."""
    config = await asyncio.to_thread(_account_without_scale_patch, bed.controlplane)
    arguments = ("--kubeconfig", str(config), "--port", "0", "--listen-host", "127.0.0.1")
    code, _, err = await command_line("run", *arguments, "--lease-namespace", NAMESPACE, "--lease-name", "unfit")
    assert code == 1
    assert "missing rights" in err
    assert "patch deployments/scale.apps in all namespaces" in err
    assert "get deployments/scale" not in err
    assert "Traceback" not in err


def _account_without_scale_patch(controlplane: ControlPlane) -> Path:
    """An account with the shipped role but for one verb."""
    name = "unfit"
    role: dict[str, Any] = json.loads(controlplane.kubectl("get", "clusterrole", SERVICE_ACCOUNT, "-o", "json"))
    role["metadata"] = {"name": name}
    for rule in role["rules"]:
        if "deployments/scale" in rule["resources"]:
            rule["verbs"] = ["get"]
    controlplane.kubectl("apply", "-f", "-", input=json.dumps(role))
    controlplane.kubectl("create", "serviceaccount", name, "-n", NAMESPACE)
    account = f"--serviceaccount={NAMESPACE}:{name}"
    controlplane.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", account)
    return controlplane.kubeconfig_for(NAMESPACE, name)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_thousand_resources_do_not_hold_up_the_end(bed: Bed) -> None:
    """Two seconds are enough with 1,000 resources, open connections to the broker and to a scraper."""
    site = await Site.open(bed, "thousand")
    places = asyncio.Semaphore(20)

    async def create(number: int) -> None:
        async with places:
            await site.create_scaler(name=f"scaler-{number}", kafka={"consumerGroup": f"{site.name}-{number}"})

    await asyncio.gather(*(create(number) for number in range(999)))
    async with operator_on(bed, *own_lease(site), name="thousand") as operator:

        async def all_read() -> bool:
            _, page = await asyncio.to_thread(operator.get, "/metrics", 30)
            return page.count("\nconsumer_autoscaler_last_successful_poll_timestamp_seconds{") == 1000

        await eventually(all_read, 120)
        assert await _stopped(operator) == 0
