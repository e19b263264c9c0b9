"""Keeps Python's collector of cycles from holding up the event loop.

Its full collections look at every object there is, 100 ms for a quarter of a million, and nothing else runs meanwhile.
Nearly all of ours live long: modules, and what is remembered of each resource and group. So full collections come
often, and what has survived one is set aside (`gc.freeze`): each looks only at what has come since. What is set aside
is freed as ever when nothing refers to it any more; cycles that are made of it are not found, so once in some
thousand times, hours apart at least, everything is looked at again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_LEAST_OBJECTS = 10_000  # looked at in some milliseconds
_MIDDLE_COLLECTIONS = 3  # from one full collection to the next; Python's default is 10
_ALL_AGAIN_AFTER = 5_000


@contextmanager
def short_pauses() -> Iterator[None]:
    """While it lasts, and for all of the process."""
    young, middle, old = gc.get_threshold()
    set_aside = 0

    def after(phase: str, info: Mapping[str, int]) -> None:
        nonlocal set_aside
        if phase != "stop" or info["generation"] != 2 or len(gc.get_objects()) < _LEAST_OBJECTS:
            return
        gc.freeze()
        set_aside += 1
        if set_aside % _ALL_AGAIN_AFTER == 0:
            gc.unfreeze()

    gc.callbacks.append(after)
    gc.set_threshold(young, middle, _MIDDLE_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)
        gc.callbacks.remove(after)
