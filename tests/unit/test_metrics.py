"""The page /metrics: which series a resource has and for how long, and how the page is written."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.fakes.fleet import START, Lone, body, measured, reading
from tests.integration.support import eventually

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, ProcessingTime, Unavailable
from consumer_autoscaler.durations import BOUNDS_SECONDS, Durations
from consumer_autoscaler.runtime.metrics.family import PREFIX, Kind
from consumer_autoscaler.runtime.metrics.loop_lag import WINDOW_SECONDS, LoopLag
from consumer_autoscaler.runtime.metrics.page import FAMILIES
from consumer_autoscaler.runtime.metrics.resource import RESOURCE_FAMILIES, ResourceFamily

MOST_SERIES = 25
UNREACHABLE = Unavailable(SourceReason.BROKER_UNREACHABLE, "no broker answers")
NO_TIME = Unavailable(SourceReason.PROCESSING_TIME_UNAVAILABLE, "no page")


def behind(_: str, at: float) -> GroupReading:
    return reading(at, done=int((at - START) * 100), lag=2_000)


@asynccontextmanager
async def lone(said: Any = behind, time: Any = measured, **spec: object) -> AsyncIterator[Lone]:
    """One resource, `payments`, that asks for all there is, after three cycles."""
    operator = Lone(said, time)
    operator.fleet.observe(body("payments", **spec))
    for _ in range(3):
        await operator.tick()
    yield operator
    await operator.fleet.aclose()


def samples(text: str, name: str = "payments") -> dict[str, dict[str, float]]:
    """The resource's series: of each family the values by the labels of its own."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("name") == name and sample.name.startswith(PREFIX):
                own = ",".join(v for k, v in sorted(sample.labels.items()) if k not in ("name", "namespace"))
                found.setdefault(sample.name.removeprefix(PREFIX), {})[own] = sample.value
    return found


async def test_a_full_resource_has_no_more_series_than_promised() -> None:
    """With a promise and percentiles; one more for its alert, and nothing for failures that have not been."""
    async with lone() as operator:
        found = samples(await operator.text())
    assert found.pop("alert_firing") == {"far-behind": 1.0}
    assert sum(len(values) for values in found.values()) == MOST_SERIES
    assert found["status_condition"] == {
        "Ready,Observing": 1.0,
        "SourceHealthy,Valid": 1.0,
        "AbleToScale,ReadyForNewScale": 1.0,
        "ScalingLimited,DesiredWithinRange": 0.0,
        "Backpressured,KeepingUp": 0.0,
    }
    assert found["processing_time_seconds"] == {"0.5": 0.008, "0.99": 0.05}
    assert found["lag_records"] == {"": 16_000.0}
    assert found["promise_seconds"] == {"": 60.0}


async def test_what_is_not_known_has_no_series_and_failures_are_counted_by_reason() -> None:
    async with lone(lambda *_: UNREACHABLE, lambda _: NO_TIME) as operator:
        found = samples(await operator.text())
        assert found.keys().isdisjoint({"lag_records", "lag_seconds", "partitions", "processing_time_seconds",
                                        "arrival_rate_records_per_second", "last_successful_poll_timestamp_seconds",
                                        "alert_firing"})  # fmt: skip
        assert found["source_errors_total"] == {"BrokerUnreachable": 3.0, "ProcessingTimeUnavailable": 3.0}
        assert found["status_condition"]["SourceHealthy,BrokerUnreachable"] == 0.0
        assert found["status_condition"]["Backpressured,LagUnknown"] == -1.0
        assert sum(len(values) for values in found.values()) <= MOST_SERIES


@pytest.mark.parametrize(
    ("spec", "there", "absent"),
    [
        ({"mode": "Paused"}, {"paused"}, {"recommended_replicas"}),
        ({}, {"promise_seconds", "promise_broken_seconds_total"}, {"paused", "lost_records", "pending_records"}),
        ({"objective": {"lagPerReplica": 9}}, set(), {"promise_seconds", "promise_broken_seconds_total"}),
        ({"alerts": []}, set(), {"alert_firing"}),
    ],
)
async def test_what_does_not_apply_has_no_series(spec: dict[str, Any], there: set[str], absent: set[str]) -> None:
    async with lone(**spec) as operator:
        found = samples(await operator.text()).keys()
    assert there <= found
    assert found.isdisjoint(absent)


async def test_a_mean_stands_in_where_there_are_no_percentiles() -> None:
    def mean(at: float) -> ProcessingTime:
        return replace(measured(at), p50_seconds=None, p95_seconds=None, p99_seconds=None)

    async with lone(time=mean) as operator:
        found = samples(await operator.text())
    assert found["processing_time_mean_seconds"] == {"": 0.01}
    assert "processing_time_seconds" not in found


async def test_records_that_are_lost_or_pending_are_shown_while_there_are_any() -> None:
    def said(_: str, at: float) -> GroupReading:
        group = reading(at, done=0, lag=10)
        return replace(
            group, pending_messages=7, partitions=tuple(replace(p, start_offset=3) for p in group.partitions)
        )

    async with lone(said) as operator:
        found = samples(await operator.text())
    assert (found["pending_records"], found["lost_records"]) == ({"": 7.0}, {"": 24.0})


async def test_series_go_with_their_resource_and_with_the_lease() -> None:
    async with lone() as operator:
        assert samples(await operator.text())
        operator.leader = False
        text = await operator.text()
        assert samples(text) == {}
        assert f"{PREFIX}operator_leader 0.0" in text
        assert f'{PREFIX}managed_resources{{namespace="shop"}}' not in text
        operator.leader = True
        assert samples(await operator.text())
        assert f'{PREFIX}managed_resources{{namespace="shop"}} 1.0' in await operator.text()
        operator.fleet.forget("shop/payments")
        assert samples(await operator.text()) == {}


async def test_a_resource_with_an_invalid_spec_is_seen() -> None:
    """It has no autoscaler, and must not be missing among those that are not ready."""
    operator = Lone(behind, measured)
    operator.fleet.observe(body("broken", maxReplicas=0))
    text = await operator.text()
    assert samples(text, "broken") == {"status_condition": {"Ready,InvalidSpec": 0.0}}
    assert f'{PREFIX}managed_resources{{namespace="shop"}} 1.0' in text
    await operator.fleet.aclose()


async def test_a_failed_cycle_is_counted_for_its_resource_and_for_all() -> None:
    def said(_: str, at: float) -> GroupReading:
        raise ZeroDivisionError

    operator = Lone(said, measured)
    operator.fleet.observe(body("payments"))
    ticking = asyncio.create_task(operator.tick())
    await eventually(lambda: operator.meters.failed_cycles == 1)  # the next cycle is five seconds away
    ticking.cancel()
    text = await operator.text()
    assert samples(text)["reconcile_errors_total"] == {"": 1.0}
    assert f'{PREFIX}reconcile_total{{result="error"}} 1.0' in text
    await operator.fleet.aclose()


async def test_every_family_is_on_the_page_once_with_its_own_labels() -> None:
    """Names, types, texts and labels are those that the documentation is made from; a standard parser reads them."""
    async with lone() as operator:
        operator.cluster.requests["patch", "consumerautoscalers/status", "200"] += 1
        operator.cluster.request_seconds["patch"] = Durations()
        operator.stats.requests["ListOffsets"] += 1
        operator.stats.request_seconds["ok"].observe(0.01)
        text = await operator.text()
    heads = Counter(re.findall(rf"^# TYPE ({PREFIX}\S+)", text, re.MULTILINE))
    assert heads == {family.full_name: 1 for family in FAMILIES}
    known = {family.full_name: family for family in FAMILIES}
    for parsed in text_string_to_metric_families(text):
        if not parsed.name.startswith(PREFIX):
            continue
        family = known[parsed.name + ("_total" if parsed.type == "counter" else "")]
        assert (parsed.type, parsed.documentation) == (family.kind, family.help)
        for sample in parsed.samples:
            assert sample.labels.keys() - {"le"} == set(family.all_labels), sample


def test_names_follow_the_rules_of_prometheus() -> None:
    """Base units, `_total` on counters only, no label of a topic, a partition or a client, a text for each."""
    for family in FAMILIES:
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER), family.name
        assert not re.search(r"millis|minutes|_ms|bytes_per|percent", family.name)
        assert family.help.endswith("."), family.name
        assert not {"topic", "partition", "member", "client_id", "host"} & set(family.labels)
        resource = isinstance(family, ResourceFamily)
        assert not (resource and family.kind is Kind.HISTOGRAM), "buckets times resources are too many"


def test_each_family_of_a_resource_has_one_way_to_its_values() -> None:
    for family in RESOURCE_FAMILIES:
        assert (family.value is None) != (family.samples is None), family.name
        assert (family.samples is None) == (not family.labels), family.name


async def test_a_page_of_many_resources_is_written_in_slices() -> None:
    """The loop gets its turn between them, and every resource is on the page once for each family."""
    operator = Lone(behind, measured)
    for number in range(2_000):
        operator.fleet.observe(body(f"payments-{number}"))
    await operator.tick()
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    work = asyncio.create_task(other_work())
    pieces = [piece async for piece in operator.page()]
    work.cancel()
    shown = [piece for piece in pieces if b'name="payments-' in piece]
    assert turns >= len(shown) > 20
    assert max(len(piece) for piece in shown) < sum(len(piece) for piece in shown) / 10
    lines = b"".join(pieces).decode().splitlines()
    assert sum(line.startswith(f"{PREFIX}lag_records{{") for line in lines) == 2_000
    assert len(lines) == len(set(lines))
    await operator.fleet.aclose()


def test_durations_are_counted_up_to_each_bound() -> None:
    durations = Durations()
    for seconds in (0.0, BOUNDS_SECONDS[0], 0.02, 100.0):
        durations.observe(seconds)
    assert durations.cumulative == (2, 3, 3, 3, 3, 3, 4)
    assert durations.total_seconds == pytest.approx(100.025)


def test_the_longest_lag_of_a_minute_is_kept_and_no_longer() -> None:
    lag = LoopLag()
    assert lag.longest_seconds == 0.0
    for at, late in ((0.0, 0.2), (1.0, 0.5), (2.0, 0.1), (30.0, 0.3)):
        lag.note(at, late)
    assert lag.longest_seconds == 0.5
    lag.note(1.0 + WINDOW_SECONDS + 0.1, 0.0)
    assert lag.longest_seconds == 0.3
    lag.note(30.0 + WINDOW_SECONDS + 0.1, 0.0)
    assert lag.longest_seconds == 0.0


async def test_a_loop_that_is_held_up_is_noticed() -> None:
    async with LoopLag() as lag:
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        await asyncio.sleep(0.15)
    assert lag.longest_seconds >= 0.1
