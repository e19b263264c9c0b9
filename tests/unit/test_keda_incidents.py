"""The incidents that KEDA's users have reported, each with the test that would fail if it happened here.

Most of them are tested where the part is that would fail: the table names those. The tests at the end are for what no
other test says. Issues are of https://github.com/kedacore/keda.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.addresses import ON_THIS_MACHINE
from tests.fakes.fleet import POLL_SECONDS, Lone, body, reading

from bed.paths import REPOSITORY
from bed.processes import free_port
from consumer_autoscaler.decision.values import OffsetReset, Unavailable
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.protocol import GroupRequest


@dataclass(frozen=True, slots=True)
class Incident:
    """What happened there, and which tests say that it does not happen here."""

    what: str
    tests: tuple[str, ...]


INCIDENTS: Mapping[str, Incident] = {
    "#4098": Incident(
        "an error on one partition made the lag too small: zero replicas",
        ("unit/test_kafka_faults.py::test_a_moved_leader_is_asked_again_and_never_left_out_of_the_sum",
         "integration/test_kafka_failures.py::test_a_lost_broker_gives_no_wrong_reading_and_spares_the_others"),
    ),
    "#2612, #2033": Incident(
        "invalid offsets of -1 were summed: maximum, or nonsense",
        ("unit/test_kafka_lag.py::test_lag_is_never_negative_and_never_more_than_the_log",
         "integration/test_keda_cases.py::test_unknown_lag_is_not_zero_and_does_not_scale"),
    ),
    "#8036": Incident(
        "an answer other than 200 was read as a length of 0",
        ("wire/test_prometheus_faults.py::test_a_fault_is_unavailable_to_the_reader_and_names_prometheus",
         "wire/test_processing_scrape.py::test_a_broken_pod_is_told_and_does_not_disturb_the_others",
         "integration/test_bad_input.py::test_metrics_that_are_rubbish_keep_the_replicas"),
    ),
    "#2484": Incident(
        "a scaler stayed dead until the operator was restarted",
        ("unit/test_kafka_faults.py::test_a_broken_connection_is_made_again",
         "integration/test_kafka_failures.py::test_a_half_open_connection_costs_one_timeout_and_is_made_again",
         "integration/test_faults.py::test_a_broker_that_is_killed_under_a_backlog_changes_no_count"),
    ),
    "#4389, #4413": Incident(
        "one object made the whole operator crash again and again",
        ("unit/test_resource_generated.py::test_a_resource_that_cannot_be_read_at_all_disturbs_no_other",
         "unit/test_resource_generated.py::test_generated_specs_are_read_or_refused_as_the_schema_says",
         "integration/test_bad_input.py::test_a_sound_resource_is_not_disturbed"),
    ),
    "#5248, #1565": Incident(
        "memory leaked while a source failed",
        ("unit/test_keda_incidents.py::test_a_source_that_fails_for_long_holds_nothing_more_than_at_first",),
    ),
    "#1937": Incident(
        "26 million requests to the API server in a week",
        ("unit/test_keda_incidents.py::test_a_resource_at_rest_asks_the_api_server_for_nothing",),
    ),
    "#3678": Incident(
        "who had lost the lease listed everything over and over",
        ("integration/test_faults.py::test_a_leader_that_was_stopped_writes_nothing_when_it_wakes_up",
         "integration/test_faults.py::test_an_outage_longer_than_the_lease_costs_one_restart"),
    ),
    "#3810": Incident(
        "with 1,088 objects the client held itself up for 24 s",
        ("integration/test_operator_life.py::test_a_thousand_resources_do_not_hold_up_the_end",
         "integration/test_kafka_reading.py::test_a_thousand_subscriptions_are_served_at_once_from_a_few_readings"),
    ),
    "#7856": Incident(
        "a loop that connected again without a pause",
        ("unit/test_kafka_connection.py::test_backoff_grows_to_a_bound_and_never_to_nothing",
         "integration/test_kafka_failures.py::test_reconnects_are_few_and_not_at_the_same_time"),
    ),
    "#7910": Incident(
        "a map was changed by one thread while another went through it: a panic",
        ("unit/test_keda_incidents.py::test_resources_come_and_go_while_a_page_is_written",),
    ),
    "2.20.2": Incident(
        "a target without spec.replicas in the cache: a panic",
        ("unit/test_cluster_values.py::test_a_count_that_is_not_set_is_one_and_zero_is_zero",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("issue", INCIDENTS)
def test_each_incident_has_tests_that_exist(issue: str) -> None:
    """A test that is renamed takes its line here along."""
    for named in INCIDENTS[issue].tests:
        path, _, name = named.partition("::")
        tree = ast.parse((REPOSITORY / "tests" / path).read_text())
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert name in functions, named


def _open_sockets() -> int:
    return sum(1 for each in Path("/proc/self/fd").iterdir() if _is_socket(each))


def _is_socket(path: Path) -> bool:
    try:
        return path.readlink().name.startswith("socket:")
    except OSError:
        return False


def _held() -> dict[str, int]:
    """What grows where something leaks: tasks, sockets, and all objects that the collector knows."""
    gc.collect()
    return {"tasks": len(asyncio.all_tasks()), "sockets": _open_sockets(), "objects": len(gc.get_objects())}


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and says nothing, ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield server.getsockname()[1]


async def test_a_source_that_fails_for_long_holds_nothing_more_than_at_first(silent_port: int) -> None:
    """Of two clusters one refuses connections and one never answers; after ten times as many polls no more is held."""
    source = KafkaLagSource(time.time, request_timeout_seconds=0.05, policy=ON_THIS_MACHINE)
    subscriptions = [
        source.subscribe(
            GroupRequest(
                bootstrap_servers=(f"127.0.0.1:{port}",),
                consumer_group=f"g{number}",
                topics=("orders",),
                offset_reset=OffsetReset.EARLIEST,
                interval_seconds=0.02,
            )
        )
        for port in (free_port(), silent_port)
        for number in range(5)
    ]

    async def polls(count: int) -> None:
        for _ in range(count):
            found = await asyncio.gather(*(each.next() for each in subscriptions))
            assert all(isinstance(each, Unavailable) for each in found)

    await polls(30)
    early = _held()
    await polls(300)
    late = _held()
    for each in subscriptions:
        each.close()
    await source.aclose()
    assert late["tasks"] <= early["tasks"] + 2, (early, late)
    assert late["sockets"] <= early["sockets"] + 2, (early, late)
    assert late["objects"] <= early["objects"] + 300, (early, late)  # one for each poll would be 3,000


async def test_a_resource_at_rest_asks_the_api_server_for_nothing() -> None:
    """Hours of polls of an even load: some status writes while it settles, then one an hour at most."""
    operator = Lone(lambda _, at: reading(at, done=int(10 * (at - 1_800_000_000)), lag=5), lambda _: None)
    writes: list[Any] = []
    kept = operator.cluster.patch_status

    async def counted(*arguments: Any) -> None:
        writes.append(arguments)
        await kept(*arguments)

    operator.cluster.patch_status = counted  # type: ignore[method-assign]
    operator.fleet.observe(body("even"))
    hour = 3600 // POLL_SECONDS
    for _ in range(hour):
        await operator.tick()
    settled = len(writes)
    for _ in range(5 * hour):
        await operator.tick()
    assert settled < 20
    assert len(writes) - settled <= 5, "more than one status write an hour"
    await operator.fleet.aclose()


async def test_resources_come_and_go_while_a_page_is_written() -> None:
    """Between two slices of the page some resources go and others come: each line of it is there once all the same."""
    operator = Lone(lambda _, at: reading(at, done=100, lag=5), lambda _: None)
    for number in range(1_000):
        operator.fleet.observe(body(f"old-{number}"))
    await operator.tick()
    pieces: list[bytes] = []
    async for piece in operator.page():
        pieces.append(piece)
        number = len(pieces)
        operator.fleet.forget(f"shop/old-{number}")
        operator.fleet.observe(body(f"new-{number}"))
    lines = b"".join(pieces).decode().splitlines()
    assert len(pieces) > 20
    assert len(lines) == len(set(lines))
    await operator.fleet.aclose()
