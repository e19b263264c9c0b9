"""Queries in PromQL for the presets. Pure text; every value that comes from a resource is escaped.

A query asks for all that one reading needs at one moment: its parts are joined by `or`, each marked by the label
`part`. Where a series is expected to carry the labels `namespace` and `pod`, as the usual discovery in Kubernetes
attaches them, it must carry them: one Prometheus serves many namespaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consumer_autoscaler.sources.gauges import GaugePreset
from consumer_autoscaler.sources.presets import AnyPreset, Preset

PART = "part"
_LONGEST_WHOLE_NAME = 46  # of 63 characters a pod's name keeps 17 for the ReplicaSet's hash and its own


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose metrics: the pods of one target, and of them what is about this group and these topics (none: all)."""

    namespace: str
    pods: str  # a regular expression
    group: str
    topics: frozenset[str]


def quoted(text: str) -> str:
    """A string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def literal(text: str) -> str:
    """A regular expression of RE2 that matches this text and nothing else."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def pods_of(kind: str, name: str) -> str:
    """The regular expression for the names of a target's pods; Kubernetes cuts long names of a Deployment's pods."""
    if kind == "StatefulSet":
        return literal(name) + "-[0-9]+"
    if len(name) <= _LONGEST_WHOLE_NAME:
        return literal(name) + "-[a-z0-9]+-[a-z0-9]{5}"
    return literal(name[:_LONGEST_WHOLE_NAME]) + "[a-z0-9.-]*"


def discovery(presets: Iterable[AnyPreset], scope: Scope) -> str:
    """Which presets' metrics there are: for each name the number of series, marked by the preset."""
    return " or ".join(
        _marked(preset.name, f"count by (__name__) ({_selector(name, preset, scope)})")
        for preset in presets
        for name in ([_names_of(preset)] if isinstance(preset, Preset) else [_any_of(preset.work_metrics)])
    )


def reading(preset: AnyPreset, family: str, scope: Scope, window_seconds: int, *, batch: bool) -> str:
    """All that one reading of the preset needs, from the metric whose full name is `family`."""
    if isinstance(preset, Preset):
        return _timer(preset, family, scope, window_seconds, batch=batch and not preset.always_per_record)
    return _gauges(preset, family, scope, window_seconds)


def _timer(preset: Preset, family: str, scope: Scope, window_seconds: int, *, batch: bool) -> str:
    """Of a histogram or summary called `family`: per second its sum, count and buckets, and how fresh it is."""
    by = f" by ({preset.channel_label})" if preset.channel_label else ""
    by_bucket = f" by (le, {preset.channel_label})" if preset.channel_label else " by (le)"
    total, count, bucket = (
        _selector(quoted(f"{family}_{kind}"), preset, scope, exact=True) for kind in ("sum", "count", "bucket")
    )
    window = f"[{window_seconds}s]"
    return _joined(
        sum=f"sum{by} ({_slope(total, window) if batch else f'rate({total}{window})'})",
        count=f"sum{by} (rate({count}{window}))",
        bucket=f"sum{by_bucket} (rate({bucket}{window}))",
        **_freshness(count, window),
    )


def _gauges(preset: GaugePreset, family: str, scope: Scope, window_seconds: int) -> str:
    """Of each worker its gauge and its records per second, and how fresh the gauge is."""
    workers = ", ".join(("pod", *preset.worker_labels))
    with_topic = f"{workers}, {preset.topic_label}" if preset.topic_label else workers
    work = _selector(quoted(family), preset, scope, exact=True)
    window = f"[{window_seconds}s]"
    records = [_selector(quoted(name), preset, scope, exact=True) for name in preset.records_metrics]
    rates = [_slope(each, window) if preset.records_are_total else each for each in records]
    done = " or ".join(f"sum by ({with_topic}) ({each})" for each in rates)
    return _joined(work=f"max by ({workers}) ({work})", records=f"({done})", **_freshness(work, window))


def _slope(counter: str, window: str) -> str:
    """Its growth per second while it was there, where rate() takes the time before a pod's first sample for rest.

    That cancels out between a sum and a count, and does not against offsets or a gauge. A counter that began anew in
    the window is left out.
    """
    return f"(deriv({counter}{window}) unless resets({counter}{window}) > 0)"


def _freshness(selector: str, window: str) -> dict[str, str]:
    return {
        "age": f"time() - max(timestamp({selector}))",
        "samples": f"max(count_over_time({selector}{window}))",
        "pods": f"count(count by (pod) ({selector}))",
    }


def _joined(**parts: str) -> str:
    return " or ".join(_marked(part, expression) for part, expression in parts.items())


def _marked(part: str, expression: str) -> str:
    return f'label_replace({expression}, "{PART}", "{part}", "", "")'


def _names_of(preset: Preset) -> str:
    prefix = "(.+_)?" if preset.any_prefix else ""
    return quoted(f"{prefix}{literal(preset.metric)}_count")


def _any_of(names: Sequence[str]) -> str:
    return quoted("|".join(map(literal, names)))


def _selector(names: str, preset: AnyPreset, scope: Scope, *, exact: bool = False) -> str:
    matchers = [
        f"__name__{'=' if exact else '=~'}{names}",
        f"namespace={quoted(scope.namespace)}",
        f"pod=~{quoted(scope.pods)}",
    ]
    if isinstance(preset, Preset):
        matchers += [_or_absent(label, [scope.group]) for label in preset.group_labels]
        matchers += [_or_absent(label, sorted(scope.topics)) for label in preset.topic_labels if scope.topics]
        matchers += [_or_absent(label, [value]) for label, value in preset.fixed_labels]
        matchers += [f"{label}={quoted(value)}" for label, value in preset.required_labels]
    return "{" + ",".join(matchers) + "}"


def _or_absent(label: str, values: Sequence[str]) -> str:
    """A series that carries the label must match it; one without it is taken."""
    return f"{label}=~{quoted('|'.join([*map(literal, values), '']))}"
