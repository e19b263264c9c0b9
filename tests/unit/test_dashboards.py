"""The dashboards as Grafana loads them: whole, in order, and about series that the operator has."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
from tests.integration.promql_names import unknown

import dashboards

BOARDS: dict[str, dict[str, Any]] = {uid: json.loads(text) for uid, text in dashboards.made().items()}
BUILT_IN = {"__rate_interval", "__url_time_range", "__data.fields.Namespace", "__data.fields.Name"}


@pytest.fixture(params=sorted(BOARDS))
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    return BOARDS[request.param]


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """All that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(board: dict[str, Any]) -> list[str]:
    """Of panels, variables and annotations."""
    return [
        *(target["expr"] for panel in panels(board) for target in panel["targets"]),
        *(each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"),
        *(each["expr"] for each in board["annotations"]["list"]),
    ]


def test_uids_and_titles_are_its_own() -> None:
    """Grafana replaces a dashboard by another of the same uid."""
    assert all(board["uid"] == uid and len(uid) <= 40 for uid, board in BOARDS.items())
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)


def test_no_panel_lies_over_another(board: dict[str, Any]) -> None:
    """Each has an id of its own and a place within the 24 columns."""
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


def test_lines_of_panels_are_full(board: dict[str, Any]) -> None:
    """No holes: Grafana would move what is below them."""
    widths: dict[int, int] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        widths[place["y"]] = widths.get(place["y"], 0) + place["w"]
    assert set(widths.values()) == {24}, widths


def test_each_panel_says_what_it_shows_and_in_which_unit(board: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None, panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs, panel["title"]
        assert len(set(refs)) == len(refs), panel["title"]


def test_prometheus_is_the_one_that_was_chosen(board: dict[str, Any]) -> None:
    assert board["templating"]["list"][0]["type"] == "datasource"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels(board):
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])


def test_variables_that_are_used_are_there(board: dict[str, Any]) -> None:
    """And those that are there are used."""
    used = set(re.findall(r"\$\{?([\w.]+)\}?", json.dumps(board))) - BUILT_IN
    used = {name.partition(":")[0] for name in used} - {"__all"}
    assert used == {each["name"] for each in board["templating"]["list"]}


def test_each_query_asks_for_series_that_the_operator_has(board: dict[str, Any]) -> None:
    assert [problem for expression in expressions(board) for problem in unknown(expression)] == []


def test_links_from_one_to_the_other_are_right() -> None:
    text = json.dumps(BOARDS)
    assert set(re.findall(r"/d/([\w-]+)", text)) == set(BOARDS)
