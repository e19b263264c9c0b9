"""The parts of the demo's stories that can be wrong without anybody seeing it: paces, loads, verdicts."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from bed.database import Connection, Database
from bed.pace import Pace, PaceFile, at
from bed.produce import Profile
from bed.scenario import Sample, Summary
from bed.stories import STORIES, probes, turns


def samples(*counts: int, reason: str = "KeepingUp") -> list[Sample]:
    return [Sample(float(n), 1.0, count, count, 0.0, 0.0, 1.0, 1.0, reason) for n, count in enumerate(counts)]


SUMMARY = Summary(
    records=9, late_share=0.0, delay_max_seconds=1.0, replica_seconds=9.0, scalings=2,
    replicas_first=2, replicas_most=8, replicas_last=3, lag_last=0.0,
)  # fmt: skip


def test_each_record_takes_its_own_time_around_the_mean() -> None:
    pace = Pace(seconds_per_record=0.2, spread=0.6, least_seconds=0.05, most_seconds=2.0)
    chance = random.Random(1)
    drawn = [pace.draw(1, chance) for _ in range(4000)]
    assert min(drawn) >= 0.05
    assert max(drawn) <= 2.0
    assert fmean(drawn) == pytest.approx(0.2, rel=0.05)
    assert Pace(seconds_per_record=0.1).draw(5, chance) == pytest.approx(0.5)


def test_a_pace_that_is_written_is_read_by_those_who_run(tmp_path: Path) -> None:
    """Also what is stuck; a file that cannot be read changes nothing."""
    path, first = tmp_path / "pace.json", Pace(seconds_per_record=1.0)
    file = PaceFile(path, first)
    assert file.read() == first
    second = Pace(seconds_per_record=2.0, stuck=("t-1",))
    PaceFile.write(path, second)
    assert file.read() == second
    path.write_text("{")
    assert file.read() == second


def test_a_line_through_points() -> None:
    points = ((10.0, 1.0), (20.0, 3.0))
    assert [at(points, seconds) for seconds in (0, 10, 15, 20, 99)] == [1, 1, 2, 3, 3]


def test_what_is_due_is_the_area_under_any_profile() -> None:
    """Slopes, steps, before the first point and after the last one."""
    profile = Profile.parse("2:10,4:30,4.001:0,6:0,6.001:5")
    assert profile.records(1) == pytest.approx(10)
    assert profile.records(3) == pytest.approx(35)
    assert profile.records(5) == pytest.approx(60, abs=0.1)
    assert profile.records(8) == pytest.approx(70, abs=0.1)


async def test_all_who_write_share_what_the_database_takes() -> None:
    """Four writers take as long as one who writes it all."""
    async with Database(200.0) as database:
        connections = [Connection(database.address) for _ in range(4)]
        begin = time.monotonic()
        await asyncio.gather(*(connection.write(20) for connection in connections))
        assert time.monotonic() - begin >= 0.39
        assert database.rows == 80
        for connection in connections:
            await connection.aclose()


def test_turns_are_changes_of_direction() -> None:
    assert turns(samples(2, 2, 8, 8, 5, 3)) == 1
    assert turns(samples(2, 8, 5, 8, 5)) == 3
    assert turns(samples(2, 2)) == 0


def test_payments_may_neither_be_late_nor_thrash() -> None:
    verdict = STORIES["payments"].verdict
    assert verdict(samples(2, 8, 3), SUMMARY) == []
    assert len(verdict(samples(2, 8, 3), replace(SUMMARY, late_share=0.001))) == 1
    assert len(verdict(samples(2, 8, 5, 8, 3), SUMMARY)) == 1


def test_the_shared_limit_must_be_named_after_one_try() -> None:
    """Ups from three replicas on cannot help: three do what the database takes."""
    verdict = STORIES["shared-limit"].verdict
    assert probes(samples(1, 4, 12, 4)) == 1
    assert verdict(samples(1, 4, 12, 4, reason="SlowDownstream"), SUMMARY) == []
    assert len(verdict(samples(1, 4, 12, 24, reason="SlowDownstream"), SUMMARY)) == 1
    assert len(verdict(samples(1, 4, 12, reason="PartitionLimit"), SUMMARY)) == 1
