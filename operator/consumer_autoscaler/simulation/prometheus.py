"""A load from Prometheus: the answer of a range query (`/api/v1/query_range`), as a file or as it was fetched.

The query must give records per second, such as `sum(rate(kafka_topic_partition_current_offset{topic="orders"}[1m]))`;
several series are added up. A point holds until the next one, so a gap is filled with what was before it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from consumer_autoscaler.simulation.trace import MOST, BadTrace, Trace

LATEST = 253_402_300_800.0  # the year 10000
REMEDY = "give a range query (/api/v1/query_range) of records per second"


def parse_range(text: str, name: str, where: str) -> Trace:
    """Raises BadTrace with `where` and what the answer must be."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise BadTrace(f"{where}: is not JSON: {REMEDY}") from None
    if not isinstance(answer, dict) or answer.get("status") != "success":
        said = answer.get("error", "") if isinstance(answer, dict) else ""
        raise BadTrace(f"{where}: Prometheus did not answer with success{f', but: {said}' if said else ''}: {REMEDY}")
    data = answer.get("data")
    series = data.get("result") if isinstance(data, dict) and data.get("resultType") == "matrix" else None
    if not isinstance(series, list):
        raise BadTrace(f"{where}: is not the answer of a range query: {REMEDY}")
    points: dict[float, float] = {}
    for each in series:
        for at, value in _points(each, where):
            points[at] = points.get(at, 0.0) + value
    if len(points) < 2:
        raise BadTrace(f"{where}: has {len(points)} points, at least 2 are needed: check query, start and end")
    times = np.array(sorted(points))
    rates = np.array([points[at] for at in times.tolist()])
    starts = times - times[0]
    return Trace(name, starts, rates, float(starts[-1] + (starts[-1] - starts[-2])))


def _points(series: Any, where: str) -> list[tuple[float, float]]:
    try:
        points = [(float(at), float(value)) for at, value in series["values"]]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadTrace(f"{where}: a series has no list of [time, value]: {REMEDY}") from None
    if any(not 0 <= at <= LATEST for at, _ in points):
        raise BadTrace(f"{where}: a point has a time that is none (seconds since 1970): {REMEDY}")
    finite = [(at, value) for at, value in points if math.isfinite(value)]
    if any(value > MOST for _, value in finite):
        raise BadTrace(f"{where}: a rate is greater than {MOST:g}: {REMEDY}")
    negative = next((value for _, value in finite if value < 0), None)
    if negative is not None:
        raise BadTrace(f"{where}: a rate cannot be negative ({negative:g}): query a rate(), not a delta")
    return finite
