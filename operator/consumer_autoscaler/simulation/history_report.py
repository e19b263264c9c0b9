"""The paragraph at the end of a replay of one's own past: what was, what would have been, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from consumer_autoscaler.simulation.history import History
from consumer_autoscaler.simulation.history_fit import Capacity
from consumer_autoscaler.simulation.report import Report, Row

TODAY = "today"
OURS = "ours"
SPREAD_FACTOR = 1.5  # between quartiles of a capacity that is worth a word
OFF_SECONDS, OFF_FACTOR = 600.0, 2.0  # the model is off when its late time differs by both


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The past, what is believed of a replica, and how the policies did on it. `capacity` is None where it was given;
    `not_fitted` may then say why it was not fitted. `most_per_second` is what the most replicas can do.
    """

    group: str
    history: History
    partitions: int
    capacity: Capacity | None
    not_fitted: str | None
    records_per_second: float
    most_per_second: float
    report: Report

    @property
    def promise_seconds(self) -> float:
        return self.report.promise_seconds

    @property
    def late_seconds(self) -> float:
        return self.history.late_seconds(self.promise_seconds)

    @property
    def scalings(self) -> int | None:
        steps = self.history.replica_steps()
        return len(steps) - 1 if steps else None

    @property
    def too_much_seconds(self) -> float:
        """In which more arrived than the most replicas can do."""
        return float(np.count_nonzero(self.history.rates > self.most_per_second) * self.history.step_seconds)


def as_json(story: Story) -> dict[str, Any]:
    """Times in minutes or RFC 3339, shares from 0 to 1."""
    history, capacity, hours = story.history, story.capacity, story.history.replica_hours()
    return {
        "group": story.group,
        "from": _when(history.start),
        "to": _when(history.end),
        "exporter": history.exporter,
        "records": round(float(history.rates.sum() * history.step_seconds)),
        "partitions": story.partitions,
        "missing_share": round(history.missing_share, 6),
        "seen": {
            "late_minutes": round(story.late_seconds / 60, 1),
            "replica_hours": None if hours is None else round(hours, 4),
            "scalings": story.scalings,
        },
        "capacity_records_per_second": round(story.records_per_second, 4),
        "fitted": None
        if capacity is None
        else {
            "low": round(capacity.low, 4),
            "high": round(capacity.high, 4),
            "seconds": round(capacity.seconds),
            "uneven_seconds": round(capacity.uneven_seconds),
        },
        "late_minutes": {row.name: round(row.outcome.lateness.late_seconds / 60, 1) for row in story.report.rows},
        "summary": paragraph(story),
    }


def paragraph(story: Story) -> str:
    rows = {row.name: row for row in story.report.rows}
    hours, late, promise = story.history.replica_hours(), story.late_seconds, story.promise_seconds
    said = [_load(story), _capacity(story)]
    if hours is None:
        said.append(f"For {_minutes(late)} a record waited longer than {promise:g} s.")
    else:
        said.append(
            f"What runs today used {hours:,.0f} replica-hours with {_scalings(story.scalings or 0)}, and for"
            f" {_minutes(late)} a record waited longer than {promise:g} s{_model(late, rows.get(TODAY))}."
        )
    said += [_would(row, hours) for row in story.report.rows if row.name not in (TODAY, "oracle")]
    if story.too_much_seconds > 0:
        said.append(
            f"For {_minutes(story.too_much_seconds)} more arrived than the most replicas can do: only more partitions,"
            " a higher maxReplicas or quicker consumers help there."
        )
    if OURS in rows:
        said.append(_advice(late, hours, rows[OURS], promise))
    return " ".join(said)


def _load(story: Story) -> str:
    history = story.history
    missing = history.missing_share
    gaps = f" ({missing:.0%} of the points were missing and are filled in)" if missing >= 0.005 else ""
    return (
        f"From {_when(history.start)} to {_when(history.end)} the group {story.group} got"
        f" {history.rates.sum() * history.step_seconds:,.0f} records, {_rate(float(history.rates.mean()))} on average"
        f" and {_rate(float(history.rates.max()))} at most, on {story.partitions} partitions{gaps}."
    )


def _capacity(story: Story) -> str:
    capacity = story.capacity
    if capacity is None:
        why = f" (not fitted: {story.not_fitted})" if story.not_fitted else ""
        return f"A replica does {_rate(story.records_per_second)}, as was given{why}."
    varies = (
        f", but half of that time less than {_rate(capacity.low)} or more than {_rate(capacity.high)}: what a record"
        " takes varies, or the load is uneven over the partitions"
        if capacity.high > SPREAD_FACTOR * capacity.low
        else ""
    )
    uneven = (
        f" For {_minutes(capacity.uneven_seconds)} besides, only some of the partitions were behind: the load is"
        " uneven, and the model leaves that out (see --skew)."
        if capacity.uneven_seconds
        else ""
    )
    return (
        f"A replica does {_rate(capacity.records_per_second)}, as seen in {_minutes(capacity.seconds)} in which the"
        f" group was behind{varies}.{uneven}"
    )


def _model(seen: float, today: Row | None) -> str:
    """How well the model gives the late time that was seen, with the replicas that were really there."""
    if today is None:
        return ""
    model = today.outcome.lateness.late_seconds
    low, high = sorted((model, seen))
    if high - low > OFF_SECONDS and high > OFF_FACTOR * low:
        return (
            f"; the model with those replicas says {_minutes(model)}, so read what follows with care and check"
            " --capacity, --start and --pause"
        )
    return f" ({_minutes(model)} in the model with those replicas)"


def _would(row: Row, today_hours: float | None) -> str:
    outcome = row.outcome
    against = "" if not today_hours else f" ({outcome.replica_hours / today_hours - 1:+.0%})"
    name = "The operator" if row.name == OURS else f"KEDA ({row.name})" if row.name.startswith("keda") else row.name
    return (
        f"{name} would have used {outcome.replica_hours:,.0f} replica-hours{against} with"
        f" {_scalings(outcome.scalings)}, and {_minutes(outcome.lateness.late_seconds)} late."
    )


def _advice(seen: float, hours: float | None, ours: Row, promise: float) -> str:
    late = ours.outcome.lateness.late_seconds
    if late > seen + 60:
        return "That is more lateness than today: keep what you have, or promise more seconds (--slo) and replay again."
    if hours is not None and ours.outcome.replica_hours > hours and late >= seen - 60:
        return "That brings nothing for this load: keep what you have, or try a longer promise (--slo)."
    return f"Apply the resource with mode: Observe and maxDelaySeconds: {promise:g}, and compare for a day."


def _scalings(number: int) -> str:
    return "1 scaling" if number == 1 else f"{number:,} scalings"


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    if minutes >= 120:
        return f"{minutes / 60:,.1f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 10 or minutes == round(minutes) else f"{minutes:.1f} minutes"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.2g}/s"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")
