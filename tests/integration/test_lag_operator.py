"""What becomes of odd lag in the operator as a whole: conditions, Events, and the count that is written."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from tests.integration.site import Site, members
from tests.integration.support import Bed, Together, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]

together = Together()


async def event(bed: Bed, site: Site, reason: str) -> str:
    """The note of the site's Event of this reason, empty when there is none."""
    answer = await bed.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{site.name}/events")
    return next((str(each["note"]) for each in answer["items"] if each["reason"] == reason), "")


@together
async def test_a_commit_beyond_the_end_makes_an_event_and_scaling_goes_on(bed: Bed) -> None:
    """The source is healthy for a reason of its own until the consumers have reset."""
    site = await Site.open(bed, "beyond", partitions=1)
    await site.produce(5)
    await site.commit(900)
    assert f"{site.name}-0" in await site.until_condition("SourceHealthy", "True", "OffsetBeyondEnd")
    await site.until_replicas(1)
    assert f"{site.name}-0" in await eventually(lambda: event(bed, site, "OffsetBeyondEnd"))
    await site.commit(2)
    await site.until_condition("SourceHealthy", "True", "Valid")


@together
async def test_a_transactions_marker_does_not_keep_a_replica(bed: Bed) -> None:
    """From zero by a transaction, and back to zero when its marker has been skipped as the one before it."""
    site = await Site.open(bed, "markers", partitions=1)
    partition = TopicPartition(site.name, 0)
    async with (
        AIOKafkaProducer(bootstrap_servers=bed.kafka.bootstrap, transactional_id=site.name) as producer,
        members(site) as crew,
    ):
        for last_record in (2, 6):
            async with producer.transaction():
                for _ in range(3):
                    await producer.send_and_wait(site.name, b"x", partition=0)
            await site.until_replicas(1)
            consumer = await eventually(lambda: next((each for each in crew if partition in each.assignment()), None))
            assert consumer is not None
            await consumer.commit({partition: last_record + 1})
            if last_record == 2:
                await site.holds(1)  # what stands there could be a record
        await site.until_replicas(0)
        await site.holds(0)
    assert site.counts == [0, 1, 0]


@together
async def test_a_group_that_is_gone_at_zero_gets_one_replica(bed: Bed) -> None:
    """As when its commits have expired: somebody has to commit before there can be a lag."""
    site = await Site.open(bed, "gone", committed=True)
    await site.until_read()
    await site.holds(0)
    await asyncio.to_thread(bed.kafka.delete_group, site.name)
    await site.until_replicas(1)
    await site.until_condition("SourceHealthy", "False", "GroupNotFound")
    async with members(site, commit=True, least=1):
        await site.until_condition("SourceHealthy", "True", "Valid")
        await site.until_replicas(0)
    assert site.counts == [0, 1, 0]


@together
async def test_consumers_that_assign_by_themselves_keep_their_count(bed: Bed) -> None:
    """Their lag is shown, whatever it is, and the condition says why nothing is done about it."""
    site = await Site.open(bed, "assigned", partitions=1, replicas=2)
    await site.commit(0)
    await site.until_condition("SourceHealthy", "True", "Valid")
    await site.produce(50)
    for offset in (10, 20, 30):
        await site.commit(offset)
        await eventually(lambda offset=offset: _lag(site, 50 - offset))  # type: ignore[misc]
    await site.until_condition("SourceHealthy", "False", "ManualAssignment")
    await site.holds(site.counts[-1])
    assert (await site.status())["decision"]["reason"] == "HoldNotScalable"


async def _lag(site: Site, messages: int) -> bool:
    """Whether the last reading had this lag, by the operator's metrics: the status is written less often."""
    operator = site.bed.operator
    assert operator is not None
    _, page = await asyncio.to_thread(operator.get, "/metrics")
    return any(
        f'namespace="{site.name}"' in line and "_lag_records{" in line and line.endswith(f" {messages}.0")
        for line in page.splitlines()
    )
