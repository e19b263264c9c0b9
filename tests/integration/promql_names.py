"""Which of the operator's series an expression names, and which it has: a slip in a rule or a panel is silent."""

from __future__ import annotations

import re

from consumer_autoscaler.runtime.metrics.family import PREFIX, Kind
from consumer_autoscaler.runtime.metrics.page import FAMILIES

_SELECTOR = re.compile(rf"({PREFIX}\w+)(?:\{{([^}}]*)\}})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_SUFFIXES = {Kind.COUNTER: ("",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count")}
TARGET_LABELS = frozenset({"job", "instance", "namespace", "pod", "container", "service", "endpoint", "le"})


def series() -> dict[str, frozenset[str]]:
    """The names of all series of the operator's page, with their labels."""
    return {
        family.full_name + suffix: frozenset(family.all_labels)
        for family in FAMILIES
        for suffix in _SUFFIXES[family.kind]
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
