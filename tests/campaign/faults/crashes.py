"""Crash points: the operator is killed before and after every write that it makes in a story.

Which writes there are is told by the runs without a fault. Before: the request never arrives. After: it is done, and
the process is gone before it has the answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from tests.campaign.apiproxy import CUT, Answer, Asked, Forward
from tests.campaign.faults.common import ruled
from tests.campaign.judge import Expected, Outcome
from tests.campaign.run import UNTIL_THE_END, Fault, Inject, Run
from tests.campaign.stories import START

RENEWALS = 2  # of the Lease; all further ones are like these


def crash_points(baselines: Mapping[str, Sequence[Outcome]]) -> Iterator[Fault]:
    """A fault for each side of each write of each story."""
    for story, outcomes in baselines.items():
        writes = {what: max(each.writes.get(what, 0) for each in outcomes) for each in outcomes for what in each.writes}
        for what, times in sorted(writes.items()):
            for number in range(1, 1 + (min(times, RENEWALS) if what == "update leases" else times)):
                for side in ("before", "after"):
                    yield crash_point(story, side, what, number)


def crash_point(story: str, side: str, what: str, number: int) -> Fault:
    """The kill before or after the `number`-th write of a kind, such as `patch deployments/scale`."""
    return Fault(
        "B2",
        f"killed {side} {what} #{number}",
        _killed(side, what, number),
        stories=(story,),
        moments=(START,),
        seconds=UNTIL_THE_END,
        expected=Expected(restarts=(1, 1), events_may_be_lost=True, status_writes=5),
        kind=f"killed {side} `{what}`",
    )


def _killed(side: str, what: str, number: int) -> Inject:
    @asynccontextmanager
    async def injected(run: Run) -> AsyncIterator[None]:
        """Each such write that a story makes, one run for each of them."""

        async def kill(asked: Asked, forward: Forward) -> Answer:
            if side == "after":
                await forward(asked)
            run.outcome.happened = True
            run.kept.kill()  # whose connection ends by that, and this request with it
            return CUT

        run.outcome.happened = False
        with ruled(run, lambda asked: (asked.what, asked.number) == (what, number), kill):
            yield

    return injected
