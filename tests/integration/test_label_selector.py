"""Two operators that share the resources of a cluster by their labels, on a real API server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from tests.integration.site import SCALERS, Site, members
from tests.integration.support import Bed, command_line, eventually, operator_on

from bed.kubeapi import MERGE_PATCH
from bed.operator import NAMESPACE, Operator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@dataclass(frozen=True, slots=True)
class Shards:
    """One operator for `shard=a`, one for `shard=b`."""

    bed: Bed
    a: Operator
    b: Operator


@pytest.fixture(scope="module")
async def shards(bed: Bed) -> AsyncIterator[Shards]:
    def flags(shard: str) -> tuple[str, ...]:
        return ("--label-selector", f"shard={shard}", "--lease-name", f"shard-{shard}")

    async with operator_on(bed, *flags("a"), name="shard-a") as a, operator_on(bed, *flags("b"), name="shard-b") as b:
        yield Shards(bed, a, b)


async def open_site(shards: Shards, label: str, shard: str) -> Site:
    site = await Site.open(shards.bed, label, committed=True, resource=False)
    await create(site, "scaler", shard)
    return site


async def create(site: Site, name: str, shard: str) -> None:
    body = site.scaler(name=name)
    body["metadata"]["labels"] = {"shard": shard}
    await site.bed.api.call("POST", f"{SCALERS}/namespaces/{site.name}/consumerautoscalers", body)


async def move(site: Site, shard: str) -> None:
    path = f"{SCALERS}/namespaces/{site.name}/consumerautoscalers/scaler"
    await site.bed.api.call("PATCH", path, {"metadata": {"labels": {"shard": shard}}}, content_type=MERGE_PATCH)


async def serves(operator: Operator, site: Site) -> bool:
    _, page = await asyncio.to_thread(operator.get, "/metrics")
    return f'namespace="{site.name}"' in page


async def writes(operator: Operator) -> float:
    """How many objects an operator has written, Leases and reviews aside."""
    _, page = await asyncio.to_thread(operator.get, "/metrics")
    made = re.findall(r"^consumer_autoscaler_kube_requests_total\{(.*)\} (\S+)$", page, re.MULTILINE)
    return sum(float(count) for labels, count in made if 'verb="patch"' in labels or 'resource="events"' in labels)


async def test_a_label_hands_a_resource_over(shards: Shards) -> None:
    """The one lets go without another write, the other goes on from the status; the target moves by lag alone."""
    site = await open_site(shards, "handed", "a")
    await site.until_read()
    async with members(site):
        await site.produce(1)
        await site.until_replicas(1)
        assert await serves(shards.a, site)
        assert not await serves(shards.b, site)

        await move(site, "b")
        await eventually(lambda: serves(shards.b, site), 10)

        async def let_go() -> bool:
            return not await serves(shards.a, site)

        await eventually(let_go, 10)
        written = await writes(shards.a)
        assert written > 0
        await site.holds(1)
        await site.produce(0, 1)
        await site.until_replicas(2)
    assert await writes(shards.a) == written
    assert site.counts == [0, 1, 2]


async def test_what_matches_no_selector_is_left_alone(shards: Shards) -> None:
    site = await open_site(shards, "nobody", "c")
    await site.produce(1, 1, 1)
    await site.holds(0)
    assert await site.status() == {}
    await move(site, "a")
    await site.until_replicas(3)


async def test_two_parts_do_not_scale_one_target(shards: Shards) -> None:
    """The older resource keeps the target, whoever serves it, and the younger one takes over when that is gone."""
    site = await open_site(shards, "both", "a")
    await site.until_read()
    await asyncio.sleep(1.1)  # creation times have whole seconds
    await create(site, "younger", "b")
    message = await site.until_condition("Ready", "False", "Conflicted", name="younger")
    assert f"ConsumerAutoscaler {site.name}/scaler" in message
    assert f"kubectl delete cas scaler -n {site.name}" in message
    async with members(site):
        await site.produce(1)
        await site.until_replicas(1)
        assert (await site.condition("Ready"))["status"] == "True"
        await site.delete_scaler()
        await site.until_condition("Ready", "True", "Working", name="younger")
        await site.produce(0, 1)
        await site.until_replicas(2)


async def test_a_selector_that_cannot_be_read_ends_the_start(shards: Shards) -> None:
    """With the API server's words, instead of serving nothing."""
    arguments = ("--kubeconfig", str(shards.a.kubeconfig), "--port", "0", "--listen-host", "127.0.0.1")
    lease = ("--lease-namespace", NAMESPACE, "--lease-name", "unread")
    code, _, err = await command_line("run", *arguments, *lease, "--label-selector", "shard in a")
    assert code == 1
    assert "--label-selector 'shard in a'" in err
    assert "unable to parse" in err
    assert "Traceback" not in err
