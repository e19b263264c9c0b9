"""What lives long is set aside from full collections; garbage made later is still found."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from consumer_autoscaler.runtime.pauses import short_pauses


class Node:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def thaw() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_has_survived_is_not_looked_at_again() -> None:
    """Once; a few more objects are not worth it, many are, and they are freed as before when nobody has them."""
    with short_pauses():
        gc.collect()
        held = gc.get_freeze_count()
        assert held > 20_000
        few = [Node() for _ in range(100)]
        gc.collect()
        assert gc.get_freeze_count() <= held
        many = [[number] for number in range(held)]
        gc.collect()
        assert gc.get_freeze_count() >= 2 * held
        many.clear()
        assert gc.get_freeze_count() < 1.5 * held
        assert few


def test_cycles_made_later_are_collected() -> None:
    """Setting aside does not switch the collector off."""
    with short_pauses():
        gc.collect()
        node = Node()
        gone = weakref.ref(node)
        del node
        assert gone() is not None
        gc.collect()
        assert gone() is None


def test_it_ends_with_its_block() -> None:
    """No collection after it sets anything aside."""
    with short_pauses():
        pass
    gc.unfreeze()
    gc.collect()
    assert gc.get_freeze_count() == 0
