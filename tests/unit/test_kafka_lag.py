"""Offsets to lag: never negative, never 0 for what is not known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer_autoscaler.decision.values import OffsetReset
from consumer_autoscaler.sources.kafka.lag.offsets_to_lag import (
    Inconsistent,
    beyond_end,
    lag_messages,
    partition_readings,
)

OFFSETS = st.integers(min_value=0, max_value=2**62)


@pytest.mark.parametrize(
    ("committed", "start", "end", "reset", "expected"),
    [
        (4, 0, 10, OffsetReset.LATEST, 6),
        (10, 0, 10, OffsetReset.EARLIEST, 0),
        (4, None, 10, OffsetReset.NONE, 6),
        (None, 3, 10, OffsetReset.LATEST, 0),
        (None, 3, 10, OffsetReset.EARLIEST, 7),
        (None, 3, 10, OffsetReset.NONE, None),
        (2, 3, 10, OffsetReset.LATEST, 0),
        (2, 3, 10, OffsetReset.EARLIEST, 7),
        (2, 3, 10, OffsetReset.NONE, None),
        (11, 3, 10, OffsetReset.LATEST, 0),
        (11, 3, 10, OffsetReset.EARLIEST, 7),
        (11, 3, 10, OffsetReset.NONE, None),
    ],
)
def test_lag_of_one_partition(
    committed: int | None, start: int | None, end: int, reset: OffsetReset, expected: int | None
) -> None:
    """A commit within the log counts from itself; none, or one outside it, by the offset reset."""
    assert lag_messages(committed, start, end, reset) == expected


@given(committed=st.none() | OFFSETS, start=st.none() | OFFSETS, end=OFFSETS, reset=st.sampled_from(OffsetReset))
def test_lag_is_never_negative_and_never_more_than_the_log(
    committed: int | None, start: int | None, end: int, reset: OffsetReset
) -> None:
    """Whatever the offsets; what cannot be is an error, and unknown needs the reset None."""
    try:
        lag = lag_messages(committed, start, end, reset)
    except Inconsistent:
        assert start is None or start > end
        return
    assert lag is None or 0 <= lag <= end - (start or 0)
    assert lag is not None or reset is OffsetReset.NONE


def test_an_unchanged_partition_keeps_its_object() -> None:
    """A partition that reads as before costs no new object; one that moved gets its own values."""

    def read(end: int, previous: list) -> list:  # type: ignore[type-arg]
        return partition_readings(
            "t", committed={0: 1, 1: 2}, starts=[0, 0], ends=[5, end], reset=OffsetReset.LATEST, previous=previous
        )

    first = read(7, [])
    second = read(9, first)
    assert second[0] is first[0]
    assert (second[1].end_offset, second[1].lag_messages) == (9, 7)


def test_commits_beyond_the_end_are_named() -> None:
    """Only those, by topic and partition."""
    readings = partition_readings(
        "t", committed={0: 9, 1: 5, 2: -1}, starts=[0, 0, 0], ends=[5, 5, 5], reset=OffsetReset.LATEST, previous=()
    )
    assert beyond_end(readings) == {("t", 0)}
