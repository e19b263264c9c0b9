"""What is known of an up that brought nothing survives a restart of the operator."""

from __future__ import annotations

from typing import Any

import pytest

from consumer_autoscaler.decision.effect import most_useful, slow_downstream
from consumer_autoscaler.decision.history import History, Useless
from consumer_autoscaler.resource.memory import Learned, learned_from, learned_of
from consumer_autoscaler.resource.status import build, material_change, merge_patch
from consumer_autoscaler.resource.status_schema import Status

NOW = 1_800_000_000.0
USELESS = Useless(
    since=NOW - 100, until=NOW + 500, times=2, keep=3, from_replicas=4, to_replicas=6, per_second_before=250.0,
    per_second=249.9, confirmed=True,
)  # fmt: skip


def written(useless: Useless | None) -> dict[str, Any]:
    learned = Learned(useless=useless)
    return build(generation=1, now=NOW, conditions=(), previous={}, learned=learned)


def test_a_restart_goes_on_with_the_block() -> None:
    """With the same count and time, and with the numbers for the message."""
    history = learned_from(written(USELESS), NOW + 10).history()
    assert most_useful(history, NOW + 10) == 3
    assert most_useful(history, NOW + 501) is None
    found = slow_downstream(history)
    assert found is not None
    assert (found.times, found.from_replicas, found.to_replicas, found.confirmed) == (2, 4, 6, True)
    assert found.per_second == pytest.approx(249.9, abs=0.02)


def test_what_is_written_fits_the_schema_and_goes_when_it_is_over() -> None:
    Status.model_validate(written(USELESS))
    assert merge_patch(written(None))["status"]["ineffective"] is None
    assert material_change(written(USELESS), written(None), NOW, NOW)
    assert not material_change(written(USELESS), written(USELESS), NOW, NOW)


def test_what_was_refuted_is_not_kept() -> None:
    refuted = History(useless=Useless(**{**{n: getattr(USELESS, n) for n in USELESS.__slots__}, "refuted": True}))
    assert learned_of(refuted).useless is None
    assert learned_of(History(useless=USELESS)).useless == USELESS


@pytest.mark.parametrize(
    "strange",
    [5, [], {}, {"untilTime": "soon"}, {"keepReplicas": 0}, {"times": "2"}, {"perMinute": None}],
    ids=["number", "list", "empty", "time", "zero", "text", "missing"],
)
def test_a_strange_part_blocks_nothing(strange: object) -> None:
    status = written(USELESS)
    status["ineffective"] = {**status["ineffective"], **strange} if isinstance(strange, dict) and strange else strange
    assert learned_from(status, NOW).useless is None


def test_a_clock_that_was_set_back_blocks_for_no_longer_than_the_longest_back_off() -> None:
    status = written(USELESS)
    status["ineffective"]["untilTime"] = "2100-01-01T00:00:00Z"
    useless = learned_from(status, NOW).useless
    assert useless is not None
    assert useless.until == NOW + 4 * 3600
