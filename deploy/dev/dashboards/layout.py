"""The whole of a dashboard: its variables, and its rows of panels with a place for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.model import DATASOURCE, WIDTH, Json, Panel

SCHEMA_VERSION = 39  # Grafana 10.4; later ones convert it when they load it


def variable(name: str, label: str, query: str, *, several: bool) -> Json:
    """A choice among what Prometheus gives; with `several` also all of it."""
    found: Json = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "multi": several,
        "includeAll": several,
    }
    return found | ({"current": {"selected": True, "text": ["All"], "value": ["$__all"]}} if several else {})


def link(title: str, url: str) -> Json:
    """A link at the top of a dashboard to another one."""
    return {
        "title": title,
        "type": "link",
        "url": url,
        "icon": "dashboard",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": False,
        "keepTime": True,
    }


def dashboard(
    *,
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Json],
    rows: Mapping[str, Sequence[Panel]],
    annotations: Sequence[Json] = (),
    links: Sequence[Json] = (),
) -> Json:
    """The whole. Panels stand in the order given, from left to right; the widths of a line add up to the whole."""
    datasource = {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["consumer-autoscaler"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # one crosshair in all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": list(links),
        "annotations": {"list": list(annotations)},
        "templating": {"list": [datasource, *variables]},
        "panels": _placed(rows),
    }


def _placed(rows: Mapping[str, Sequence[Panel]]) -> list[Json]:
    found: list[Json] = []
    top = 0
    for title, panels in rows.items():
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        found.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place})
        top, left, tallest = top + 1, 0, 0
        for panel in panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            found.append({**panel.json(), "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height}})
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return [{"id": number, **panel} for number, panel in enumerate(found, 1)]
