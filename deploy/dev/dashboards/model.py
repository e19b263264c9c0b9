"""What Grafana's JSON needs for a panel of each kind, so that the pages beside this one say only what is shown."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Words = Mapping[int, tuple[str, str]]  # a value: its text and colour

WIDTH = 24  # columns of a dashboard
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and how its series are called; `instant` asks for the present only."""

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. `unit` is Grafana's word for it; `steps` are the values from which a colour holds."""

    kind: str
    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    width: int = 12
    height: int = 8
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),)
    words: Words = field(default_factory=dict)
    custom: Mapping[str, Any] = field(default_factory=dict)  # of the kind, for every series
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()
    least: float | None = 0

    def json(self) -> Json:
        """Without its place and its id."""
        defaults: Json = {
            "unit": self.unit,
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "thresholds": {"mode": "absolute", "steps": [{"value": at, "color": color} for at, color in self.steps]},
            "mappings": [_mapping(self.words)] if self.words else [],
            "custom": dict(self.custom),
        }
        if self.least is not None:
            defaults["min"] = self.least
        return {
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "targets": [_target(query, ref) for query, ref in zip(self.queries, string.ascii_uppercase, strict=False)],
            "fieldConfig": {"defaults": defaults, "overrides": list(self.overrides)},
            "options": dict(self.options),
            "transformations": list(self.transformations),
        }


def _mapping(words: Words) -> Json:
    shown = {
        str(value): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(words.items())
    }
    return {"type": "value", "options": shown}


def _target(query: Query, ref: str) -> Json:
    target: Json = {"refId": ref, "datasource": DATASOURCE, "expr": query.expr}
    if query.legend:
        target["legendFormat"] = query.legend
    return target | ({"instant": True, "range": False, "format": "table"} if query.instant else {"range": True})


def stat(
    title: str,
    description: str,
    query: Query,
    *,
    unit: str = "none",
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),),
    words: Words | None = None,
    named: bool = False,
    width: int = 4,
) -> Panel:
    """One number, or with `named` the name of its series, on a ground of the colour that the number has."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "values": False, "fields": ""},
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "textMode": "name" if named else "value",
    }
    return Panel(
        kind="stat",
        title=title,
        description=description,
        unit=unit,
        queries=(query,),
        width=width,
        height=4,
        steps=steps,
        words=words or {},
        options=options,
        least=None,
    )


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "none",
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),),
    stacked: bool = False,
    stepped: bool = False,
    dashed: Iterable[str] = (),
    width: int = 12,
    least: float | None = 0,
) -> Panel:
    """Series over time. `dashed` are bounds among them, by their names; a second step is drawn as a line."""
    custom = {
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 0,
        "lineInterpolation": "stepAfter" if stepped else "linear",
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if len(steps) > 1 else "off"},
        "spanNulls": False,
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(
        kind="timeseries",
        title=title,
        description=description,
        unit=unit,
        queries=queries,
        steps=steps,
        custom=custom,
        options=options,
        width=width,
        least=least,
        overrides=[override(name, ("custom.lineStyle", {"fill": "dash", "dash": [8, 6]})) for name in dashed],
    )


def states(
    title: str,
    description: str,
    query: Query,
    words: Words,
    *,
    width: int = 12,
    height: int = 8,
) -> Panel:
    """What each series was when, in words."""
    return Panel(
        kind="state-timeline",
        title=title,
        description=description,
        unit="none",
        queries=(query,),
        words=words,
        width=width,
        height=height,
        least=None,
        custom={"lineWidth": 0, "fillOpacity": 80},
        options={
            "mergeValues": True,
            "showValue": "auto",
            "rowHeight": 0.9,
            "alignValue": "left",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    )


def table(
    title: str,
    description: str,
    columns: Mapping[str, Query],
    *,
    renamed: Mapping[str, str],
    overrides: Sequence[Json] = (),
    width: int = WIDTH,
    height: int = 10,
) -> Panel:
    """A row for each set of labels (called as `renamed` says), with a column for the value of each query.

    A query that is called "" has no column: it only says which rows there are.
    """
    refs = [f"Value #{ref}" for ref in string.ascii_uppercase] if len(columns) > 1 else ["Value"]
    values = dict(zip(refs, columns, strict=False))
    names = {**renamed, **{ref: name for ref, name in values.items() if name}}
    organize = {
        "excludeByName": {"Time": True, **{ref: True for ref, name in values.items() if not name}},
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": names,
    }
    return Panel(
        kind="table",
        title=title,
        description=description,
        unit="none",
        queries=list(columns.values()),
        width=width,
        height=height,
        least=None,
        overrides=overrides,
        custom={"align": "auto", "filterable": True, "cellOptions": {"type": "auto"}, "inspect": False},
        options={"showHeader": True, "cellHeight": "sm", "frameIndex": 0},
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
    )


def override(name: str, *properties: tuple[str, Any]) -> Json:
    """Properties of the series, or the column, of this name."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties],
    }


def in_words(name: str, words: Words) -> Json:
    """A column whose numbers are shown as coloured words."""
    cell = {"type": "color-text"}
    return override(name, ("mappings", [_mapping(words)]), ("custom.cellOptions", cell))
