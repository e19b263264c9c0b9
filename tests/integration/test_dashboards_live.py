"""Every query of the dashboards, asked of a real Prometheus that watches a running operator, has something to show."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from tests.integration.support import Bed, eventually
from tests.integration.watched import JOB, Watched, watched

import dashboards

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# Cannot be made to happen: only a defect of the operator makes a cycle fail.
NEVER_SEEN = {'sum(increase(consumer_autoscaler_reconcile_errors_total{namespace="$namespace",name="$name"}[10m]))'}
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")


class Asked(NamedTuple):
    """One query, from where; over time, as a panel with lines asks it, or for the present only."""

    where: str
    query: str
    instant: bool


def asked() -> list[Asked]:
    found = []
    for uid, text in dashboards.made().items():
        board: dict[str, Any] = json.loads(text)
        for each in board["templating"]["list"][1:]:
            found.append(Asked(f"{uid}/${each['name']}", each["query"]["query"], True))
        for each in board["annotations"]["list"]:
            found.append(Asked(f"{uid}/{each['name']}", each["expr"], False))
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                where = f"{uid}/{panel['title']}/{target['refId']}"
                found.append(Asked(where, target["expr"], target.get("instant", False)))
    return found


@pytest.fixture(scope="module")
async def world(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    async with watched(bed, tmp_path_factory.mktemp("watched")) as world:
        yield world


@pytest.mark.parametrize("each", [each for each in asked() if each.query not in NEVER_SEEN], ids=lambda e: e.where)
async def test_a_query_has_something_to_show(world: Watched, each: Asked) -> None:
    """For one of the resources at least, with the variables as a person chooses them."""

    async def shown() -> bool:
        return any([await _answers(world, each, query) for query in _chosen(world, each.query)])

    await eventually(shown, 90, lambda: f"nothing for {each.query}")


def _chosen(world: Watched, query: str) -> list[str]:
    """The query for each resource, or for all where the variable takes several."""
    query = query.replace("$__rate_interval", "10s").replace('=~"$job"', f'=~"({JOB})"')
    names = [site.name for site in world.sites.values()]
    query = query.replace('=~"$namespace"', f'=~"({"|".join(names)})"')
    return sorted({query.replace("$namespace", name).replace("$name", "scaler") for name in names})


async def _answers(world: Watched, each: Asked, query: str) -> bool:
    if values := LABEL_VALUES.fullmatch(query):
        return bool(await world.get(f"label/{values[2]}/values", **{"match[]": values[1]}))
    if each.instant:
        return bool((await world.get("query", query=query))["result"])
    now = time.time()
    return bool((await world.get("query_range", query=query, start=f"{now - 240}", end=f"{now}", step="1"))["result"])


async def test_what_a_person_sees_is_what_is_there(world: Watched) -> None:
    """The numbers of the busy one, at a glance and alone, are those of its status."""
    busy = world.sites["busy"]
    its = f'namespace="{busy.name}",name="scaler"'
    status = await busy.status()
    replicas = (await world.get("query", query=f"consumer_autoscaler_status_current_replicas{{{its}}}"))["result"]
    assert float(replicas[0]["value"][1]) == status["replicas"]["current"] >= 3
    kept = await world.get("query", query=f"consumer_autoscaler_promise_broken_seconds_total{{{its}}}")
    assert float(kept["result"][0]["value"][1]) > 0


async def test_the_alerts_of_what_is_wrong_fire_and_no_others(world: Watched) -> None:
    """Those that wait for nothing: the others need minutes, and are tested with promtool."""

    async def firing() -> set[tuple[str, str]]:
        alerts = (await world.get("alerts"))["alerts"]
        return {(a["labels"]["alertname"], a["labels"]["namespace"]) for a in alerts if a["state"] == "firing"}

    lost = ("ConsumerAutoscalerRecordsLost", world.sites["troubled"].name)
    await eventually(lambda: _equal(firing, {lost}), 60)


async def _equal(found: Any, wanted: set[tuple[str, str]]) -> bool:
    return bool(await found() == wanted)
