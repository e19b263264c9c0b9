"""What a comparison comes to, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consumer_autoscaler.simulation.run import Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """One policy by the name it was asked for."""

    name: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One load. The oracle's costs are in replica-seconds and have the warm-up in them."""

    trace: str
    seed: int
    promise_seconds: float
    oracle: Outcome
    rows: tuple[Row, ...]
    oracle_cost: float
    oracle_bound: float | None


def as_json(report: Report) -> dict[str, Any]:
    """Shares from 0 to 1, delays in seconds."""
    found: dict[str, Any] = {
        "trace": report.trace,
        "seed": report.seed,
        "policies": {row.name: _numbers(row.outcome, report.oracle) for row in report.rows},
    }
    if report.oracle_bound is not None:
        found["oracle"] = {
            "cost_replica_hours": round(report.oracle_cost / 3600, 4),
            "lower_bound_replica_hours": round(report.oracle_bound / 3600, 4),
        }
    return found


def _numbers(outcome: Outcome, oracle: Outcome) -> dict[str, Any]:
    late = outcome.lateness
    return {
        "late_share": round(late.late_share, 8),
        "delay_p50_s": round(late.p50, 2),
        "delay_p95_s": round(late.p95, 2),
        "delay_p99_s": round(late.p99, 2),
        "delay_max_s": round(late.longest, 2),
        "replica_hours": round(outcome.replica_hours, 4),
        "replica_hours_vs_oracle": round(outcome.replica_hours / oracle.replica_hours, 4),
        "scalings": outcome.scalings,
        "scalings_per_day": round(outcome.scalings_per_day, 2),
        "reversals": outcome.reversals,
        "rebalance_share": round(outcome.rebalance_share, 6),
    }


_HEAD = (
    "policy", "late", "p50", "p95", "p99", "max", "replica-hours", "× oracle", "scalings", "a day", "reversals",
    "rebalancing",
)  # fmt: skip


def as_table(report: Report) -> str:
    """One line for each policy; late and rebalancing in percent, delays in seconds."""
    cells = [list(_HEAD)]
    for row in report.rows:
        o, late = row.outcome, row.outcome.lateness
        cells.append(
            [
                row.name,
                f"{100 * late.late_share:.3f} %",
                *(f"{delay:.1f} s" for delay in (late.p50, late.p95, late.p99, late.longest)),
                f"{o.replica_hours:.1f}",
                f"{o.replica_hours / report.oracle.replica_hours:.2f}",
                str(o.scalings),
                f"{o.scalings_per_day:.0f}",
                str(o.reversals),
                f"{100 * o.rebalance_share:.2f} %",
            ]
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    title = f"{report.trace}, promise {report.promise_seconds:g} s, seed {report.seed}"
    if report.oracle_bound is not None:
        title += (
            f"; the oracle's plan costs {report.oracle_cost / 3600:.2f} replica-hours, no plan less than"
            f" {report.oracle_bound / 3600:.2f}"
        )
    return "\n".join([title, "", *lines])
