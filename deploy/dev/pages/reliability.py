"""docs/reliability.md from what the fault campaign has found: each fault, what it changed, and what it did not.

`python -m pages.reliability > docs/reliability.md` (`make docs`) renews it; a test compares. The results are those that
`make campaign KEEP=1` has kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from bed.paths import REPOSITORY

FILE = REPOSITORY / "tests" / "campaign" / "results.json"
LETTERS = {
    "A": "The Kubernetes API",
    "B": "The operator's process",
    "C": "Kafka",
    "D": "Metric sources",
    "E": "The resource",
    "F": "The target",
    "G": "Scale and life cycle",
}
STORIES = {
    "up": "from 1 to 3 replicas, and no further within the cooldown",
    "zero": "from 0 to 2 and back to 0",
    "bounds": "`minReplicas` raised, then `maxReplicas` lowered",
    "pause": "paused, load, resumed",
}

HEAD = """# Reliability

<!-- Generated from tests/campaign/results.json by `make docs`; `make campaign KEEP=1` renews that. -->

The fault campaign (`make campaign`) plays the same short stories with and without a fault, on a real etcd, API server
and Kafka broker, each run with an operator process of its own. It compares every count that the target was asked to
have, the scale writes and status writes in the API server's audit log, the Events, the conditions at the end, and what
is left of the resource when it is deleted: series, open files, an operator that does not end in order. What a fault may
change is said beforehand; every other difference is a finding.

Between each operator and the real servers is a proxy that understands what is asked. It delays, cuts, holds back, and
loses answers after the real server has done its work; where it can, it makes the real server refuse: a token that is
spoilt (401), an account without rights (403), a rival's write just before (409), a version of long ago (410).

On a starved machine a Lease may run out by itself. Such a restart counts as a finding here like any other.
"""

FOUND = """
| | Means | Found |
|---|---|---|
| fault runs | runs in which the fault happened | {runs} |
| wrong scale writes | a count that the story does not ask for | {wrong_scale_writes} |
| double steps | a decision that was written twice, or a step further in one cooldown | {double_steps} |
| stuck | the story did not come to its end | {stuck} |
| leaked | something was left of a deleted resource | {leaked} |
| differences | faults with any other difference that is not expected | {differences} |
"""


def render() -> str:
    """The page."""
    rows: Mapping[str, list[Any]] = json.loads(FILE.read_text(encoding="utf-8"))["rows"]
    faults = [fault for row in rows.values() for fault in row]
    totals = {
        name: sum(fault[name] for fault in faults)
        for name in ("runs", "wrong_scale_writes", "double_steps", "stuck", "leaked")
    }
    parts = [HEAD, FOUND.format(**totals, differences=sum(bool(fault["differences"]) for fault in faults))]
    parts.append("\nThe stories:\n\n| Story | Counts |\n|---|---|\n")
    parts += [f"| {name} | {words} |\n" for name, words in STORIES.items()]
    for letter, title in LETTERS.items():
        mine = {name: row for name, row in rows.items() if name.startswith(letter)}
        if mine:
            parts.append(f"\n## {title}\n\n")
            parts.append("| Row | Fault | Runs | Lasts | Restarts | Other differences allowed | Findings | Of |\n")
            parts.append("|---|---|---|---|---|---|---|---|\n")
            parts += [_line(name, fault) for name, row in mine.items() for fault in row]
    return "".join(parts)


def _line(name: str, fault: Mapping[str, Any]) -> str:
    allowed = [f"Event `{reason}`" for reason in fault["events_may_come"]]
    allowed += ["lost Events"] if fault["events_may_be_lost"] else []
    findings = [
        f"{fault[kind]} {words}"
        for kind, words in (
            ("wrong_scale_writes", "wrong scale writes"),
            ("double_steps", "double steps"),
            ("stuck", "stuck"),
            ("leaked", "leaked"),
        )
        if fault[kind]
    ]
    findings += fault["differences"]
    cells = (
        name,
        f"**{fault['fault']}**{': ' if fault['what'] else ''}{fault['what']}",
        str(fault["runs"]),
        _span(fault["seconds"], " s"),
        _span(fault["restarts"], ""),
        ", ".join(allowed),
        "; ".join(findings) or "none",
        fault["date"],
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _span(ends: Iterable[float], unit: str) -> str:
    least, most = ends
    if not most:
        return "" if unit else "0"
    return f"{least:g}{unit}" if least == most else f"{least:g} to {most:g}{unit}"


if __name__ == "__main__":
    sys.stdout.write(render())
