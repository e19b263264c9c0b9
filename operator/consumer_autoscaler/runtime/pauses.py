"""Keeps Python's collector of cycles from holding up the event loop.

Its full collections look at every object there is, 100 ms for a quarter of a million, and nothing else runs meanwhile.
Nearly all of ours live long: modules, and what is remembered of each resource and group. So what has survived a full
collection is set aside (`gc.freeze`), and each looks only at what has come since: often while there is more and more,
as at the start, and seldom when there is not. What is set aside is freed as ever when nothing refers to it any more;
cycles that are made of it are not found, so once in some hundred times everything is looked at again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_LEAST_OBJECTS = 10_000  # looked at in some milliseconds
# Collections of the middle generation from one full collection to the next; Python's default is 10.
_GROWING, _RESTING = 3, 200
_ALL_AGAIN_AFTER = 500


@contextmanager
def short_pauses() -> Iterator[None]:
    """While it lasts, and for all of the process."""
    young, middle, old = gc.get_threshold()
    set_aside = known = frozen = 0  # freezes, and objects: counted here, since asking Python walks over all of them

    def after(phase: str, info: Mapping[str, int]) -> None:
        nonlocal set_aside, known, frozen
        if phase != "stop" or info["generation"] != 2:
            return
        survivors = len(gc.get_objects())  # without what is set aside already
        before, known = known, survivors + frozen
        gc.set_threshold(young, middle, _GROWING if known > 1.1 * before else _RESTING)
        if survivors > _LEAST_OBJECTS:
            gc.freeze()
            set_aside, frozen = set_aside + 1, frozen + survivors
            if set_aside % _ALL_AGAIN_AFTER == 0:
                gc.unfreeze()
                frozen = 0

    gc.callbacks.append(after)
    gc.set_threshold(young, middle, _GROWING)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)
        gc.callbacks.remove(after)
