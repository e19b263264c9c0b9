"""The simulator is honest: three loads on real parts, at once, and each of them again in the simulator.

Raw samples are left in build/bench/replay.json, so that differences can be looked into without another half hour.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.integration import replay
from tests.integration.replay import Change, Live, Load, Measured
from tests.integration.site import SCALERS
from tests.integration.support import Bed, eventually

from bed import consumers, kafka_admin, lateness
from bed.controlplane import ControlPlane
from bed.operator import Operator
from bed.paths import REPOSITORY
from bed.processes import Process
from bed.processnode import ProcessNode

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(2400)]

LOADS = (
    Load("code", "azure_llm_code_onoff", 1715, 3430, 0.2),
    Load("conversation", "azure_llm_conv_steady", 1750, 3495, 0.2),
    Load("cars", "iot_cars_rush_hours", 48_600, 49_800, 0.25),
)
WARM_UP_SECONDS = 60.0
LEAST_SHARE_WITHIN = 0.95
GONE_SECONDS = 15.0
CAPACITY = {"expectedRecordsPerMinute": round(60 * replay.RATE_PER_REPLICA)}


@pytest.fixture(scope="module")
def node(controlplane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessNode]:
    """Runs the consumers as processes of this machine."""
    with ProcessNode(controlplane, tmp_path_factory.mktemp("node")) as node:
        yield node
    controlplane.kubectl("delete", "node", node.name)


async def test_the_simulator_foretells_what_real_consumers_do(
    bed: Bed, operator: Operator, node: ProcessNode, tmp_path: Path
) -> None:
    """Replicas over time within one useful step for 95 % of it, delays within a quarter or three seconds."""
    groups = await asyncio.gather(*(played(bed, operator, load, tmp_path) for load in LOADS))
    await asyncio.sleep(GONE_SECONDS)  # the pods write what they did when they end
    starts = [seconds for live in groups for seconds in live.starts]
    logs = node.pods_dir
    measured = Measured(starts, replay.pauses_in(logs), await asyncio.to_thread(replay.pace_in, logs))
    keep(groups, measured)
    print(f"measured: {measured}")
    compared = [replay.compare(live, measured) for live in groups]
    for each in compared:
        print(each.text())
    assert [each.name for each in compared if each.within < LEAST_SHARE_WITHIN] == []
    assert [each.name for each in compared if not each.delays_agree] == []


async def played(bed: Bed, operator: Operator, load: Load, folder: Path) -> Live:
    """One load from its beginning to its end, on a group of its own."""
    name, results = f"replay-{load.name}", folder / load.name
    await kafka_admin.create_topics(bed.kafka.bootstrap, [kafka_admin.Topic(name, replay.PARTITIONS)])
    await bed.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    trace = load.played(WARM_UP_SECONDS)
    first = max(1, round(float(trace.rates[0]) * 1.2 / replay.RATE_PER_REPLICA))
    arguments = ["--rate", str(replay.RATE_PER_REPLICA), "--batch", str(replay.BATCH)]
    arguments += ["--commit-interval", str(replay.COMMIT_SECONDS)]
    common = {"bootstrap": bed.kafka.bootstrap, "topic": name}
    target = consumers.deployment(
        name, **common, replicas=min(first, replay.MOST_REPLICAS), arguments=arguments, results=results
    )
    resource = consumers.autoscaler(
        name,
        **common,
        max_replicas=replay.MOST_REPLICAS,
        promise_seconds=replay.PROMISE_SECONDS,
        poll_seconds=replay.POLL_SECONDS,
        spec={"capacity": CAPACITY},
    )
    path, scalers = f"/apis/apps/v1/namespaces/{name}/deployments", f"{SCALERS}/namespaces/{name}/consumerautoscalers"
    await bed.api.call("POST", path, target)
    await eventually(lambda: bed.witness.ready.get(name) == target["spec"]["replicas"], 60)
    producer = Process(
        f"producer-{load.name}",
        [
            *(sys.executable, "-m", "bed.workload", "produce", "--bootstrap", bed.kafka.bootstrap, "--topic", name),
            *("--partitions", str(replay.PARTITIONS), "--profile", load.profile(WARM_UP_SECONDS)),
            *("--results", str(folder / f"{load.name}-sent.jsonl")),
        ],
        log=folder / f"{load.name}-producer.log",
        env={"PYTHONPATH": str(REPOSITORY / "deploy" / "dev")},
    )
    try:
        await eventually(lambda: sent_first_at(folder / f"{load.name}-sent.jsonl"), 30)
        began = sent_first_at(folder / f"{load.name}-sent.jsonl")
        await bed.api.call("POST", scalers, resource)
        async with following(bed, name, began) as changes:
            await asyncio.sleep(began + trace.end - time.time())
    finally:
        producer.stop()
    ages = lateness.total(line for line in lateness.read(results) if line.at >= began + WARM_UP_SECONDS)
    polled = polled_at(operator, name) - began
    await bed.api.call("DELETE", f"{path}/{name}")
    return Live(load, WARM_UP_SECONDS, tuple(changes), ages, polled)


def sent_first_at(results: Path) -> float:
    """When the producer began, 0.0 while it has not: it says once a second how much it has sent."""
    lines = results.read_text().splitlines() if results.exists() else []
    return float(json.loads(lines[0])["at"]) - 1.0 if lines else 0.0


@asynccontextmanager
async def following(bed: Bed, name: str, began: float) -> AsyncIterator[list[Change]]:
    """Every change of the group's Deployment, as the API server tells it."""
    changes: list[Change] = []

    async def watch() -> None:
        async for _, items in bed.api.list_and_watch(f"/apis/apps/v1/namespaces/{name}/deployments", {}):
            for item in items:
                replicas, ready = item["spec"]["replicas"], item["status"].get("readyReplicas", 0)
                if not changes or (changes[-1].replicas, changes[-1].ready) != (replicas, ready):
                    changes.append(Change(time.time() - began, replicas, ready))

    task = asyncio.create_task(watch())
    try:
        yield changes
    finally:
        task.cancel()
        await asyncio.wait([task])


def polled_at(operator: Operator, name: str) -> float:
    """The moment of the operator's last poll of the group, on the wall clock."""
    series = f'consumer_autoscaler_last_successful_poll_timestamp_seconds{{name="{name}",namespace="{name}"}} '
    _, text = operator.get("/metrics")
    return next(float(line.removeprefix(series)) for line in text.splitlines() if line.startswith(series))


def keep(groups: list[Live], measured: Measured) -> None:
    path = REPOSITORY / "build" / "bench" / "replay.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"groups": [live.to_json() for live in groups], "measured": asdict(measured)}))
