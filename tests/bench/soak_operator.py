"""The operator of the soak: the program itself, with its intervals divided by SOAK_PACE, which tells what it holds.

`python -m tests.bench.soak_operator run …` with SOAK_PACE and SOAK_FILE in the environment. The file gets a line of
JSON every five seconds.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.common import Usage

from consumer_autoscaler import cli
from consumer_autoscaler.resource.spec import Resource, parse
from consumer_autoscaler.runtime import autoscaler, fleet, kafka_access, processing_time, run
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource

PACE = float(os.environ["SOAK_PACE"])
FILE = Path(os.environ["SOAK_FILE"])
SAMPLE_SECONDS = 5.0

cycles = 0
kafka_sources: list[KafkaLagSource] = []


def faster(body: Mapping[str, Any]) -> Resource:
    """The schema allows no interval below a second."""
    resource = parse(body)
    interval: Any = resource.policy.poll_interval_seconds / PACE
    return replace(resource, policy=replace(resource.policy, poll_interval_seconds=interval))


def counted(cycle: Any) -> Any:
    @functools.wraps(cycle)
    async def one(*arguments: Any) -> bool:
        global cycles
        cycles += 1
        result: bool = await cycle(*arguments)
        return result

    return one


def sample() -> None:
    """One line of what the process holds now."""
    usage, source = Usage.of(os.getpid()), kafka_sources[0]
    line = {
        "at": time.time(),
        "cycles": cycles,
        "rss_mib": usage.rss_mib,
        "cpu_s": usage.cpu_seconds,
        "threads": usage.threads,
        "fds": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "tasks": len(asyncio.all_tasks()),
        "objects": len(gc.get_objects()),
        "readings": source.stats.readings,
        "failures": dict(source.stats.failures),
        "clusters": source.stats.clusters,
        "connections": source.stats.connections,
        "ticks_skipped": source.stats.ticks_skipped,
    }
    with FILE.open("a") as sink:
        sink.write(json.dumps(line) + "\n")


async def tell() -> None:
    while True:
        await asyncio.sleep(SAMPLE_SECONDS)
        sample()


async def run_and_tell(settings: Any) -> int:
    task = asyncio.create_task(tell())
    try:
        return await real_run(settings)
    finally:
        task.cancel()


class Seen(KafkaLagSource):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        kafka_sources.append(self)


real_run = run.run
run.run = run_and_tell
run.KafkaLagSource = Seen  # type: ignore[misc]
run.KafkaAccess = functools.partial(  # type: ignore[assignment,misc]
    kafka_access.KafkaAccess,
    again_seconds=kafka_access.AGAIN_SECONDS / PACE,
    after_a_refusal_seconds=kafka_access.AFTER_A_REFUSAL_SECONDS / PACE,
)
fleet.parse = faster
processing_time.SECRETS_AGAIN_SECONDS /= PACE
autoscaler.Autoscaler.cycle = counted(autoscaler.Autoscaler.cycle)  # type: ignore[method-assign]

if __name__ == "__main__":
    FILE.unlink(missing_ok=True)
    sys.exit(cli.main())
