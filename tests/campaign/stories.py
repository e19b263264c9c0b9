"""The stories in which faults happen: what changes around a consumer group, and the counts that must come of it.

A story waits for each of its counts before it goes on, so its counts are the same however slow a fault makes it. It
passes moments; at one of them the run begins its fault. The load asks for more than `maxStep` allows, so a second step
within the cooldown of ten minutes would be made at once by whoever does not know of the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.campaign.run import Run

START = "start"  # before there is an operator; every story has this moment
PARTITIONS = 6
_SLOWLY = {"scaleUp": {"cooldownSeconds": 600, "maxStep": 2}}


@dataclass(frozen=True, slots=True)
class Story:
    """`counts`: all that the target is asked to have, in order. `opened`: how `Site.open` makes the place."""

    name: str
    counts: tuple[int, ...]
    moments: tuple[str, ...]
    play: Callable[[Run], Awaitable[None]]
    opened: Mapping[str, Any] = field(default_factory=dict)
    member: bool = True
    """Whether somebody is in the group, who reads nothing: without, there is no up but from zero."""


async def _up(run: Run) -> None:
    await run.moment("resting")
    await run.produce(2, 2, 2, 2, 2, 2)
    await run.moment("loaded")
    await run.until_replicas(3)
    await run.moment("scaled")
    await run.holds()
    await run.work_off()


async def _to_zero_and_back(run: Run) -> None:
    await run.moment("resting")
    await run.produce(1, 1)
    await run.until_replicas(2)
    await run.moment("scaled")
    await run.work_off()
    await run.moment("idle")
    await run.until_replicas(0)
    await run.moment("at zero")


async def _bounds(run: Run) -> None:
    await run.moment("resting")
    await run.site.patch_scaler({"minReplicas": 4})
    await run.moment("raised")
    await run.until_replicas(4)
    await run.site.patch_scaler({"minReplicas": 1, "maxReplicas": 3})
    await run.moment("lowered")
    await run.until_replicas(3)
    await run.moment("scaled")


async def _paused_and_resumed(run: Run) -> None:
    await run.moment("resting")
    await run.site.patch_scaler({"mode": "Paused"})
    await run.produce(2, 2, 2, 2, 2, 2)
    await run.moment("paused")
    await run.site.until_condition("Ready", "True", "Paused", within_seconds=run.within_seconds)
    await run.site.holds(1, polls=2)
    await run.site.patch_scaler({"mode": "Active"})
    await run.moment("resumed")
    await run.until_replicas(3)
    await run.moment("scaled")
    await run.holds()
    await run.work_off()


_RESTING_AT_ONE = {"replicas": 1, "spec": {"minReplicas": 1}, "scaling": _SLOWLY}

STORIES = {
    story.name: story
    for story in (
        Story("up", (1, 3), ("resting", "loaded", "scaled"), _up, _RESTING_AT_ONE),
        Story("zero", (0, 2, 0), ("resting", "scaled", "idle", "at zero"), _to_zero_and_back, member=False),
        Story(
            "bounds", (2, 4, 3), ("resting", "raised", "lowered", "scaled"), _bounds,
            {"replicas": 2, "spec": {"minReplicas": 2}, "scaling": _SLOWLY},
        ),
        Story("pause", (1, 3), ("resting", "paused", "resumed", "scaled"), _paused_and_resumed, _RESTING_AT_ONE),
    )
}  # fmt: skip
