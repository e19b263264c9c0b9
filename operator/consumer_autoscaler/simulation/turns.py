"""Partitions served one after the other: a consumer finishes all that it fetched of one before it turns to the next.

With small records one fetch brings all that waits in a partition, so the turn is long while a backlog is drained.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consumer_autoscaler.simulation.trace import Floats


class Turns:
    """Each consumer's circle of partitions, and up to which offset the one being served was fetched."""

    def __init__(self) -> None:
        self._circles: list[list[int]] = []
        self._fetched: Floats = np.zeros(0)
        self._slots: list[int] = []

    def wire(self, slots: NDArray[np.intp], nobody: int, positions: Floats) -> None:
        """New circles where the assignment has changed; everybody fetches anew from its position."""
        now = slots.tolist()
        if now == self._slots:
            return
        self._slots = now
        self._fetched = positions.copy()
        self._circles = [[p for p, slot in enumerate(now) if slot == consumer] for consumer in range(nobody)]

    def caught_up(self, ends: Floats) -> None:
        """Everybody has done all there is."""
        self._fetched[:] = ends

    def serve(self, backlog: Floats, ends: Floats, load: Floats, can: Floats) -> None:
        """One tick: `backlog` falls by what each consumer can do of its `load`; `ends` is what can be fetched."""
        easy = load <= can
        if easy.all():
            backlog[:] = 0.0
            self._fetched[:] = ends
            return
        for consumer, circle in enumerate(self._circles):
            if not circle:
                continue
            if easy[consumer]:
                backlog[circle] = 0.0
                self._fetched[circle] = ends[circle]
                continue
            left = float(can[consumer])
            while left > 1e-9:
                partition = circle[0]
                waiting = float(backlog[partition]) - (float(ends[partition]) - float(self._fetched[partition]))
                done = min(left, max(0.0, waiting))
                backlog[partition] -= done
                left -= done
                if left > 1e-9:  # what was fetched is done: fetch, and go on with the next
                    self._fetched[partition] = ends[partition]
                    circle.append(circle.pop(0))
