"""docs/lag.md names each trap of reading lag, with tests that there are."""

from __future__ import annotations

import re

import pytest

from bed.paths import REPOSITORY
from consumer_autoscaler.decision.reasons import BackpressureReason, SourceReason

DOCUMENT = (REPOSITORY / "docs/lag.md").read_text()
ROWS = {int(number): row for number, row in re.findall(r"^\| (\d+) (\|.*)$", DOCUMENT, re.MULTILINE)}
TESTS = {
    name
    for folder in ("unit", "wire", "integration")
    for path in sorted((REPOSITORY / "tests" / folder).glob("test_*.py"))
    for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
}


def test_every_trap_has_a_row() -> None:
    """All 29, each once."""
    assert sorted(ROWS) == list(range(1, 30))
    assert len(re.findall(r"^\| \d+ \|", DOCUMENT, re.MULTILINE)) == 29


@pytest.mark.parametrize("number", range(1, 30))
def test_every_row_names_tests_that_exist(number: int) -> None:
    """In its last column, and every one of them."""
    named = re.findall(r"`(test_\w+)`", ROWS[number].rstrip(" |").rsplit("|", 1)[1])
    assert named
    assert set(named) <= TESTS


def test_every_reason_that_lag_may_give_is_explained() -> None:
    """Here or with the conditions."""
    conditions = (REPOSITORY / "docs/operating.md").read_text()
    reasons = {*SourceReason, *BackpressureReason} - {
        SourceReason.VALID, SourceReason.NOT_READ_YET, BackpressureReason.KEEPING_UP, BackpressureReason.LAG_UNKNOWN,
    }  # fmt: skip
    missing = [reason for reason in reasons if f"`{reason}`" not in DOCUMENT + conditions]
    assert missing == []
