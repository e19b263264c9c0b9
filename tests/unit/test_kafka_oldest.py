"""The age of the oldest unprocessed record, found with questions about timestamps alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer_autoscaler.sources.kafka.inspection import oldest
from consumer_autoscaler.sources.kafka.wire.requests import NOT_FOUND

NOW = 1_800_000_000.0


class Log:
    """Answers as a leader does: the first offset whose record is not older than the timestamp."""

    def __init__(self, ages: list[float]) -> None:
        self.stamps = sorted(round((NOW - age) * 1000) for age in ages)
        self.questions = 0

    async def __call__(
        self, brokers: Any, topology: Any, times: Mapping[str, Mapping[int, int]], *, committed: bool
    ) -> dict[tuple[str, int], int]:
        self.questions += 1
        found = {}
        for topic, partitions in times.items():
            for partition, at in partitions.items():
                first = bisect_left(self.stamps, at)
                found[topic, partition] = first if first < len(self.stamps) else NOT_FOUND
        return found


async def ages_of(log: Log, positions: dict[tuple[str, int], int], patch: pytest.MonkeyPatch) -> dict[Any, float]:
    patch.setattr(oldest, "read_at_times", log)
    nothing: Any = None
    return await oldest.oldest_seconds(nothing, nothing, positions, at=NOW, committed=False)


@given(ages=st.lists(st.floats(0, 5e6), min_size=1, max_size=30), data=st.data())
async def test_the_age_is_exact_to_half_a_percent(ages: list[float], data: st.DataObject) -> None:
    """Of any record, in at most sixty questions."""
    log = Log(ages)
    position = data.draw(st.integers(0, len(ages) - 1))
    with pytest.MonkeyPatch.context() as patch:
        found = await ages_of(log, {("t", 0): position}, patch)
    truth = NOW - log.stamps[position] / 1000
    assert found["t", 0] == pytest.approx(truth, rel=0.006, abs=0.06)
    assert log.questions <= 60


async def test_partitions_share_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log([10.0, 20.0, 30.0, 40.0])
    found = await ages_of(log, {("t", p): p for p in range(4)}, monkeypatch)
    assert [round(found["t", p]) for p in range(4)] == [40, 30, 20, 10]
    assert log.questions <= 25


async def test_a_record_of_the_future_is_not_old_and_an_absurd_time_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await ages_of(Log([-50.0]), {("t", 0): 0}, monkeypatch) == {("t", 0): 0.0}
    assert await ages_of(Log([NOW]), {("t", 0): 0}, monkeypatch) == {}
