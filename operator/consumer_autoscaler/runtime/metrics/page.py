"""The page /metrics as a stream of text, in slices of a few milliseconds with the loop's other work between them.

All lines of a family stand together, as the format wants it, so a page goes over all resources once for each family.
Rendering in another thread would not do: the loop would have to wait for the interpreter's lock again and again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from consumer_autoscaler.decision.reasons import ConditionType, ReadyReason
from consumer_autoscaler.runtime.autoscaler import Autoscaler
from consumer_autoscaler.runtime.metrics.family import Family
from consumer_autoscaler.runtime.metrics.process import PROCESS_FAMILIES, Process
from consumer_autoscaler.runtime.metrics.resource import (
    RESOURCE_FAMILIES,
    ResourceFamily,
    condition_sample,
    labels_of,
)

FAMILIES: tuple[Family, ...] = (*RESOURCE_FAMILIES, *PROCESS_FAMILIES)

SLICE_SECONDS = 0.003
_AT_LEAST = 50  # resources between two looks at the clock

_INVALID, _ = condition_sample({"type": ConditionType.READY, "reason": ReadyReason.INVALID_SPEC, "status": "False"})


class Page:
    """All series of the operator, as they are while they are written."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._own = CollectorRegistry()
        for collector in (ProcessCollector(registry=None), PlatformCollector(registry=None)):
            self._own.register(collector)
        GCCollector(registry=self._own)

    async def __call__(self) -> AsyncGenerator[bytes]:
        """The text in pieces, each to be sent before the next is asked for."""
        yield self._of_the_process()
        if not self._process.leader():
            return
        fleet = self._process.fleet
        autoscalers = list(fleet)
        labelled: list[tuple[str, Autoscaler]] = []
        for some in _batches(autoscalers):
            labelled += [(labels_of(a.resource.namespace, a.resource.name), a) for a in some]
            await asyncio.sleep(0)
        invalid = [labels_of(namespace, name) for namespace, name in fleet.invalid()]
        for family in RESOURCE_FAMILIES:
            text = family.head
            if family.name == "status_condition":
                text += "".join(f"{family.full_name}{{{_INVALID},{each}}} 0.0\n" for each in invalid)
            for piece in _pieces(family, labelled):
                yield (text + piece).encode()
                text = ""
                await asyncio.sleep(0)
            if text:
                yield text.encode()

    def _of_the_process(self) -> bytes:
        lines = [part for family in PROCESS_FAMILIES for part in (family.head, *family.lines(family, self._process))]
        return "".join(lines).encode() + generate_latest(self._own)


def _batches(autoscalers: Sequence[Autoscaler]) -> Iterator[Sequence[Autoscaler]]:
    for begin in range(0, len(autoscalers), 20 * _AT_LEAST):
        yield autoscalers[begin : begin + 20 * _AT_LEAST]


def _pieces(family: ResourceFamily, labelled: Sequence[tuple[str, Autoscaler]]) -> Iterator[str]:
    """The lines of one family, as many at once as fit into a slice."""
    lines: list[str] = []
    end = time.perf_counter() + SLICE_SECONDS
    for begin in range(0, len(labelled), _AT_LEAST):
        lines += _lines(family, labelled[begin : begin + _AT_LEAST])
        if time.perf_counter() >= end:
            yield "".join(lines)
            lines.clear()
            end = time.perf_counter() + SLICE_SECONDS
    if lines:
        yield "".join(lines)


def _lines(family: ResourceFamily, labelled: Sequence[tuple[str, Autoscaler]]) -> list[str]:
    name = family.full_name
    if (value_of := family.value) is not None:
        values = ((labels, value_of(autoscaler)) for labels, autoscaler in labelled)
        return [f"{name}{{{labels}}} {float(value)!r}\n" for labels, value in values if value is not None]
    assert family.samples is not None
    samples_of = family.samples
    return [
        f"{name}{{{own},{labels}}} {float(value)!r}\n"
        for labels, autoscaler in labelled
        for own, value in samples_of(autoscaler)
    ]
