"""What lives long is set aside from full collections; garbage made later is still found."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from consumer_autoscaler.runtime import pauses
from consumer_autoscaler.runtime.pauses import short_pauses


class Node:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def thaw() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_has_survived_is_not_looked_at_again() -> None:
    """A few more objects are not worth it, many are; they are freed as before when nobody has them any more."""
    with short_pauses():
        gc.collect()
        held = gc.get_freeze_count()
        assert held > 10_000
        few = [Node() for _ in range(100)]
        gc.collect()
        assert gc.get_freeze_count() <= held
        many = [[number] for number in range(50_000)]
        gc.collect()
        assert gc.get_freeze_count() >= held + 40_000
        many.clear()
        assert gc.get_freeze_count() < held + 10_000
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


def test_cycles_that_were_set_aside_are_found_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then all is looked at again."""
    monkeypatch.setattr(pauses, "_ALL_AGAIN_AFTER", 2)
    node = Node()
    gone = weakref.ref(node)
    with short_pauses():
        gc.collect()
        del node
        gc.collect()
        assert gone() is not None
        more = [[number] for number in range(20_000)]
        gc.collect()
        gc.collect()
        assert gone() is None
        assert more


def test_it_ends_with_its_block() -> None:
    """No collection after it sets anything aside."""
    before = gc.get_threshold()
    with short_pauses():
        assert gc.get_threshold() != before
    gc.unfreeze()
    gc.collect()
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before
