"""A cycle of a real autoscaler: when it wants to look again, and how it counts late time."""

from __future__ import annotations

from tests.fakes.fleet import START, Lone, Reading, body, reading

from consumer_autoscaler.decision.looks import SOON_SECONDS
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import Unavailable


async def test_after_a_jump_the_group_is_read_again_soon_unless_it_does_not_answer() -> None:
    jump_at, silent_at = START + 601, START + 616

    def said(group: str, at: float) -> Reading:
        if group == "silent-group" and at >= silent_at:
            return Unavailable(SourceReason.BROKER_UNREACHABLE, "no broker answers")
        jumps = group != "even-group" and at >= jump_at
        return reading(at, done=int(10 * (at - START)) + (5_000 if jumps else 0), lag=5)

    operator = Lone(said, lambda _: None)
    for name in ("even", "jumps", "silent"):
        operator.fleet.observe(body(name))
    for _ in range(44):
        await operator.tick()
    await operator.fleet.aclose()
    assert sorted(operator.source.again) == [("jumps-group", SOON_SECONDS), ("silent-group", SOON_SECONDS)]


async def test_late_time_is_counted_by_the_clock() -> None:
    """A second look four seconds after a poll adds four seconds, not a poll."""
    operator = Lone(lambda _, at: reading(at, done=0, lag=1 + int((at - START) / 15)), lambda _: None)
    operator.fleet.observe(body("late"))
    for _ in range(12):
        await operator.tick()
    (late,) = operator.fleet
    before = late.counts.late_seconds
    assert before > 0
    await operator.source.tick(1, seconds=4.0)
    assert late.counts.late_seconds == before + 4
    await operator.tick()
    assert late.counts.late_seconds == before + 4 + 15
    await operator.fleet.aclose()
