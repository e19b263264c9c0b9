"""A part of the fault campaign, which `make campaign` runs whole: one story, and a few faults at the same time."""

from __future__ import annotations

import asyncio

import pytest
from tests.campaign.faults import FAULTS
from tests.campaign.faults.crashes import crash_point
from tests.campaign.run import World
from tests.campaign.stories import STORIES
from tests.integration.support import Bed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CRASHES = (("before", "patch deployments/scale", 1), ("after", "patch deployments/scale", 1))
PART = ("scale unanswered",)


async def test_a_fault_changes_nothing_of_what_it_must_not_change(bed: Bed) -> None:
    """Counts, scale writes, status writes, Events, conditions at the end and what is left are those without it."""
    story = STORIES["up"]
    faults = [fault for fault in FAULTS if fault.name in PART]
    faults += [crash_point(story.name, *point) for point in CRASHES]
    assert len(faults) == len(PART) + len(CRASHES)
    async with World(bed) as world:
        outcomes = await world.baseline(story)
        outcomes += await asyncio.gather(*(world.run(fault, 0) for fault in faults))
    assert [each.text() for each in outcomes if each.bad or not each.happened] == []
