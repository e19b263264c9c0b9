"""What the pages of a resource's pods say together about the time one record takes. Pure: no clock, no IO.

A page holds totals since the process started, so it takes two readings of a pod to say anything: what is
reported is the increase between them, over all pods, sum by count. A pod seen for the first time gives no
increase yet.

A reading counts when more than half of the pods answered soundly; `source` says how many the mean is over.
A pod that answers without the metric, while others have it, has processed nothing. Anything less is
Unavailable with the pods and what was wrong with them: never a guess, never a zero. Where nothing is wrong and
nothing was processed there is no time to tell, which holds up no decision.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.exposition import Family, MalformedMetrics, read_families, read_samples
from consumer_autoscaler.sources.gauges import GaugePreset, Workers, samples_of, work_between, workers_of
from consumer_autoscaler.sources.increase import Increase, combined, increase
from consumer_autoscaler.sources.measured import GOOD_FOR_INTERVALS, processing_time, unavailable, when_idle
from consumer_autoscaler.sources.presets import AUTO, AnyPreset, CustomMetric, Preset

Pod = tuple[str, str]  # name and IP: a StatefulSet gives the same name to the next pod
Per = Literal["Record", "Batch"]

LONGEST_INTERVAL_SECONDS = 300.0  # between polls; a longer gap is a pause, not an interval
_NAMED_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a resource's pods. Totals that answer another one cannot be subtracted."""

    port: int
    path: str
    preset: str
    per: Per
    group: str
    topics: frozenset[str]
    custom: CustomMetric | None = None


Told = Family | Workers | str  # what a page says by one preset; a text is what is wrong with it


@dataclass(frozen=True, slots=True)
class PodPage:
    """What one pod's page said at `at`: by preset, the series of this group, or what is wrong with them."""

    at: float
    families: Mapping[str, Told]
    foreign: bool = False  # there are series, but all of another group or of other topics


@dataclass(slots=True)
class Memory:
    """What is kept of one resource between two readings."""

    question: Question
    pages: dict[Pod, PodPage] = field(default_factory=dict)  # the last sound one of each pod
    failed: set[Pod] = field(default_factory=set)
    read_at: float | None = None
    interval_seconds: float = 0.0
    good: ProcessingTime | None = None


def read_page(
    page: bytes, presets: Sequence[AnyPreset], group: str, topics: frozenset[str], at: float
) -> PodPage | str:
    """The presets' series on an untrusted page; a sentence when it is no page of metrics. Never raises."""
    if page.lstrip()[:1] in (b"<", b"{", b"["):
        return "sent something else than Prometheus metrics"
    families: dict[str, Told] = {}
    foreign = False
    for preset in presets:
        try:
            if isinstance(preset, GaugePreset):
                families[preset.name] = _workers(page, preset, topics)
                continue
            everything = read_families(page, preset.metric, any_prefix=preset.any_prefix)
        except MalformedMetrics as problem:
            families[preset.name] = f"sent unusable metrics: {problem}"
            continue
        if len(everything) > 1:
            families[preset.name] = f"has several metrics that end in {preset.metric}"
            continue
        family = next(iter(everything.values()), {})
        families[preset.name] = own = preset.select(family, group=group, topics=topics)
        foreign = foreign or len(own) < len(family)
    return PodPage(at, families, foreign and not any(families.values()))


def _workers(page: bytes, preset: GaugePreset, topics: frozenset[str]) -> Workers:
    def first(names: Iterable[str]) -> list[tuple[dict[str, str], float]]:
        return samples_of(next(filter(None, (read_samples(page, name) for name in names)), {}))

    return workers_of(preset, first(preset.work_metrics), first(preset.records_metrics), topics)


def conclude(
    memory: Memory,
    presets: Sequence[AnyPreset],
    answers: Mapping[Pod, PodPage | str],
    consumed_records: float | None,
    at: float,
) -> ProcessingTime | Unavailable | None:
    """The processing time from all pods' answers; updates `memory`. A text among the answers is what went wrong.

    The result is finite and above zero, whatever the pages said. None: nothing is wrong and there is nothing to
    measure, because no pod is ready, or this is the first reading, or nothing was processed.
    """
    earlier, earlier_at = memory.pages, memory.read_at
    pages = {pod: answer for pod, answer in answers.items() if isinstance(answer, PodPage)}
    memory.pages = {pod: earlier[pod] for pod in answers if pod in earlier} | pages
    memory.failed = {pod for pod in answers if pod not in pages}
    if earlier_at is not None and at > earlier_at:
        memory.interval_seconds = min(at - earlier_at, LONGEST_INTERVAL_SECONDS)
    memory.read_at = at
    if not answers:
        return None

    preset = _carried_by_most(presets, pages.values())
    problems = {pod: answer for pod, answer in answers.items() if isinstance(answer, str)}
    for pod, page in pages.items():
        for wanted in (preset,) if preset else presets:
            if isinstance(found := page.families[wanted.name], str):
                problems.setdefault(pod, found)
    usable = [pod for pod in answers if pod not in problems]
    if 2 * len(usable) <= len(answers):
        return unavailable(
            f"{len(usable)} of {len(answers)} pods could be read, more than half are needed: {_named(problems)}"
        )
    if preset is None:
        asked = presets[0].metric if memory.question.preset != AUTO else "a metric that a preset knows"
        scope = " for this group and its topics" if any(pages[pod].foreign for pod in usable) else ""
        return unavailable(f"none of the {len(usable)} pods that were read has {asked}{scope}")

    batch = memory.question.per == "Batch" and not preset.always_per_record
    parts: list[Increase] = []
    for pod in usable:
        before, now = earlier.get(pod), pages[pod]
        if before is None or not 0 < at - before.at <= GOOD_FOR_INTERVALS * LONGEST_INTERVAL_SECONDS:
            continue
        if batch and before.at != earlier_at:
            continue  # the records are known for the last interval only
        moved_in_pod = _increase(preset, before, now)
        if moved_in_pod is not None:
            parts.append(moved_in_pod)
    if not parts:
        return None  # a first reading of these pods: the time is known after the next one
    moved = combined(parts)
    if moved.count <= 0:
        return when_idle(
            memory.good,
            committed=consumed_records is not None and consumed_records >= 1,
            who=f"{len(parts)} pods count none between two readings",
            interval_seconds=memory.interval_seconds,
            at=at,
        )

    source = f"{preset.name} ({preset.metric}), {len(parts)} of {len(answers)} pods"
    records = moved.count
    if batch:
        share = len(parts) / len(answers)
        if consumed_records is None or not 1 <= consumed_records < math.inf:
            return unavailable(f"{preset.metric} is per batch, and how many records the batches held is not known")
        records = consumed_records * share
        source += ", records from the offsets" + (", shared equally" if share < 1 else "")
    result = processing_time(
        moved, records, metric=preset.metric, unit_seconds=preset.unit_seconds, batch=batch, source=source, at=at
    )
    if isinstance(result, ProcessingTime):
        memory.good = result
    return result


def _carried_by_most(presets: Sequence[AnyPreset], pages: Iterable[PodPage]) -> AnyPreset | None:
    """The preset whose series most pods have, of equals the first; None when no pod has any."""
    carriers = Counter(
        name for page in pages for name, family in page.families.items() if family and not isinstance(family, str)
    )
    found = [preset for preset in presets if carriers[preset.name]]
    timers = [preset for preset in found if isinstance(preset, Preset)]
    return max(timers or found, key=lambda preset: carriers[preset.name], default=None)  # timers say it exactly


def _increase(preset: AnyPreset, before: PodPage, now: PodPage) -> Increase | None:
    """What one pod did between its two pages; None where one of them is unusable."""
    was, now_is = before.families[preset.name], now.families[preset.name]
    if isinstance(was, str) or isinstance(now_is, str):
        return None
    if isinstance(preset, Preset):
        return increase(cast(Family, was), cast(Family, now_is))
    return work_between(preset, cast(Workers, was), cast(Workers, now_is), now.at - before.at)


def _named(problems: Mapping[Pod, str]) -> str:
    """The first few pods and what was wrong, ordered by name so that the text does not change by chance."""
    named = sorted((name, problem) for (name, _), problem in problems.items())
    text = "; ".join(f"{name} {problem}" for name, problem in named[:_NAMED_FAILURES])
    more = len(named) - _NAMED_FAILURES
    return text + (f"; and {more} more" if more > 0 else "")
