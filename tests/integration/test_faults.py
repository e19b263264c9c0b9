"""What goes wrong around the operator and with it, on a real API server and real brokers.

Everywhere the same is asked: no wrong count is written, no step is made twice, and what was broken works again without
a hand. What was written is told by the API server's audit log and by a watch of our own. Each operator serves its own
namespace under its own Lease, so that the tests can run at the same time.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.site import Site, members, own_lease
from tests.integration.support import Aside, Bed, Together, bed_on, eventually, operator_on

from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.kwok import Kwok
from bed.operator import NAMESPACE, SERVICE_ACCOUNT, USER, Operator, install
from bed.paths import REPOSITORY
from bed.processes import Process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

together = Together()
LEASE_SECONDS = 3
TWO_AT_ONCE = {"scaleUp": {"cooldownSeconds": 600, "maxStep": 2}}  # a second step would be seen
SHORT_LEASE = ("--lease-duration-seconds", str(LEASE_SECONDS))


@together
async def test_a_leader_that_was_stopped_writes_nothing_when_it_wakes_up(bed: Bed) -> None:
    """A standby takes over within lease duration + 5 s; the old leader, continued, ends with an error, unheard."""
    site = await Site.open(bed, "leaders", partitions=6, replicas=1, scaling=TWO_AT_ONCE, spec={"minReplicas": 1})
    flags = (*own_lease(site), *SHORT_LEASE)
    other = await bed.aside(_second_account, bed.controlplane)
    async with (
        members(site),
        operator_on(bed, *flags, name="leader-a") as first,
        operator_on(bed, *flags, "--kubeconfig", str(other), name="leader-b", working=False) as second,
    ):
        await eventually(lambda: second.get("/readyz") == (200, "standby"))
        await site.until_read()
        stopped_at = time.time()
        first.process.send(signal.SIGSTOP)
        await site.produce(2, 2, 2, 2, 2, 2)
        await site.until_replicas(3, within_seconds=LEASE_SECONDS + 5)
        took = time.time() - stopped_at
        assert took <= LEASE_SECONDS + 5
        continued_at = time.time()
        first.process.send(signal.SIGCONT)
        await eventually(lambda: first.process.returncode is not None)
        assert first.process.returncode not in (None, 0)
        await site.holds(3)
        writes = await asyncio.to_thread(bed.controlplane.audit, stopped_at)
    own = [r for r in writes if r.verb in ("create", "update", "patch") and site.name in (r.namespace, r.name)]
    assert [r.verb for r in own if r.user == USER and r.received_at >= continued_at and r.resource != "leases"] == []
    scaled = await asyncio.to_thread(site.scale_writes)
    assert [r.user for r in scaled] == [f"system:serviceaccount:{NAMESPACE}:{SECOND}"]
    assert site.counts == [1, 3]


SECOND = "consumer-autoscaler-second"


def _second_account(controlplane: ControlPlane) -> Path:
    """The kubeconfig of another account with the same roles: the audit log tells the two apart."""
    kubectl = controlplane.kubectl
    kubectl("create", "serviceaccount", SECOND, "-n", NAMESPACE)
    account = f"--serviceaccount={NAMESPACE}:{SECOND}"
    kubectl("create", "clusterrolebinding", SECOND, f"--clusterrole={SERVICE_ACCOUNT}", account)
    kubectl("create", "rolebinding", SECOND, "-n", NAMESPACE, f"--role={SERVICE_ACCOUNT}-lease", account)
    return controlplane.kubeconfig_for(NAMESPACE, SECOND)


@together
async def test_a_resource_deleted_while_the_operator_is_down_is_never_served(bed: Bed) -> None:
    """After its return the operator leaves the target alone, and the deletion waits for nobody."""
    site = await Site.open(bed, "deleted", replicas=1, resource=False)
    other = await Site.open(bed, "kept", replicas=0)
    flags = ("--namespaces", f"{site.name},{other.name}", *own_lease(site)[2:])
    await site.create_scaler()
    async with members(site), members(other):
        async with operator_on(bed, *flags, name="deleted-1") as first:
            await site.until_read()
            first.process.send(signal.SIGKILL)
            await eventually(lambda: first.process.returncode is not None)
        await site.delete_scaler()
        await site.produce(2, 2, 2)
        await other.produce(1)
        async with operator_on(bed, *flags, *SHORT_LEASE, name="deleted-2") as second:
            await other.until_replicas(1)  # it works
            await site.holds(1)
            _, page = await asyncio.to_thread(second.get, "/metrics")
            assert f'namespace="{other.name}"' in page
            assert f'namespace="{site.name}"' not in page
    assert await asyncio.to_thread(site.scale_writes) == []


@together
async def test_a_target_that_is_deleted_and_made_again_is_scaled_again(bed: Bed) -> None:
    """Without its target a resource says so and writes nothing; a new target of the name is taken up by itself."""
    site = await Site.open(bed, "target", replicas=0)
    async with members(site), operator_on(bed, *own_lease(site), name="target"):
        await site.until_read()
        await site.delete_target()
        await site.until_condition("Ready", "False", "TargetNotFound")
        message = await site.until_condition("AbleToScale", "False", "FailedGetScale")
        assert "consumers" in message
        await site.produce(2, 2)
        await asyncio.sleep(3)
        assert await asyncio.to_thread(site.scale_writes) == []
        await site.create_target(0)
        await site.until_replicas(2)
        await site.until_condition("Ready", "True", "Working")
    assert site.counts == [0, 2]


@together
async def test_added_partitions_raise_the_ceiling(bed: Bed) -> None:
    """The members notice within their metadata's age, and what they were given tells the operator at its next poll."""
    site = await Site.open(bed, "grown")
    async with members(site), operator_on(bed, *own_lease(site), name="grown"):
        await site.until_read()
        await site.produce(5, 5, 5)
        await site.until_replicas(3)
        await site.until_condition("ScalingLimited", "True", "PartitionLimit")
        await bed.aside(bed.kafka.add_partitions, site.name, 6)
        await site.produce(0, 0, 0, 5, 5, 5)
        await site.until_replicas(6)
        await site.holds(6)
    assert site.counts == [0, 3, 6]


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_added_partitions_are_seen_without_members_within_the_age_of_the_metadata(bed: Bed) -> None:
    """Where no member tells, the operator looks for itself every 70 s."""
    site = await Site.open(bed, "grown-alone", replicas=0)
    async with operator_on(bed, *own_lease(site), name="grown-alone"):
        await site.until_read()
        await bed.aside(bed.kafka.add_partitions, site.name, 6)
        await site.produce(0, 0, 0, 1, 1, 1)
        await site.until_replicas(3, within_seconds=75)


@together
async def test_a_group_deleted_with_a_backlog_holds(bed: Bed) -> None:
    """Its lag is not known any more, neither zero nor everything: the count holds until the group commits again."""
    site = await Site.open(bed, "group", replicas=0)
    await site.commit(0, 0, 0)
    async with operator_on(bed, *own_lease(site), name="group"):
        async with members(site):
            await site.until_read()
            await site.produce(3, 3)
            await site.until_replicas(2)
            await eventually(lambda: bed.witness.ready[site.name] == 2)
        await asyncio.to_thread(bed.kafka.delete_group, site.name)
        message = await site.until_condition("SourceHealthy", "False", "GroupNotFound")
        assert site.name in message
        await site.holds(2)
        await site.commit(3, 3, 0)  # it has caught up
        await site.until_condition("SourceHealthy", "True", "Valid")
        await site.until_replicas(0)
    assert site.counts == [0, 2, 0]


@together
async def test_a_broker_that_is_killed_under_a_backlog_changes_no_count(bed: Bed) -> None:
    """While nothing is known the count holds, though idle time passes and zero is allowed; then it goes on alone."""
    broker = Kafka()
    await bed.aside(broker.start)
    try:
        site = await Site.open(bed, "broker", broker=broker)
        async with members(site) as crew, operator_on(bed, *own_lease(site), name="broker"):
            await site.until_read()
            await site.produce(4, 4)
            await site.until_replicas(2)
            await eventually(lambda: len(crew) == 2 and all(each.assignment() for each in crew))
            await bed.aside(broker.stop_broker, 0)
            await site.until_condition("SourceHealthy", "False", "BrokerUnreachable")
            await site.holds(2)
            await bed.aside(broker.start_broker, 0)
            await site.until_condition("SourceHealthy", "True", "Valid")
            await site.holds(2)
            await site.produce(0, 0, 4)
            await site.until_replicas(3)
        assert site.counts == [0, 2, 3]
        assert len(await asyncio.to_thread(site.scale_writes)) == 2
    finally:
        await bed.aside(broker.stop)


@pytest.fixture(scope="module")
async def own_plane(kafka: Kafka) -> AsyncIterator[Bed]:
    """A control plane whose API server may be killed, with fake nodes of its own."""
    with Aside() as aside:
        plane = ControlPlane()
        nodes = Kwok(plane)
        try:
            await aside(plane.start)
            await aside(nodes.start)
            await aside(install, plane)
            async with bed_on(plane, kafka) as bed:
                yield replace(bed, aside=aside)
        finally:
            await aside(nodes.stop)
            await aside(plane.stop)


async def _outage(bed: Bed, seconds: float) -> None:
    """The API server is killed, and back after so long; its controllers come back later, by their own backoff."""
    await bed.aside(bed.controlplane.stop_apiserver)
    await asyncio.sleep(seconds)
    await bed.aside(bed.controlplane.start_apiserver)


async def test_an_outage_of_the_api_server_costs_no_restart_and_no_burst(own_plane: Bed) -> None:
    """A backlog that grows meanwhile gets its one write after the return; a resting target gets none."""
    busy = await Site.open(own_plane, "busy", replicas=1, spec={"minReplicas": 1})
    resting = await Site.open(own_plane, "resting", replicas=2, spec={"minReplicas": 2})
    flags = ("--namespaces", f"{busy.name},{resting.name}", "--lease-duration-seconds", "60")
    async with members(busy), members(resting), operator_on(own_plane, *flags, name="outage") as operator:
        for site in (busy, resting):
            await site.until_read()
        begin = time.time()
        outage = asyncio.create_task(_outage(own_plane, 4))
        await asyncio.sleep(1)
        await busy.produce(2, 2, 2)
        await outage
        await busy.until_replicas(3, within_seconds=45)
        await busy.holds(3)
        assert operator.process.returncode is None
        assert (await asyncio.to_thread(operator.get, "/healthz"))[0] == 200
        status_writes = [
            r
            for r in await asyncio.to_thread(own_plane.controlplane.audit, begin, user=USER)
            if (r.resource, r.subresource) == ("consumerautoscalers", "status")
        ]
    assert busy.counts == [1, 3]
    assert resting.counts == [2]
    assert len(await asyncio.to_thread(busy.scale_writes)) == 1
    assert await asyncio.to_thread(resting.scale_writes) == []
    assert len(status_writes) <= 10, "a burst of status writes"


async def test_an_outage_longer_than_the_lease_costs_one_restart(own_plane: Bed) -> None:
    """Without its Lease the operator ends; started again, as a kubelet would, it waits for the API server and works."""
    site = await Site.open(own_plane, "long", replicas=1, scaling=TWO_AT_ONCE, spec={"minReplicas": 1}, partitions=6)
    flags = ("--namespaces", site.name, *SHORT_LEASE)
    async with members(site, least=1):
        async with operator_on(own_plane, *flags, name="long-1") as first:
            await site.until_read()
            await own_plane.aside(own_plane.controlplane.stop_apiserver)
            await eventually(lambda: first.process.returncode is not None, LEASE_SECONDS + 15)
            assert first.process.returncode == 1
        # The token of the first operator is good for the second one: to ask for another takes an API server.
        second = await own_plane.aside(_restarted, own_plane.controlplane, first)
        try:
            await site.produce(2, 2, 2, 2, 2, 2)
            await asyncio.sleep(2)
            await own_plane.aside(own_plane.controlplane.start_apiserver)
            await site.until_replicas(3, within_seconds=45)
            await site.holds(3)
            assert second.returncode is None, second.log_tail(40)
        finally:
            await own_plane.aside(second.stop)
    assert site.counts == [1, 3]
    assert len(await asyncio.to_thread(site.scale_writes)) == 1


def _restarted(plane: ControlPlane, first: Operator) -> Process:
    """The first operator's command once more."""
    env = {"PYTHONPATH": str(REPOSITORY / "operator")}
    return Process("long-2", first.process.command, log=plane.logs / "long-2.log", env=env)
