"""Specs made from the schema by the thousand: each is read or refused as the schema says, by the names of its fields.

`make bench BENCH=specs` does the same with 100,000 and says how many were refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from tests.fakes.fleet import Lone, body, reading
from tests.unit.spec_generator import changed, fields, good, shown, spoilers, without
from tests.unit.spec_oracle import stored, wrong_fields
from tests.unit.spec_verdicts import SPEC, Verdicts, outcome

from consumer_autoscaler.resource.pauses import PAUSED_REPLICAS
from consumer_autoscaler.resource.spec import InvalidSpec, Resource
from consumer_autoscaler.runtime import fleet

METADATA = {"namespace": "shop", "name": "payments", "uid": "6f0c", "generation": 3}
NEEDED = 60  # fields that have bounds, choices or a form


def verdicts(first_seed: int, count: int) -> Verdicts:
    found = Verdicts()
    for seed in range(first_seed, first_seed + count):
        found.add(seed)
    return found


def test_generated_specs_are_read_or_refused_as_the_schema_says() -> None:
    """No other exception; every field that the schema or a rule of it refuses is named, and no other one."""
    found = verdicts(0, 2000)
    assert found.wrong == []
    assert found.counts["read"] > 500
    assert found.counts["refused"] > 500
    assert len(found.fields) > NEEDED


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_hundred_thousand_generated_specs_are_read_or_refused_as_the_schema_says() -> None:
    """The same for many more."""
    assert verdicts(1_000_000, 100_000).wrong == []


def test_every_way_of_spoiling_every_field_is_told_by_its_name() -> None:
    """One spoilt field in a good spec: refused by its own path, or, by a rule across fields, by that of its object."""
    rng, tried = Random(7), 0
    for _ in range(1):
        spec = good(SPEC, rng, optional=0.8)
        for path, part, value in fields(SPEC, spec):
            others = [changed(spec, path, each) for each in spoilers(part, rng)]
            for other in [*others, without(spec, path)] if value is not None else others:
                told = outcome({"metadata": METADATA, "spec": stored(SPEC, other)})
                tried += 1
                if not wrong_fields(SPEC, stored(SPEC, other)):
                    assert isinstance(told, Resource), f"{shown(path)}: {told}"
                    continue
                assert isinstance(told, InvalidSpec), f"{shown(path)}: accepted"
                paths = [problem.partition(": ")[0] for problem in told.problems]
                assert any(shown(path).startswith(p) or p.startswith(shown(path)) for p in paths), paths
    assert tried > 1000


async def test_a_resource_that_cannot_be_read_at_all_disturbs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a defect of the operator's in reading one becomes that one's condition: the others are listed and read."""
    sound = fleet.parse

    def parse_with_a_defect(found: Mapping[str, Any]) -> Resource:
        if found["metadata"]["name"] == "bad":
            raise RecursionError("a defect")
        return sound(found)

    monkeypatch.setattr(fleet, "parse", parse_with_a_defect)
    lone = Lone(lambda _, at: reading(at, done=100, lag=0), lambda _: None)
    lone.fleet.resync([body("bad"), body("good")], started_before=0.0)
    await lone.tick()
    assert [each.resource.name for each in lone.fleet] == ["good"]
    ready = next(c for c in lone.cluster.statuses["shop/bad"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "a defect of the operator (RecursionError)" in ready["message"]
    await lone.fleet.aclose()


async def test_an_annotation_of_thousands_of_digits_is_that_resource_s_problem_only() -> None:
    """Python refuses to make a number of more than 4300 digits by an error of its own kind."""
    bad = body("bad")
    bad["metadata"]["annotations"] = {PAUSED_REPLICAS: "9" * 5000}
    lone = Lone(lambda _, at: reading(at, done=100, lag=0), lambda _: None)
    lone.fleet.resync([bad, body("good")], started_before=0.0)
    await lone.tick()
    assert [each.resource.name for each in lone.fleet] == ["good"]
    ready = next(c for c in lone.cluster.statuses["shop/bad"]["conditions"] if c["type"] == "Ready")
    assert PAUSED_REPLICAS in ready["message"]
    await lone.fleet.aclose()
