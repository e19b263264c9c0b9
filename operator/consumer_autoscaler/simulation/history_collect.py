"""Asks a Prometheus for a group's past and lays the answers on one grid of times. The asking itself is a parameter:
the simulation opens no connections.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from consumer_autoscaler.simulation.history import Recorded
from consumer_autoscaler.simulation.history_queries import (
    DISCOVERY_WINDOW_SECONDS,
    EXPORTERS,
    Exporter,
    Wanted,
    discovery,
    namespaces_with_target,
    queries,
    replicas,
)
from consumer_autoscaler.simulation.trace import BadTrace, Floats

FINE_STEP_SECONDS, FINE_UP_TO_SECONDS = 15.0, 6 * 3600.0
COARSE_STEP_SECONDS = 60.0
MOST_POINTS = 10_000  # of one answer; Prometheus gives no more than 11,000
DISCOVERY_POINTS = 200


class Ask(Protocol):
    def __call__(self, query: str, *, start: float, end: float, step: float) -> Awaitable[str]:
        """The body of the answer to a range query (`/api/v1/query_range`)."""


async def collect(ask: Ask, wanted: Wanted) -> Recorded:
    """Raises BadTrace when Prometheus knows nothing of the group or does not understand a query."""
    exporter, scrape_seconds = await _discover(ask, wanted)
    step = wanted.step_seconds or _step(wanted.end - wanted.start, scrape_seconds)
    start = wanted.end - math.floor((wanted.end - wanted.start) / step) * step
    grid = replace(wanted, start=start, step_seconds=step)
    asked = queries(exporter, wanted)

    async def points(query: str) -> Floats:
        return await _points(ask, query, grid)

    counts, source = await _replicas(ask, grid)
    return Recorded(
        exporter=exporter.name,
        start=start,
        step_seconds=step,
        lag=await points(asked.lag),
        partitions=await points(asked.partitions),
        replicas=counts,
        replicas_from=source,
        committed=await points(asked.committed) if asked.committed else None,
        arrivals=await points(asked.arrivals) if asked.arrivals else None,
        behind=await points(asked.behind) if asked.behind else None,
    )


async def _discover(ask: Ask, wanted: Wanted) -> tuple[Exporter, float]:
    """The first exporter that knows the group in that time, and how often it is scraped."""
    coarse = max(1.0, (wanted.end - wanted.start) / DISCOVERY_POINTS)
    for exporter in EXPORTERS:
        found = await _points(ask, discovery(exporter, wanted), replace(wanted, step_seconds=coarse))
        known = found[np.isfinite(found)]
        if len(known):
            return exporter, DISCOVERY_WINDOW_SECONDS / max(1.0, float(known.max()))
    looked_for = ", ".join(exporter.lag for exporter in EXPORTERS)
    raise BadTrace(
        f"Prometheus knows no group {wanted.group!r} in that time (looked for {looked_for}): check --group, --topic and"
        " --days, and that an exporter of consumer lag is scraped"
    )


async def _replicas(ask: Ask, grid: Wanted) -> tuple[Floats, str | None]:
    for source, query in replicas(grid):
        found = await _points(ask, query, grid)
        if not np.isfinite(found).any():
            continue
        if source.startswith("kube_") and grid.namespace is None:
            spaces = await _points(ask, namespaces_with_target(grid), grid)
            if np.nanmax(spaces, initial=0.0) > 1:
                raise BadTrace(
                    f"{np.nanmax(spaces):.0f} namespaces have a {grid.target or grid.group}: say which with --namespace"
                )
        return found, source
    return np.full(_length(grid), np.nan), None


def _step(span_seconds: float, scrape_seconds: float) -> float:
    """A step shorter than a scrape would see the same sample twice and then a jump."""
    usual = FINE_STEP_SECONDS if span_seconds <= FINE_UP_TO_SECONDS else COARSE_STEP_SECONDS
    return math.ceil(scrape_seconds / usual - 0.05) * usual if scrape_seconds > usual else usual


def _length(grid: Wanted) -> int:
    assert grid.step_seconds is not None
    return round((grid.end - grid.start) / grid.step_seconds) + 1


async def _points(ask: Ask, query: str, grid: Wanted) -> Floats:
    """One value for each time of the grid, NaN where there is none. In lots, since an answer has an upper limit."""
    step = grid.step_seconds
    assert step is not None
    length = _length(grid)
    values = np.full(length, np.nan)
    for first in range(0, length, MOST_POINTS):
        last = min(first + MOST_POINTS, length) - 1
        text = await ask(query, start=grid.start + first * step, end=grid.start + last * step, step=step)
        for at, value in _series(text, query):
            index = round((at - grid.start) / step)
            if 0 <= index < length and math.isfinite(value):
                values[index] = value
    return values


def _series(text: str, query: str) -> list[tuple[float, float]]:
    """The points of the one series that was asked for; none where there is no series."""
    try:
        answer: Any = json.loads(text)
    except ValueError:
        raise BadTrace("the answer is not JSON: give the URL of a Prometheus, without /api/v1") from None
    if not isinstance(answer, dict) or answer.get("status") != "success":
        said = answer.get("error", "") if isinstance(answer, dict) else ""
        raise BadTrace(f"Prometheus did not answer {query!r}{f', but: {said}' if said else ''}")
    try:
        series = answer["data"]["result"]
        if len(series) > 1:
            raise BadTrace(f"{query!r} gives {len(series)} series, one is needed: put sum() or max() round it")
        return [(float(at), float(value)) for each in series for at, value in each["values"]]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadTrace):
            raise
        raise BadTrace(f"Prometheus' answer to {query!r} is not one of a range query") from None
