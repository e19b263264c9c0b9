"""What is kept of a campaign."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from tests.campaign.faults import FAULTS
from tests.campaign.judge import Outcome
from tests.campaign.results import figures, keep

FIRST, SECOND = (fault for fault in FAULTS if fault.row == "A4")


def test_what_was_not_run_again_stays_as_it_was(tmp_path: Path) -> None:
    """Each fault has the date of its own last run."""
    file = tmp_path / "results.json"
    both = [Outcome("A4", each.name, "up", 0, counts=[1, 3]) for each in (FIRST, SECOND)]
    keep((FIRST, SECOND), both, date(2026, 1, 1), file)
    again = Outcome("A4", SECOND.name, "zero", 1, counts=[0, 2], stuck="waits", restarts=1)
    keep((FIRST, SECOND), [again], date(2026, 1, 2), file)
    first, second = json.loads(file.read_text())["rows"]["A4"]
    assert (first["fault"], first["date"], first["runs"], first["stuck"]) == (FIRST.name, "2026-01-01", 1, 0)
    assert (second["fault"], second["date"], second["runs"], second["stuck"]) == (SECOND.name, "2026-01-02", 1, 1)
    assert second["restarts"] == [1, 1]


def test_a_fault_that_met_nothing_is_no_fault_run() -> None:
    runs = [Outcome("A4", "x", "up", 0), Outcome("A5", "y", "up", 0, happened=False), Outcome("-", "-", "up", 0)]
    found = figures(runs, 1.0)
    assert (found["fault_runs"], found["rows"], found["not_happened"]) == (1, 1, 1)


def test_names_tell_the_faults_of_a_row_apart() -> None:
    assert len({(fault.row, fault.name) for fault in FAULTS}) == len(FAULTS)
