"""A bundle as JSON: what is not one is refused with the name of the field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.decision_model import Group, promise

from consumer_autoscaler.decision.bundle import BadBundle, Bundle, dump, load
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import Observation, ProcessingTime, Scale, Unavailable


def bundle_of(**more: Any) -> Bundle:
    group = Group(promise(), lambda _: 700.0).run(120)
    observation = Observation(
        at=group.now,
        group=Unavailable(SourceReason.PARTIAL_READING, "a broker did not answer"),
        scale=Scale(replicas=group.replicas, ready=1),
        **more,
    )
    return Bundle(policy=group.policy, observation=observation, history=group.history, now=group.now)


@pytest.mark.parametrize(
    "processing",
    [
        None,
        ProcessingTime(at=1.0, seconds_per_record=0.25, records=3.0, p95_seconds=0.5),
        Unavailable(SourceReason.PROCESSING_TIME_UNAVAILABLE, "404"),
    ],
)
def test_it_comes_back_as_it_was(processing: ProcessingTime | Unavailable | None) -> None:
    """Every kind of value, a failed one with its reason, and the decision with it."""
    bundle = bundle_of(processing=processing)
    back = load(json.loads(json.dumps(dump(bundle))))
    assert back == bundle
    assert decide(back.policy, back.observation, back.history, back.now) == decide(
        bundle.policy, bundle.observation, bundle.history, bundle.now
    )


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("policy", "min_replicas"), "one", "bundle.policy.min_replicas"),
        (("policy", "mode"), "Sometimes", "bundle.policy.mode"),
        (("history", "samples"), 5, "bundle.history.samples"),
        (("observation", "scale"), [], "bundle.observation.scale"),
        (("now",), None, "bundle.now"),
    ],
)
def test_what_does_not_fit_is_named(path: tuple[str, ...], value: Any, named: str) -> None:
    """A person who edits a bundle by hand is told where it went wrong."""
    data: dict[str, Any] = json.loads(json.dumps(dump(bundle_of())))
    place = data
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(BadBundle) as caught:
        load(data)
    assert named in str(caught.value)


def test_a_field_that_is_missing_is_named() -> None:
    """Without the time nothing can be decided."""
    data = json.loads(json.dumps(dump(bundle_of())))
    del data["now"]
    with pytest.raises(BadBundle, match="now"):
        load(data)
