"""Which of the operator's series an expression names, and which it has: a slip in a rule or a panel is silent."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

from consumer_autoscaler.runtime.metrics import PREFIX, Snapshot
from consumer_autoscaler.sources.kafka.stats import ReadingStats

_SELECTOR = re.compile(rf"({PREFIX}\w+)(?:\{{([^}}]*)\}})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}
TARGET_LABELS = frozenset({"job", "instance", "namespace", "pod", "container", "service", "endpoint", "le"})


def series() -> dict[str, frozenset[str]]:
    """The names of all series of the operator's collector, with their labels."""
    kube = cast(Any, SimpleNamespace(requests={}))
    snapshot = Snapshot(list, kube, ReadingStats, lambda: True)
    return {
        metric.name + suffix: frozenset(metric._labelnames)  # type: ignore[attr-defined]
        for metric in snapshot.collect()
        for suffix in _SUFFIXES[metric.type]
    }


def unknown(expression: str) -> list[str]:
    """The operator's series, and their labels, that are in the expression and that no operator has."""
    known, found = series(), []
    for name, matchers in _SELECTOR.findall(expression):
        labels = set(_MATCHER.findall(matchers))
        if name not in known:
            found.append(name)
        else:
            found += [f"{name}{{{label}}}" for label in sorted(labels - known[name] - TARGET_LABELS)]
    return found
