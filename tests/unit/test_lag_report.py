"""What `lag` prints: each member of the JSON is documented, unknown is null, and the table lines up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.unit.decision_model import reading

from bed.paths import REPOSITORY
from consumer_autoscaler import lag_report
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupKind, GroupReading, PartitionReading, Unavailable
from consumer_autoscaler.sources.kafka.inspection.inspect import GroupInspection
from consumer_autoscaler.sources.kafka.inspection.owners import Owner

OWNER = Owner("m-1", "", "payments-0", "/10.0.0.7")


def group(lags: list[int], **more: Any) -> GroupInspection:
    seen = reading(lags, assignor="range", kind=GroupKind.CONSUMER, **more)
    delays = {("t", p): 4.0 if lag else 0.0 for p, lag in enumerate(lags)}
    return GroupInspection("payments", seen, {("t", 0): OWNER}, delays)


def paths(value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from paths(item, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, f"{at}[]")
    else:
        yield at


def test_every_member_of_the_json_is_documented_and_every_documented_one_is_there() -> None:
    unread = GroupInspection("other", Unavailable(SourceReason.GROUP_NOT_FOUND, "not there"), {}, {})
    printed = lag_report.as_json([group([3, 0]), unread], at=1_800_000_000.0)
    documented = {
        line.split("`")[1] for line in (REPOSITORY / "docs/lag-command.md").read_text().splitlines() if "| `" in line
    }
    assert set(paths(printed)) == documented  # both objects that may be null are null once
    assert printed["readAt"] == "2027-01-15T08:00:00.000Z"


def test_what_is_not_known_is_null_and_never_zero() -> None:
    unknown = PartitionReading("t", 0, None, 0, 7, None)
    seen = GroupInspection("g", GroupReading(at=0.0, state=reading([0]).state, partitions=(unknown,)), {}, {})
    totals = lag_report.as_json([seen], at=0.0)["groups"][0]["totals"]
    assert (totals["lagMessages"], totals["delaySeconds"]) == (None, None)
    headline, _, row = lag_report.as_table([seen]).splitlines()
    assert "lag unknown in 0 of 1 partitions, oldest -" in headline
    assert row.split() == ["t", "0", "-", "7", "-", "-", "-"]


def test_the_table_says_in_one_line_what_the_operator_would_reckon_with() -> None:
    lines = lag_report.as_table([group([3, 0], idle_members=1, members=3)]).splitlines()
    assert lines[0] == (
        "payments: consumer group, Stable, 3 members (1 without a partition), lag 3 in 1 of 2 partitions, oldest 4.0s,"
        " work for at most 2 consumers"
    )
    assert lines[1:] == [
        "TOPIC  PARTITION  COMMITTED   END  LAG  DELAY  CLIENT",
        "t              0       1000  1003    3   4.0s  payments-0",
        "t              1       1000  1000    0   0.0s  -",
    ]


def test_a_cluster_without_groups_says_so() -> None:
    assert lag_report.as_table([]) == "The cluster has no consumer group that can be seen."
