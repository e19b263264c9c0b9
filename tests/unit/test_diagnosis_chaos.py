"""Two scenarios of each kind of trouble from the chaos suite, see tests/bench/diagnosis.py; the bench has them all."""

from __future__ import annotations

import pytest
from tests.bench.chaos import FAMILIES, scenarios
from tests.bench.diagnosis import Result, played

from consumer_autoscaler.decision.reasons import BackpressureReason as Reason

COUNT = 2 * len(FAMILIES)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [played(scenario) for scenario in scenarios(COUNT, seed=7)]


def test_the_reason_is_right_once_it_can_be_known(results: list[Result]) -> None:
    """In all of them but one at most: 95 %."""
    wrong = {
        (r.scenario.family, r.scenario.seed): [(said.at, said.truth.name, said.reason) for said in r.wrong]
        for r in results
        if r.wrong
    }
    assert len(wrong) <= 1, wrong


def test_healthy_groups_raise_no_false_alarm(results: list[Result]) -> None:
    healthy = [result for result in results if result.scenario.healthy]
    assert len(healthy) >= 8
    assert [result.scenario.seed for result in healthy if result.false_alarm] == []


def test_at_most_one_up_is_tried_that_cannot_help(results: list[Result]) -> None:
    assert [result.scenario.seed for result in results if result.probing_ups > 1] == []


def test_the_scenarios_are_what_they_claim(results: list[Result]) -> None:
    """Each kind of trouble was true for a while, and was said."""
    true = {said.truth.name for result in results for said in result.polls}
    assert {"SlowDownstream", "PartitionSkew", "StuckPartition", "PartitionLimit", "MaxReplicas", "KeepingUp"} <= true
    told = {said.reason for result in results for said in result.polls}
    assert told >= set(Reason) - {Reason.LAG_UNKNOWN}
