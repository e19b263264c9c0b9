"""What the last runs of each row came to, kept in `results.json` for the page about reliability.

A run of some faults renews those only, so each has a date of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tests.campaign.judge import Outcome
from tests.campaign.run import Fault

FILE = Path(__file__).with_name("results.json")


def figures(outcomes: Sequence[Outcome], seconds: float) -> dict[str, int]:
    """The last line of a campaign."""
    counted = [each for each in outcomes if each.row != "-" and each.happened]
    return {
        "fault_runs": len(counted),
        "rows": len({each.row for each in counted}),
        "wrong_scale_writes": sum(each.wrong_scale_writes for each in outcomes),
        "double_steps": sum(each.double_steps for each in outcomes),
        "stuck": sum(bool(each.stuck) for each in outcomes),
        "leaked": sum(bool(each.leaked) for each in outcomes),
        "differences": sum(bool(each.differences) for each in outcomes),
        "not_happened": sum(not each.happened for each in outcomes),
        "repeats": sum(each.repeats for each in outcomes),
        "seconds": round(seconds),
    }


def keep(faults: Sequence[Fault], outcomes: Sequence[Outcome], today: date, file: Path = FILE) -> None:
    """Renews what is kept of those of the faults that were run; of faults that are no more it is taken away by hand."""
    ran = {(each.row, each.fault) for each in outcomes}
    faults = [fault for fault in faults if (fault.row, fault.name) in ran]
    rows: dict[str, list[Any]] = json.loads(file.read_text())["rows"] if file.exists() else {}
    for row in {fault.row for fault in faults}:
        kept = {each["fault"]: each for each in rows.get(row, ())}
        for kind in _kinds(faults, row):
            members = [fault for fault in faults if fault.row == row and fault.kind == kind]
            kept[kind] = {**_fault(row, kind, members, outcomes), "date": today.isoformat()}
        rows[row] = list(kept.values())
    file.write_text(_text(rows))


def _text(rows: dict[str, list[Any]]) -> str:
    """JSON with a line for each kind of fault, so that a difference shows which were run again."""
    lines = {row: ",\n  ".join(json.dumps(each, ensure_ascii=False) for each in rows[row]) for row in sorted(rows)}
    return '{"rows": {\n' + ",\n".join(f' "{row}": [\n  {faults}]' for row, faults in lines.items()) + "\n}}\n"


def _kinds(faults: Sequence[Fault], row: str) -> list[str]:
    return list(dict.fromkeys(fault.kind for fault in faults if fault.row == row))


def _fault(row: str, kind: str, faults: Sequence[Fault], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    names = {fault.name for fault in faults}
    mine = [each for each in outcomes if each.row == row and each.fault in names]
    met = [each for each in mine if each.happened]
    expected = faults[0].expected
    return {
        "fault": kind,
        "what": faults[0].what,
        "runs": len(met),
        "stories": sorted({each.story for each in met}),
        "seconds": [min((e.fault_seconds for e in met), default=0), max((e.fault_seconds for e in met), default=0)],
        "restarts": [min((e.restarts for e in met), default=0), max((e.restarts for e in met), default=0)],
        "events_may_come": sorted(expected.events),
        "events_may_be_lost": expected.events_may_be_lost,
        "scale_writes": sum(each.scale_writes for each in met),
        "wrong_scale_writes": sum(each.wrong_scale_writes for each in mine),
        "double_steps": sum(each.double_steps for each in mine),
        "stuck": sum(bool(each.stuck) for each in mine),
        "leaked": sum(bool(each.leaked) for each in mine),
        "differences": sorted({words for each in mine for words in each.differences}),
    }
