"""`simulate --prometheus` against a real Prometheus that has six hours of a group's past, under each exporter's names.

The past is made by the modelled group, written down as each exporter shows it, and put into Prometheus' store by its
own tool. So every query is answered by the real thing, with what makes trouble there: two exporters at once, members
in the labels, partitions without commits, Deployments of the same name in another namespace.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from tests.integration.prometheus_server import prometheus
from tests.unit.history_support import Point, points

from bed.parts import program
from consumer_autoscaler.cli import main
from consumer_autoscaler.prometheus_range import range_queries
from consumer_autoscaler.simulation.history_collect import collect
from consumer_autoscaler.simulation.history_queries import Wanted
from consumer_autoscaler.simulation.trace import Trace
from consumer_autoscaler.simulation.world import World

pytestmark = pytest.mark.integration

HOURS = 3600.0
PARTITIONS = 6
WORLD = World(topics=(PARTITIONS,), records_per_second=50.0)
RUSH = Trace("rush", np.array([0.0, 2 * HOURS, 3 * HOURS]), np.array([50.0, 200.0, 50.0]), 6 * HOURS)
Samples = Iterator[tuple[str, float]]  # (series, value)


def kafka_exporter(point: Point) -> Samples:
    """Two of them, and a topic on which the group never committed."""
    for instance in ("a", "b"):
        for topic, partition, ended, committed in _partitions(point):
            labels = f'consumergroup="g",topic="{topic}",partition="{partition}",instance="{instance}"'
            yield f"kafka_consumergroup_lag{{{labels}}}", ended - committed
            yield f"kafka_consumergroup_current_offset{{{labels}}}", committed
        never = f'consumergroup="g",topic="never",partition="0",instance="{instance}"'
        yield f"kafka_consumergroup_lag{{{never}}}", -1
        yield f"kafka_consumergroup_current_offset{{{never}}}", -1


def kminion(point: Point) -> Samples:
    for topic, partition, ended, committed in _partitions(point):
        labels = f'group_id="km",topic_name="{topic}",partition_id="{partition}"'
        yield f"kminion_kafka_consumer_group_topic_partition_lag{{{labels}}}", ended - committed
    labels = 'group_id="km",topic_name="orders"'
    yield f"kminion_kafka_consumer_group_topic_lag{{{labels}}}", float((point.ended - point.committed).sum())
    yield f"kminion_kafka_consumer_group_topic_offset_sum{{{labels}}}", float(point.committed.sum())


def kafka_lag_exporter(point: Point) -> Samples:
    """Members are in the labels, so series change at each rebalance."""
    for topic, partition, ended, committed in _partitions(point):
        member = f"{topic}-{point.replicas}-{partition % point.replicas}"
        labels = f'cluster_name="c",group="kl",topic="{topic}",partition="{partition}",consumer_id="{member}"'
        yield f"kafka_consumergroup_group_lag{{{labels}}}", ended - committed
        yield f"kafka_consumergroup_group_offset{{{labels}}}", committed


def kafkametrics_receiver(point: Point) -> Samples:
    for topic, partition, ended, committed in _partitions(point):
        labels = f'group="ot",topic="{topic}",partition="{partition}"'
        yield f"kafka_consumer_group_lag{{{labels}}}", ended - committed
        yield f"kafka_consumer_group_offset{{{labels}}}", committed


def own(point: Point) -> Samples:
    """The operator's, which tells rates and replicas itself; another resource beside it."""
    for name, group, factor in (("payments", "own", 1), ("other", "else", 7)):
        labels = f'namespace="shop",name="{name}"'
        yield f'consumer_autoscaler_info{{{labels},group="{group}",target="{name}"}}', 1
        rate = float(RUSH.rate_at(np.array([max(0.0, point.seconds - 1)]))[0])
        lag = float((point.ended - point.committed).sum())
        yield f"consumer_autoscaler_arrival_rate_records_per_second{{{labels}}}", rate * factor
        yield f"consumer_autoscaler_lag_records{{{labels}}}", lag * factor
        yield f"consumer_autoscaler_partitions{{{labels}}}", PARTITIONS
        yield f"consumer_autoscaler_status_current_replicas{{{labels}}}", point.replicas * factor


def kube_state_metrics(point: Point) -> Samples:
    """The target, one of the same name elsewhere, and one whose namespace the scrape has renamed."""
    yield 'kube_deployment_spec_replicas{namespace="shop",deployment="payments"}', point.replicas
    yield 'kube_deployment_spec_replicas{namespace="else",deployment="payments"}', 40
    renamed = 'namespace="monitoring",exported_namespace="shop",deployment="renamed"'
    yield f"kube_deployment_spec_replicas{{{renamed}}}", point.replicas
    yield 'kube_statefulset_replicas{namespace="shop",statefulset="ordered"}', point.replicas


def _partitions(point: Point) -> Iterator[tuple[str, int, float, float]]:
    for partition in range(PARTITIONS):
        yield "orders", partition, float(point.ended[partition]), float(point.committed[partition])


@pytest.fixture(scope="module")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A Prometheus with the past up to now, scraped each 30 s."""
    folder = tmp_path_factory.mktemp("past")
    begin = time.time() - 6 * HOURS
    lines: dict[str, list[str]] = {}
    for point in points(RUSH, WORLD, replicas=3, scalings=[(2.6 * HOURS, 6)], step=30):
        for source in (kafka_exporter, kminion, kafka_lag_exporter, kafkametrics_receiver, own, kube_state_metrics):
            for series, value in source(point):
                name = series.partition("{")[0]
                lines.setdefault(name, [f"# TYPE {name} gauge"]).append(f"{series} {value} {begin + point.seconds:.3f}")
    text = folder / "past.om"
    text.write_text("\n".join(line for family in lines.values() for line in family) + "\n# EOF\n", encoding="utf-8")
    command = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", text, folder / "data"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    async with prometheus(folder, "global: {scrape_interval: 30s}\n") as address:
        yield address


async def replay(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    status = await asyncio.to_thread(
        main, ["simulate", "--days", "0.24", "--policy", "today", *arguments, "-o", "json"]
    )
    printed = capsys.readouterr()
    assert status == 0, printed.err
    answer: dict[str, Any] = json.loads(printed.out)
    return answer


@pytest.mark.parametrize("group", ["g", "km", "kl", "ot", "own"])
async def test_the_same_past_is_read_under_the_names_of_each_exporter(
    address: str, capsys: pytest.CaptureFixture[str], group: str
) -> None:
    """The load, what a replica does, and what was late are those of the group that made it."""
    answer = await replay(
        capsys, "--prometheus", address, "--group", group, "--target", "payments", "--namespace", "shop"
    )
    history = answer["history"]
    assert history["partitions"] == PARTITIONS
    assert history["missing_share"] < 0.02
    assert history["records"] == pytest.approx(5 * HOURS * 50 + 1 * HOURS * 200, rel=0.05)
    assert history["capacity_records_per_second"] == pytest.approx(50, rel=0.05)
    assert history["seen"]["scalings"] == 1
    assert history["seen"]["late_minutes"] == pytest.approx(history["late_minutes"]["today"], rel=0.15)
    assert history["seen"]["late_minutes"] > 30


@pytest.mark.parametrize("group", ["g", "km", "kl", "ot"])
async def test_partitions_that_are_behind_are_counted_by_prometheus(address: str, group: str) -> None:
    """All of them while three replicas are overrun; what a real one answers to comparisons of vectors and scalars."""
    wanted = Wanted(group=group, start=time.time() - 3.9 * HOURS, end=time.time() - 3.5 * HOURS, namespace="shop")
    async with range_queries(address) as ask:
        recorded = await collect(ask, wanted)
    assert recorded.behind is not None
    assert recorded.behind.tolist() == [PARTITIONS] * len(recorded.lag)
    assert recorded.lag.min() > 1000


@pytest.mark.parametrize("target", ["renamed", "ordered"])
async def test_replicas_of_other_kinds_and_behind_renamed_labels_are_found(
    address: str, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    answer = await replay(capsys, "--prometheus", address, "--group", "g", "--target", target, "--namespace", "shop")
    assert answer["history"]["seen"]["scalings"] == 1


async def test_a_target_in_two_namespaces_must_be_told_apart(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", "--prometheus", address, "--group", "g", "--target", "payments", "--days", "0.24"]
    assert await asyncio.to_thread(main, arguments) == 2
    assert "2 namespaces have a payments" in capsys.readouterr().err


async def test_own_queries_are_taken(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Arrivals of half the offsets, replicas by hand; a query that is none is told in Prometheus' words."""
    half = 'sum(rate(kafka_consumergroup_current_offset{consumergroup="g", instance="a"}[2m])) / 2'
    query = ["--prometheus", address, "--group", "g", "--query", half, "--replicas-query", "vector(6)"]
    answer = await replay(capsys, *query, "--capacity", "50")
    assert answer["history"]["records"] == pytest.approx((5 * HOURS * 50 + 1 * HOURS * 200) / 2, rel=0.05)
    assert answer["history"]["seen"]["scalings"] == 0
    wrong = ["simulate", "--prometheus", address, "--group", "g", "--query", "sum(", "--capacity", "50"]
    assert await asyncio.to_thread(main, wrong) == 2
    assert "parse error" in capsys.readouterr().err


async def test_an_unknown_group_is_said(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["simulate", "--prometheus", address, "--group", "nobody"]) == 2
    assert "knows no group 'nobody'" in capsys.readouterr().err
