"""`spec.alerts` on real parts: a real group whose lag goes over 10,000 and comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.integration.site import Site, members
from tests.integration.support import Bed, Together, command_line, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]

together = Together()

ALERTS = [
    {"name": "far-behind", "lagMessages": 10_000, "forSeconds": 2},
    {"name": "very-far-behind", "lagMessages": 1_000_000},
]
ONE_REPLICA: dict[str, Any] = {"minReplicas": 1, "maxReplicas": 1, "objective": {"lagPerReplica": 1_000_000}}


async def series(bed: Bed, site: Site) -> dict[str, str]:
    """The values of `alert_firing` by alert."""
    _, page = await asyncio.to_thread(bed.operator.get, "/metrics")
    begin, end = 'consumer_autoscaler_alert_firing{alert="', f'",name="scaler",namespace="{site.name}"}} '
    lines = [line.removeprefix(begin) for line in page.splitlines() if line.startswith(begin) and end in line]
    return dict(line.split(end) for line in lines)


async def events(bed: Bed, site: Site) -> dict[str, tuple[str, str, int]]:
    """Type, note and count of the Events about the resource, by their reason."""
    answer = await bed.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{site.name}/events")
    return {
        e["reason"]: (e["type"], e["note"], int((e.get("series") or {}).get("count") or 1))
        for e in answer["items"]
        if e["regarding"]["kind"] == "ConsumerAutoscaler"
    }


@together
async def test_a_lag_over_ten_thousand_reaches_condition_event_metric_and_command_line(bed: Bed) -> None:
    """And all of them see it go when real consumers have caught up."""
    site = await Site.open(bed, "alerts", replicas=1, spec={**ONE_REPLICA, "alerts": ALERTS}, committed=True)
    await site.until_condition("AlertFiring", "False", "WithinThresholds")
    assert await eventually(lambda: series(bed, site)) == {"far-behind": "0.0", "very-far-behind": "0.0"}

    await site.produce(4_000, 4_000, 4_000)
    message = await site.until_condition("AlertFiring", "True", "ThresholdCrossed")
    assert message.startswith("far-behind: the lag is 12000 messages, more than 10000 messages since 20")
    status = await site.status()
    assert [alert["name"] for alert in status["alerts"]] == ["far-behind"]
    assert status["alerts"][0]["sinceTime"] in message
    assert await series(bed, site) == {"far-behind": "1.0", "very-far-behind": "0.0"}
    told = await eventually(lambda: _told(bed, site, "AlertFiring"))
    assert told == ("Warning", message, 1)
    config = str(bed.controlplane.kubeconfig)
    _, table, _ = await command_line("status", "-n", site.name, "-o", "wide", "--kubeconfig", config)
    assert "far-behind" in table
    _, screen, _ = await command_line("explain", f"{site.name}/scaler", "--kubeconfig", config)
    assert f"Alerts     far-behind since {status['alerts'][0]['sinceTime']}" in screen
    wide = await asyncio.to_thread(bed.controlplane.kubectl, "get", "cas", "scaler", "-n", site.name, "-o", "wide")
    assert "ALERT" in wide.splitlines()[0]

    async with members(site, commit=True, least=1):
        await site.until_condition("AlertFiring", "False", "WithinThresholds", within_seconds=60)
    kind, note, _ = await eventually(lambda: _told(bed, site, "AlertResolved"))
    assert kind == "Normal"
    assert note.startswith("far-behind: resolved; no alert: the lag is ")
    assert "alerts" not in await site.status()
    assert await series(bed, site) == {"far-behind": "0.0", "very-far-behind": "0.0"}
    assert (await events(bed, site))["AlertFiring"][2] == 1


async def _told(bed: Bed, site: Site, reason: str) -> tuple[str, str, int] | None:
    return (await events(bed, site)).get(reason)


@together
async def test_an_alert_goes_with_its_entry_in_the_spec(bed: Bed) -> None:
    """Condition, status and series are gone, and an Event says so."""
    site = await Site.open(bed, "removed", replicas=1, spec={**ONE_REPLICA, "alerts": ALERTS[:1]}, committed=True)
    await site.produce(4_000, 4_000, 4_000)
    await site.until_condition("AlertFiring", "True", "ThresholdCrossed")
    await site.patch_scaler({"alerts": []})
    kind, note, _ = await eventually(lambda: _told(bed, site, "AlertResolved"))
    assert (kind, note) == ("Normal", "far-behind: resolved; the spec has no alerts any more")
    assert await site.condition("AlertFiring") == {}
    assert "alerts" not in await site.status()
    assert await series(bed, site) == {}
