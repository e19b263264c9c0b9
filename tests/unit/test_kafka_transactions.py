"""Transactions that stay open are told to a person, and only those."""

from __future__ import annotations

from consumer_autoscaler.sources.kafka.lag.transactions import LOOK_AGAIN_SECONDS, OpenTransactions


def test_an_end_that_stands_still_below_the_high_watermark_is_named() -> None:
    seen = OpenTransactions()
    seen.look({"t": [10, 5]}, {"t": [12, 5]}, 0.0)
    assert seen.note(["t"], 1.0) == ""
    seen.look({"t": [10, 9]}, {"t": [40, 9]}, LOOK_AGAIN_SECONDS)
    assert seen.note(["t"], LOOK_AGAIN_SECONDS) == "an open transaction holds back t-0 (30 messages for 60 s)"
    assert seen.note(["other"], LOOK_AGAIN_SECONDS) == ""


def test_transactions_that_come_and_go_are_none_of_it() -> None:
    """The end below moved on in between: it was another transaction."""
    seen = OpenTransactions()
    for number in range(5):
        at = number * LOOK_AGAIN_SECONDS
        seen.look({"t": [10 + number]}, {"t": [20 + number]}, at)
        assert seen.note(["t"], at) == ""


def test_an_end_that_could_not_be_read_says_nothing() -> None:
    seen = OpenTransactions()
    for at in (0.0, 120.0):
        seen.look({"t": [-1]}, {"t": [50]}, at)
    assert seen.note(["t"], 120.0) == ""


def test_it_is_looked_for_once_a_minute() -> None:
    seen = OpenTransactions()
    assert seen.due(0.0)
    seen.look({}, {}, 0.0)
    assert not seen.due(LOOK_AGAIN_SECONDS - 1)
    assert seen.due(LOOK_AGAIN_SECONDS)
