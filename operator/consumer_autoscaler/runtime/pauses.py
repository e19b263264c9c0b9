"""Keeps Python's collector of cycles from holding up the event loop.

Its full collections look at every object there is, some 50 ms for a quarter of a million, and nothing else runs
meanwhile. Nearly all of ours live as long as the process: modules, and what is remembered of each resource and group.
So what has survived a full collection is set aside (`gc.freeze`) when there is much of it, and later ones look at the
rest only. What is set aside is still freed when nothing refers to it any more; only cycles that are made of it are not
found. That is why it is done seldom: each time takes at least half as much again as all times before.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_LEAST_OBJECTS = 20_000


@contextmanager
def short_pauses() -> Iterator[None]:
    """While it lasts, and for all of the process."""
    gc.callbacks.append(_after_collection)
    try:
        yield
    finally:
        gc.callbacks.remove(_after_collection)


def _after_collection(phase: str, info: Mapping[str, int]) -> None:
    if phase == "stop" and info["generation"] == 2:
        survivors = len(gc.get_objects())  # without what is set aside already
        if survivors > max(_LEAST_OBJECTS, gc.get_freeze_count() // 2):
            gc.freeze()
