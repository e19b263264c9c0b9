"""What a Prometheus' answer says about the time one record takes. Pure: no clock, no IO.

Unlike a pod's page one answer is enough: Prometheus has the readings of before and gives rates. The window of the
rates follows the interval at which the pods are scraped, of which it must hold a few. Stale samples, NaN and an empty
result are Unavailable, each with its remedy; a metric that counts nothing is nothing measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.exposition import Bucket
from consumer_autoscaler.sources.gauges import GaugePreset, work_between, workers_of
from consumer_autoscaler.sources.increase import Increase
from consumer_autoscaler.sources.measured import processing_time, unavailable, when_idle
from consumer_autoscaler.sources.presets import AnyPreset, Preset
from consumer_autoscaler.sources.prometheus_http import Entry
from consumer_autoscaler.sources.promql import PART, Scope

FIRST_WINDOW_SECONDS = 300  # until the scrape interval is known
SHORTEST_WINDOW_SECONDS = 60
LONGEST_WINDOW_SECONDS = 600
SCRAPES_IN_WINDOW = 4
STALE_AFTER_SCRAPES = 2

ConsumptionRate = Callable[[float], float | None]  # committed records per second over about the last so many seconds


@dataclass(slots=True)
class Memory:
    """What is kept of one source of one resource between two readings."""

    chosen: AnyPreset | None = None
    family: str = ""  # the full name of its metric
    window_seconds: int = FIRST_WINDOW_SECONDS
    read_at: float | None = None
    interval_seconds: float = 0.0
    good: ProcessingTime | None = None


def choose(presets: Sequence[AnyPreset], found: Iterable[Entry], scope: Scope) -> tuple[AnyPreset, str] | Unavailable:
    """The first preset whose metric is there, with the metric's full name."""
    names: dict[str, set[str]] = {}
    for labels, _ in found:
        names.setdefault(labels.get(PART, ""), set()).add(labels.get("__name__", ""))
    for preset in presets:
        there = names.get(preset.name)
        if not there:
            continue
        if isinstance(preset, GaugePreset):
            return preset, next((name for name in preset.work_metrics if name in there), min(there))
        if len(there) > 1:
            return unavailable(f"Prometheus has several metrics that end in {preset.metric}: use preset Custom")
        return preset, there.pop().removesuffix("_count")
    asked = presets[0].metric if len(presets) == 1 else "any metric that a preset knows"
    return unavailable(
        f"Prometheus does not have {asked} of this group from pods {scope.pods} of namespace {scope.namespace}: check"
        " that they are scraped, and that their series have the labels `namespace` and `pod`"
    )


def conclude(
    memory: Memory,
    entries: Sequence[Entry],
    *,
    topics: frozenset[str],
    batch: bool,
    consumption_rate: ConsumptionRate,
    ready_pods: int,
    at: float,
) -> ProcessingTime | Unavailable | None:
    """The processing time from the answer to the chosen preset's query; updates `memory`. None: nothing to measure.

    An answer without the metric forgets the choice, so that the next reading looks again.
    """
    preset, window = memory.chosen, memory.window_seconds
    assert preset is not None  # `choose` comes first
    parts: dict[str, list[Entry]] = {}
    for labels, value in entries:
        parts.setdefault(labels.get(PART, ""), []).append((labels, value))
    age, samples = (_single(parts.get(name)) for name in ("age", "samples"))
    if age is None or samples is None:
        memory.chosen = None
        return unavailable(f"Prometheus has no samples of {memory.family} any more: check that the pods are scraped")
    if samples < SCRAPES_IN_WINDOW and window < LONGEST_WINDOW_SECONDS:
        memory.window_seconds = min(LONGEST_WINDOW_SECONDS, 2 * window)
    else:
        wanted = math.ceil(SCRAPES_IN_WINDOW * window / max(1.0, samples))
        memory.window_seconds = min(LONGEST_WINDOW_SECONDS, max(SHORTEST_WINDOW_SECONDS, wanted))
    scrape_seconds = window / max(1.0, samples)
    if age > STALE_AFTER_SCRAPES * scrape_seconds + 1:
        return unavailable(
            f"the newest sample of {memory.family} in Prometheus is {age:.0f} s old: check that the pods are scraped"
        )
    if isinstance(preset, Preset):
        moved = _moved_by_timer(preset, parts, topics, window)
        batch = batch and not preset.always_per_record
    else:
        moved = _moved_by_gauges(preset, parts, topics, window)
        batch = False
    if moved is None:
        return unavailable(f"{memory.family} is not a number in Prometheus")
    if moved.count <= 0:
        return when_idle(
            memory.good,
            committed=_committed_all_along(consumption_rate, window),
            who=f"the pods in Prometheus count none in {window} s ({memory.family})",
            interval_seconds=memory.interval_seconds,
            at=at,
        )
    pods = _single(parts.get("pods")) or 0.0
    source = f"{preset.name} ({memory.family}) of {pods:.0f} pods, Prometheus, {window} s"
    records = moved.count
    if batch:
        per_second = consumption_rate(window)
        if per_second is None or not 0 < per_second < math.inf:
            return unavailable(f"{memory.family} is per batch, and how many records the batches held is not known")
        share = min(1.0, pods / ready_pods) if ready_pods else 1.0
        records = per_second * window * share
        source += ", records from the offsets" + (", shared equally" if share < 1 else "")
    result = processing_time(
        moved, records, metric=memory.family, unit_seconds=preset.unit_seconds, batch=batch, source=source, at=at
    )
    if isinstance(result, ProcessingTime):
        memory.good = result
    return result


def conclude_query(
    entries: Sequence[Entry], *, unit_seconds: float, batch: bool, consumption_rate: ConsumptionRate, at: float
) -> ProcessingTime | Unavailable | None:
    """From the resource's own query: the mean time of a record, or, per batch, the time spent in each second."""
    if not entries:
        return unavailable("the query gives nothing in Prometheus: try it there, and check that the pods are scraped")
    if len(entries) > 1:
        return unavailable(f"the query gives {len(entries)} numbers in Prometheus and must give one: use sum or avg")
    value = entries[0][1]
    if math.isnan(value):  # as 0/0 is when nothing was processed
        return None
    if value <= 0 or math.isinf(value):
        return unavailable(f"the query gives {value:g} in Prometheus, and no record takes that")
    records, source = 1.0, "query, Prometheus"
    if batch:
        per_second = consumption_rate(SHORTEST_WINDOW_SECONDS)
        if per_second is None or not 0 < per_second < math.inf:
            return None
        records, source = per_second, f"{source}, records from the offsets"
    return processing_time(
        Increase(1.0, value, None), records, metric="the query", unit_seconds=unit_seconds, batch=batch,
        source=source, at=at,
    )  # fmt: skip


def _single(entries: Sequence[Entry] | None) -> float | None:
    """The one finite value of a part."""
    if not entries or not math.isfinite(entries[0][1]):
        return None
    return entries[0][1]


def _moved_by_timer(
    preset: Preset, parts: dict[str, list[Entry]], topics: frozenset[str], window: int
) -> Increase | None:
    """Observations and their sum in the window; None when they are no numbers."""
    channels = {labels.get(preset.channel_label or "", "") for labels, _ in parts.get("count", ())}
    chosen = channels & topics if preset.channel_label and len(channels) > 1 else channels

    def per_second(part: str) -> list[Entry]:
        return [each for each in parts.get(part, ()) if each[0].get(preset.channel_label or "", "") in chosen]

    count, total = (math.fsum(value for _, value in per_second(part)) * window for part in ("count", "sum"))
    if not math.isfinite(count) or not math.isfinite(total):
        return None
    return Increase(count, total, _buckets(per_second("bucket"), window))


def _buckets(entries: Iterable[Entry], window: int) -> tuple[Bucket, ...] | None:
    counts: dict[float, float] = {}
    for labels, value in entries:
        try:
            bound = float(labels["le"])
        except (KeyError, ValueError):
            return None
        counts[bound] = counts.get(bound, 0.0) + value * window
    buckets = tuple(sorted(counts.items()))
    rising = all(0 <= low[1] <= high[1] * (1 + 1e-9) for low, high in pairwise(buckets))
    return buckets if buckets and rising and buckets[0][0] > 0 and math.isinf(buckets[-1][0]) else None


def _moved_by_gauges(
    preset: GaugePreset, parts: dict[str, list[Entry]], topics: frozenset[str], window: int
) -> Increase | None:
    work = [(labels, value) for labels, value in parts.get("work", ()) if math.isfinite(value)]
    done = [(labels, value) for labels, value in parts.get("records", ()) if math.isfinite(value)]
    # Prometheus gives rates where a page gives totals: over a second both are the same.
    moved = work_between(preset, {}, workers_of(preset, work, done, topics), 1.0)
    return Increase(moved.count * window, moved.total * window, None)


def _committed_all_along(consumption_rate: ConsumptionRate, window: float) -> bool:
    """Records were committed in this window and in the one before: then it is no load that only begins or ends."""
    new, both = consumption_rate(window), consumption_rate(2 * window)
    if new is None or both is None:
        return False
    return new * window >= 1 and (2 * both - new) * window >= 1
