"""`simulate --prometheus` as a person calls it, against a server that answers as Prometheus does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.unit.history_support import FakePrometheus, kafka_exporter, made

from consumer_autoscaler.cli import main
from consumer_autoscaler.simulation.trace import Floats, Trace
from consumer_autoscaler.simulation.world import World

HOURS = 3600.0
WORLD = World(topics=(12,), records_per_second=50.0)
RUSH = Trace("rush", np.array([0.0, 2 * HOURS, 3 * HOURS]), np.array([100.0, 400.0, 100.0]), 6 * HOURS)
PAST = made(RUSH, WORLD, replicas=6, scalings=[(2.5 * HOURS, 12)])
USUAL = ("--group", "payments", "--namespace", "shop", "--days", "0.25")
RESOURCE = """
apiVersion: consumerautoscaler.dev/v1alpha1
kind: ConsumerAutoscaler
metadata: {name: payments, namespace: shop}
spec:
  targetRef: {name: payments}
  maxReplicas: 6
  sources: [{name: orders, kafka: {bootstrapServers: "kafka:9092", consumerGroup: payments, topics: [orders]}}]
  objective: {maxDelaySeconds: 90}
"""
Series = Callable[[str], Floats | None]


@asynccontextmanager
async def prometheus(series: Series, status: int = 200) -> AsyncIterator[tuple[str, list[web.Request], FakePrometheus]]:
    """The past ends now; gives the URL and what was asked."""
    fake = FakePrometheus(time.time() - 6 * HOURS, 60, series)
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(request)
        if status != 200:
            return web.Response(status=status, text="no")
        form = await request.post()
        start, end, step = (float(str(form[name])) for name in ("start", "end", "step"))
        text = await fake(str(form["query"]), start=start, end=end, step=step)
        return web.Response(text=text, content_type="application/json")

    application = web.Application()
    application.router.add_post("/prometheus/api/v1/query_range", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("/prometheus")), requests, fake


async def asked(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["simulate", *arguments])


async def test_the_past_is_replayed_and_told_in_one_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    """What was seen, what a replica does, and how today's replicas, ours and KEDA did."""
    async with prometheus(kafka_exporter(PAST)) as (url, _, _):
        assert await asked("--prometheus", url, *USUAL, "-o", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    history = answer["history"]
    assert list(answer["policies"]) == ["today", "ours", "keda:1000"]
    assert history["capacity_records_per_second"] == pytest.approx(50, rel=0.05)
    assert history["seen"]["scalings"] == answer["policies"]["today"]["scalings"] == 1
    assert history["seen"]["replica_hours"] == pytest.approx(2.5 * 6 + 3.5 * 12, rel=0.02)
    assert history["seen"]["late_minutes"] == pytest.approx(history["late_minutes"]["today"], abs=5)
    assert history["late_minutes"]["ours"] < history["seen"]["late_minutes"] - 10
    summary = history["summary"]
    assert "\n" not in summary
    for words in (
        "the group payments got",
        "on 12 partitions",
        "A replica does 50/s",
        "What runs today used 57 replica-hours with 1 scaling,",
        "The operator would have used",
        "KEDA (keda:1000) would have used",
        "mode: Observe",
    ):
        assert words in summary


async def test_the_table_comes_first_and_the_paragraph_last(capsys: pytest.CaptureFixture[str]) -> None:
    async with prometheus(kafka_exporter(PAST)) as (url, _, _):
        assert await asked("--prometheus", url, *USUAL, "--policy", "ours", "--policy", "static:8") == 0
    printed = capsys.readouterr().out
    table, _, story = printed.partition("\n\nFrom ")
    assert "static:8" in table
    assert "keda" not in printed
    assert story.startswith("20")


async def test_a_resource_says_group_topics_target_and_promise(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With --prometheus the one argument is the resource; its maximum limits ours, and that is said."""
    path = tmp_path / "payments.yaml"
    path.write_text(RESOURCE, encoding="utf-8")
    async with prometheus(kafka_exporter(PAST)) as (url, _, fake):
        assert await asked("--prometheus", url, str(path), "--days", "0.25", "-o", "json") == 0
    history = json.loads(capsys.readouterr().out)["history"]
    assert any('consumergroup="payments", topic="orders"' in query for query in fake.asked)
    assert any('deployment="payments", namespace="shop"' in query for query in fake.asked)
    assert "longer than 90 s" in history["summary"]
    assert "more arrived than the most replicas can do" in history["summary"]


async def test_what_cannot_be_fitted_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A group that always kept up, and one whose replicas nobody tells."""
    kept_up = made(RUSH, WORLD, replicas=12)
    async with prometheus(kafka_exporter(kept_up)) as (url, _, _):
        assert await asked("--prometheus", url, *USUAL) == 2
        said = capsys.readouterr().err
        assert "--capacity" in said
        assert "33" in said  # 400/s by twelve
        assert await asked("--prometheus", url, *USUAL, "--capacity", "50", "-o", "json") == 0
        assert (
            "A replica does 50/s, as was given (not fitted" in json.loads(capsys.readouterr().out)["history"]["summary"]
        )

    def without_replicas(query: str) -> Floats | None:
        return None if "kube_" in query else kafka_exporter(PAST)(query)

    async with prometheus(without_replicas) as (url, _, _):
        assert await asked("--prometheus", url, *USUAL) == 2
        said = capsys.readouterr().err
        assert "--target" in said
        assert "--replicas-query" in said
        assert await asked("--prometheus", url, *USUAL, "--capacity", "50", "-o", "json") == 0
        answer = json.loads(capsys.readouterr().out)
        assert list(answer["policies"]) == ["ours", "keda:1000"]
        assert answer["history"]["seen"]["replica_hours"] is None
        assert await asked("--prometheus", url, *USUAL, "--capacity", "50", "--policy", "today") == 2
        assert "how many replicas there were is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "says"), [(401, "refuses the login"), (404, "/api/v1 lives"), (302, "/api/v1 lives")]
)
async def test_a_prometheus_that_refuses_is_said(capsys: pytest.CaptureFixture[str], status: int, says: str) -> None:
    async with prometheus(kafka_exporter(PAST), status) as (url, _, _):
        with_password = url.replace("http://", "http://user:secret@")
        assert await asked("--prometheus", with_password, *USUAL) == 1
    said = capsys.readouterr().err
    assert says in said
    assert "secret" not in said


async def test_nobody_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    async with prometheus(kafka_exporter(PAST)) as (url, _, _):
        pass
    assert await asked("--prometheus", url, *USUAL) == 1
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--prometheus", "http://127.0.0.1:1"], 2, "--group"),
        (["--prometheus", "prometheus:9090", "--group", "g"], 1, "must be a URL"),
        (["--prometheus", "http://127.0.0.1:1", "--group", "g", "--days", "0"], 2, "--days 0"),
        (
            ["--prometheus", "http://127.0.0.1:1", "--group", "g", "--bearer-token-file", "/dev/null"],
            1,
            "https:// only",
        ),
        (["load.csv", "a.yaml", "--prometheus", "http://127.0.0.1:1", "--group", "g"], 2, "leave TRACE out"),
        (["--prometheus", "http://127.0.0.1:1", "--group", "g", "--from", "60"], 2, "choose the time by --days"),
        ([], 2, "give a load"),
    ],
)
async def test_wrong_use_is_said_with_the_option(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, says: str
) -> None:
    assert await asked(*arguments) == status
    assert says in capsys.readouterr().err
