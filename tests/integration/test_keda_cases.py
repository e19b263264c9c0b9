"""The ten cases that KEDA tests its Kafka scalers with, restated for this resource, on a real broker.

KEDA's holds of 30 and 60 s are waited for as seven polls of one second. Where this autoscaler decides otherwise on
purpose, the test's sentence says by which rule. Pods are fake; the members of the groups are real.
"""

from __future__ import annotations

import pytest
from tests.integration.site import Site, members
from tests.integration.support import Bed, Together, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]

together = Together()
ACTIVATION = {"activationLagMessages": 1}


async def zero_until_lag_exceeds_the_activation(site: Site) -> None:
    """What most cases begin with: nothing to read, then as much lag as does not count yet."""
    await site.until_read()
    await site.holds(0)
    await site.produce(1)
    await site.holds(0)


@together
async def test_earliest_counts_what_a_group_without_commits_has_not_read(bed: Bed) -> None:
    """Under Earliest the lag without a commit is end minus start: 0, activation, 2, and no more than partitions."""
    site = await Site.open(bed, "earliest", scaling=ACTIVATION)
    async with members(site):
        await zero_until_lag_exceeds_the_activation(site)
        await site.produce(0, 1)
        await site.until_replicas(2)
        await site.produce(1, 2, 2)
        await site.until_replicas(3)
        await site.holds(3)
    assert site.counts == [0, 2, 3]


@together
async def test_latest_counts_from_the_commits(bed: Bed) -> None:
    """Under Latest a group that has committed scales as under Earliest: 0, activation, 2, no more than partitions."""
    site = await Site.open(bed, "latest", kafka={"offsetReset": "Latest"}, scaling=ACTIVATION, committed=True)
    async with members(site):
        await zero_until_lag_exceeds_the_activation(site)
        await site.produce(0, 1)
        await site.until_replicas(2)
        await site.produce(1, 2, 2)
        await site.until_replicas(3)
        await site.holds(3)
    assert site.counts == [0, 2, 3]


@together
async def test_topics_of_the_group_are_summed_when_none_is_named(bed: Bed) -> None:
    """Without `topics` those the group has committed for count, all together: 0, one on each topic: 1, then 2."""
    site = await Site.open(bed, "multi-topic", topics=2, kafka={"offsetReset": "Latest", "topics": []}, committed=True)
    async with members(site):
        await site.until_read()
        await site.holds(0)
        await site.produce(1, topic=0)
        await site.until_replicas(1)
        await site.produce(0, 1, topic=1)
        await site.until_replicas(2)
    assert site.counts == [0, 1, 2]


@together
async def test_unknown_lag_is_not_zero_and_does_not_scale(bed: Bed) -> None:
    """KEDA's zero for an invalid offset is the rule `offsetReset: None`: without a commit the lag is unknown: hold."""
    site = await Site.open(bed, "invalid-none", partitions=1, kafka={"offsetReset": "None"})
    await site.until_read()
    await site.produce(5)
    await site.holds(0)
    assert (await site.status())["decision"]["reason"] == "HoldLagUnknown"
    await site.commit(2)
    await site.until_replicas(1)


@together
async def test_earliest_without_records_stays_at_zero(bed: Bed) -> None:
    """A group that never committed under Earliest has nothing to do while there is no record."""
    site = await Site.open(bed, "invalid-earliest", partitions=1)
    await site.until_read()
    await site.holds(0)
    assert site.counts == [0]


@together
async def test_latest_without_a_commit_gets_one_replica_to_commit(bed: Bed) -> None:
    """Under Latest a group that never committed would never have lag: one replica, and none once it is done."""
    site = await Site.open(bed, "one-latest", partitions=1, kafka={"offsetReset": "Latest"})
    await site.until_replicas(1)
    await site.holds(1)
    async with members(site, commit=True):
        await site.produce(1)
        await site.until_replicas(0)
    await site.holds(0)
    assert site.counts == [0, 1, 0]


@together
async def test_earliest_with_a_record_gets_one_replica_until_it_is_read(bed: Bed) -> None:
    """Under Earliest one record starts one replica, and none are left once it was read and committed."""
    site = await Site.open(bed, "one-earliest", partitions=1)
    await site.produce(1)
    await site.until_replicas(1)
    async with members(site, commit=True):
        await site.until_replicas(0)
    await site.holds(0)
    assert site.counts == [0, 1, 0]


@together
async def test_lag_that_nobody_works_on_adds_no_replicas(bed: Bed) -> None:
    """When the pods consume with another group, nobody in this one could be helped: the count holds, with a reason."""
    site = await Site.open(bed, "persistent", scaling={"idleSeconds": 60})
    async with members(site, commit=True):
        await site.produce(1)
        await site.until_replicas(1)
        await eventually(lambda: bed.witness.ready.get(site.name) == 1)
    await site.produce(1, 2, 2)
    await site.holds(1)
    assert (await site.condition("ScalingLimited"))["reason"] == "Rebalancing"
    assert site.counts == [0, 1]


@together
async def test_only_partitions_with_lag_ask_for_replicas(bed: Bed) -> None:
    """Six records in one partition need one replica, five more in a second partition one more, as one reads each."""
    site = await Site.open(bed, "with-lag", scaling=ACTIVATION)
    async with members(site):
        await zero_until_lag_exceeds_the_activation(site)
        await site.produce(5)
        await site.until_replicas(1)
        await site.holds(1)
        await site.produce(0, 5)
        await site.until_replicas(2)
        await site.holds(2)
    assert site.counts == [0, 1, 2]


@together
async def test_replicas_are_counts_that_help(bed: Bed) -> None:
    """With 10 partitions 5 serve a lag of 5, but 8 go no faster than 5: useful steps take 10, as divisors would."""
    site = await Site.open(bed, "even", partitions=10, scaling=ACTIVATION)
    async with members(site):
        await zero_until_lag_exceeds_the_activation(site)
        await site.produce(0, 1, 1, 1, 1)
        await site.until_replicas(5)
        await site.produce(0, 0, 0, 0, 0, 1, 1, 1)
        await site.until_replicas(10)
        await site.holds(10)
    assert site.counts == [0, 5, 10]
