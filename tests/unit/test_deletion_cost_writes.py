"""How many pods are written before a down, and what happens when that fails."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from consumer_autoscaler.cluster.deletion_cost import GOES_FIRST, MOST_PATCHES, send_first
from consumer_autoscaler.cluster.errors import Forbidden, KubeError, KubeUnreachable, NotFound
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.objects import Pod
from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.decision.values import GroupReading, PartitionReading
from consumer_autoscaler.runtime import least_work
from consumer_autoscaler.sources.kafka.inspection.owners import Owner, Owners
from consumer_autoscaler.sources.protocol import Subscription


class FakeKube:
    def __init__(self, pods: list[Pod], fails: dict[str, KubeError] | None = None) -> None:
        self.listed, self.fails = pods, fails or {}
        self.written: dict[str, str | None] = {}

    async def pods(self, namespace: str, selector: str) -> list[Pod]:
        return self.listed

    async def set_deletion_cost(self, namespace: str, pod: str, cost: str | None) -> None:
        if pod in self.fails:
            raise self.fails[pod]
        self.written[pod] = cost


class FakeSubscription:
    def __init__(self, owners: Owners, wait_seconds: float = 0.0) -> None:
        self._owners, self._wait_seconds = owners, wait_seconds

    async def owners(self) -> Owners:
        await asyncio.sleep(self._wait_seconds)
        return self._owners


def pods(count: int, cost: str | None = None) -> list[Pod]:
    return [Pod(f"p-{n}", f"10.0.0.{n}", True, cost) for n in range(count)]


async def sent(kube: FakeKube, *first: str) -> int:
    return await send_first(cast(Kube, kube), "shop", kube.listed, set(first))


async def marked(kube: FakeKube, subscription: FakeSubscription, *, leaving: int = 1) -> str:
    partitions = (PartitionReading("t", 0, 0, None, 5, 5), PartitionReading("t", 1, 0, None, 1, 1))
    group = GroupReading(at=0.0, state=GroupState.STABLE, members=2, partitions=partitions)
    return await least_work.mark(
        cast(Kube, kube),
        cast(Subscription, cast(Any, subscription)),
        namespace="shop",
        selector="app=web",
        group=group,
        leaving=leaving,
    )


def owners(*hosts: str) -> Owners:
    return {("t", number): Owner("m", "", "c", host) for number, host in enumerate(hosts)}


async def test_only_pods_whose_cost_changes_are_written() -> None:
    kube = FakeKube([*pods(3), Pod("old", None, True, GOES_FIRST), Pod("theirs", None, True, "7")])
    assert await sent(kube, "p-1", "old") == 1
    assert kube.written == {"p-1": GOES_FIRST}
    assert await sent(kube, "p-2") == 2
    assert kube.written == {"p-1": GOES_FIRST, "p-2": GOES_FIRST, "old": None}


async def test_a_down_of_very_many_writes_some_of_them() -> None:
    kube = FakeKube(pods(3 * MOST_PATCHES))
    assert await sent(kube, *(pod.name for pod in kube.listed)) == MOST_PATCHES
    assert len(kube.written) == MOST_PATCHES


async def test_a_pod_that_has_gone_is_no_failure_and_any_other_is() -> None:
    kube = FakeKube(pods(2), {"p-0": NotFound("NotFound", "gone")})
    assert await sent(kube, "p-0", "p-1") == 2
    assert kube.written == {"p-1": GOES_FIRST}
    kube.fails = {"p-0": Forbidden("Forbidden", "no")}
    with pytest.raises(Forbidden):
        await sent(kube, "p-0")


async def test_the_pod_with_the_least_lag_is_marked() -> None:
    kube = FakeKube(pods(2))
    assert await marked(kube, FakeSubscription(owners("/10.0.0.0", "/10.0.0.1"))) == ""
    assert kube.written == {"p-1": GOES_FIRST}


async def test_pods_that_are_not_ready_go_anyway() -> None:
    """They count among those that leave, and need no mark."""
    kube = FakeKube([*pods(2), Pod("late", None, False)])
    assert await marked(kube, FakeSubscription(owners("/10.0.0.0", "/10.0.0.1"))) == ""
    assert kube.written == {}


async def test_what_stands_in_the_way_is_said() -> None:
    """And costs no more than a few seconds."""
    both = owners("/10.0.0.0", "/10.0.0.1")
    assert "told apart" in await marked(FakeKube(pods(2)), FakeSubscription(owners("/10.0.0.0", "/10.9.9.9")))
    refused = FakeKube(pods(2), {"p-1": Forbidden("Forbidden", "no")})
    assert "deploy/deletion-cost" in await marked(refused, FakeSubscription(both))
    away = FakeKube(pods(2), {"p-1": KubeUnreachable("Timeout", "no answer")})
    assert "no answer" in await marked(away, FakeSubscription(both))


async def test_a_broker_that_does_not_answer_does_not_keep_the_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_work, "PATIENCE_SECONDS", 0.05)
    assert "within" in await marked(FakeKube(pods(2)), FakeSubscription({}, wait_seconds=9))
