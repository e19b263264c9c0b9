"""`python -m tests.campaign [--rows A1,B2] [--seeds 4] [--parallel 8]`: the campaign, or rows of it.

Progress goes to standard error, every run to build/campaign/runs.jsonl, and the last line of standard output is one
JSON object. Exit status 0: no run has a finding; 1: some have.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO

from tests.campaign.faults import FAULTS
from tests.campaign.faults.crashes import crash_points
from tests.campaign.judge import Outcome
from tests.campaign.results import figures, keep
from tests.campaign.run import UNTIL_THE_END, Fault, World
from tests.campaign.stories import STORIES
from tests.integration.support import bed_on

from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.kwok import Kwok
from bed.operator import install
from bed.paths import REPOSITORY

FOLDER = REPOSITORY / "build" / "campaign"
LONG_SECONDS = 100.0


@dataclass(slots=True)
class Campaign:
    """All of it, on parts of its own. `faults` and `outcomes` are what there is so far, also when it is interrupted."""

    faults: list[Fault]
    seeds: int
    parallel: int
    crashes: int
    """Runs of each crash point; none with 0."""
    outcomes: list[Outcome] = field(default_factory=list)

    async def run(self) -> None:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        FOLDER.mkdir(parents=True, exist_ok=True)
        with (FOLDER / "runs.jsonl").open("w") as sink, ControlPlane() as plane, Kwok(plane), Kafka() as kafka:
            async with bed_on(plane, kafka) as bed:
                await bed.aside(install, plane)
                async with World(bed) as world:
                    await self._run(world, sink)

    async def _run(self, world: World, sink: TextIO) -> None:
        def tell(outcome: Outcome) -> None:
            self.outcomes.append(outcome)
            sink.write(json.dumps(outcome.as_json()) + "\n")
            sink.flush()
            print(f"{time.strftime('%H:%M:%S')} {outcome.text()}", file=sys.stderr, flush=True)

        slots = asyncio.Semaphore(self.parallel)

        async def one(fault: Fault, seed: int) -> None:
            if LONG_SECONDS <= fault.seconds[0] < math.inf:  # nearly all of it is waiting
                tell(await world.run(fault, seed))
                return
            async with slots:
                tell(await world.run(fault, seed))

        used = set(STORIES) if self.crashes else {name for fault in self.faults for name in fault.stories}
        for found in await asyncio.gather(*(world.baseline(STORIES[name]) for name in sorted(used))):
            for outcome in found:
                tell(outcome)
        missing = sorted(name for name in used if not world.baselines[name])
        assert not missing, f"no run without a fault was good: {missing}"
        runs = [(fault, seed) for fault in self.faults for seed in range(self.seeds)]
        if self.crashes:
            points = [*crash_points(world.baselines)]
            runs += [(point, seed) for point in points for seed in range(self.crashes)]
            self.faults += points
        await asyncio.gather(*(one(fault, seed) for fault, seed in runs))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--rows", default="", help="such as A1,B; all when not given")
    parser.add_argument("--seeds", type=int, default=4, help="runs of each fault")
    parser.add_argument("--faults", default="", help="of those rows, only faults whose name has this in it")
    parser.add_argument("--longest-seconds", type=float, default=3600, help="no faults that may last for longer")
    parser.add_argument("--parallel", type=int, default=8, help="runs at the same time")
    parser.add_argument("--crashes", type=int, default=1, help="runs of each crash point of row B2")
    parser.add_argument("--keep", action="store_true", help="keep the results for the page about reliability")
    options = parser.parse_args(arguments)
    rows = tuple(filter(None, options.rows.upper().split(",")))

    def chosen(row: str) -> bool:
        return not rows or row.startswith(rows)

    faults = [
        fault
        for fault in FAULTS
        if chosen(fault.row) and options.faults in fault.name
        if fault.seconds == UNTIL_THE_END or fault.seconds[1] <= options.longest_seconds
    ]
    if not faults and not chosen("B2"):
        parser.error(f"no fault of the rows {options.rows}")
    begin = time.monotonic()
    crashes = options.crashes if chosen("B2") and not options.faults else 0
    campaign = Campaign(faults, options.seeds, options.parallel, crashes)
    with suppress(KeyboardInterrupt):  # what there is so far counts
        asyncio.run(campaign.run())
    if options.keep:
        keep(campaign.faults, campaign.outcomes, datetime.now(UTC).date())
    print(json.dumps(figures(campaign.outcomes, time.monotonic() - begin)), flush=True)
    return 1 if any(each.bad for each in campaign.outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
