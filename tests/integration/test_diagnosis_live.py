"""What stands in the way of a group, told from real readings of real consumers.

Each scenario is a group of its own on the shared broker, scaled by the decision as the operator scales (see crew);
those of this module run at the same time. The polls are a second apart and the promise is short, so that a group is
behind soon after it has a reason to be.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.integration.crew import Crew
from tests.integration.support import Bed, Together

from bed.database import Database
from bed.pace import Pace
from consumer_autoscaler.decision.values import Policy

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

together = Together(within_seconds=580)

PROMISE_SECONDS = 20
# The cause must have been there for two polls, a commit and a minute of a stable group; then three polls are given.
KNOWN_SECONDS = 2 + 1 + 60 + 3
BEHIND_SECONDS = 30  # until enough waits that the group counts as behind at all


def crew(bed: Bed, folder: str, label: str, per_second: float, *, most: int, **more: Any) -> Crew:
    """A crew whose consumers do `per_second` each, with `most` replicas at most."""
    policy = Policy(min_replicas=1, max_replicas=most, max_delay_seconds=PROMISE_SECONDS, poll_interval_seconds=1)
    return Crew(bed.kafka, label, Path(folder), policy, Pace(seconds_per_record=1 / per_second), **more)


@together
async def test_a_group_that_keeps_up_is_left_alone(bed: Bed) -> None:
    """No alarm and no scaling, with a load close to what it can do."""
    with TemporaryDirectory() as folder:
        async with crew(bed, folder, "healthy", 60, most=8, arriving_per_second=90) as group:
            await group.goes_on(60)
            assert set(group.reasons) <= {"LagUnknown", "Rebalancing", "KeepingUp"}
            assert group.reasons[-1] == "KeepingUp"
            assert group.counts == [2]


@together
async def test_too_few_replicas_for_the_load(bed: Bed) -> None:
    """Each consumer gets slower by itself: more of them help, and then it keeps up again."""
    with TemporaryDirectory() as folder:
        async with crew(bed, folder, "slower", 80, most=8, arriving_per_second=60) as group:
            await group.until("KeepingUp", within_seconds=20)
            group.pace = Pace(seconds_per_record=1 / 20)
            message = await group.until("UnderProvisioned", within_seconds=BEHIND_SECONDS)
            assert "arrive" in message or "tried" in message
            await group.until("KeepingUp", within_seconds=90, holds_seconds=5)
            assert group.replicas in (4, 8)
            assert not {"SlowDownstream", "PartitionSkew", "StuckPartition"} & set(group.reasons)


@together
async def test_more_than_the_partitions_can_use(bed: Bed) -> None:
    """With a consumer for each partition it says how many partitions it would take."""
    with TemporaryDirectory() as folder:
        load = {"arriving_per_second": 100, "partitions": 3}
        async with crew(bed, folder, "bound", 20, most=8, **load) as group:
            message = await group.until("PartitionLimit", within_seconds=KNOWN_SECONDS, holds_seconds=5)
            assert "add partitions" in message
            assert group.replicas == 3


@together
async def test_more_than_the_maximum_carries(bed: Bed) -> None:
    with TemporaryDirectory() as folder:
        async with crew(bed, folder, "most", 30, most=2, arriving_per_second=100) as group:
            message = await group.until("MaxReplicas", within_seconds=KNOWN_SECONDS, holds_seconds=5)
            assert "raise" in message
            assert group.counts == [2]


@pytest.mark.long
@together
async def test_a_database_that_all_consumers_wait_for(bed: Bed) -> None:
    """It takes less than arrives, however many there are: one up shows it, then no more. When it is well, all is."""
    with TemporaryDirectory() as folder:
        async with Database(1000) as database:
            load = {"arriving_per_second": 100, "database": database.address}
            async with crew(bed, folder, "downstream", 80, most=8, **load) as group:
                await group.until("KeepingUp", within_seconds=20)
                database.rows_per_second = 50
                behind = 2 * BEHIND_SECONDS  # until the up that has to be tried
                await group.until("SlowDownstream", within_seconds=behind + KNOWN_SECONDS, holds_seconds=60)
                assert len(group.ups) == 1, group.ups
                assert not {"PartitionSkew", "StuckPartition"} & set(group.reasons)
                database.rows_per_second = 1000
                await group.until("KeepingUp", within_seconds=90, holds_seconds=5)


@pytest.mark.long
@together
async def test_a_key_that_one_consumer_cannot_keep_up_with(bed: Bed) -> None:
    """The partition is named, and replicas that cannot help it are not added for it."""
    with TemporaryDirectory() as folder:
        load = {"arriving_per_second": 100, "hot_share": 0.7}
        async with crew(bed, folder, "skewed", 50, most=8, **load) as group:
            message = await group.until("PartitionSkew", within_seconds=KNOWN_SECONDS, holds_seconds=30)
            assert f"{group.label}-0" in message
            assert len(group.ups) <= 1, group.ups


@pytest.mark.long
@together
async def test_a_partition_whose_consumer_hangs(bed: Bed) -> None:
    """It is named after five minutes without a commit, and is no reason to scale all that time."""
    with TemporaryDirectory() as folder:
        async with crew(bed, folder, "stuck", 60, most=8, arriving_per_second=60) as group:
            await group.until("KeepingUp", within_seconds=20)
            stuck = f"{group.label}-3"
            group.pace = Pace(seconds_per_record=1 / 60, stuck=(stuck,))
            message = await group.until("StuckPartition", within_seconds=300 + 10, holds_seconds=10)
            assert stuck in message
            assert len(group.ups) <= 1, group.ups
            group.pace = Pace(seconds_per_record=1 / 60)
            await group.until("KeepingUp", within_seconds=90)


@pytest.mark.long
@together
async def test_a_consumer_that_dies(bed: Bed) -> None:
    """Its partitions wait until the group notices; nothing else is to blame, and then it keeps up again."""
    with TemporaryDirectory() as folder:
        load = {"arriving_per_second": 60, "in_processes": True}
        async with crew(bed, folder, "crash", 60, most=8, **load) as group:
            await group.until("KeepingUp", within_seconds=20, holds_seconds=5)
            group.kill_one()
            await group.goes_on(40)
            await group.until("KeepingUp", within_seconds=60, holds_seconds=5)
            assert not {"SlowDownstream", "PartitionSkew", "StuckPartition"} & set(group.reasons)
            assert len(group.counts) <= 3
