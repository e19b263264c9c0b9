"""What is cut out of Kubernetes' JSON: counts, rollouts, selectors, errors, and who set a replica count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer_autoscaler.cluster.errors import (
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    KubeError,
    KubeUnreachable,
    NotFound,
    Unauthorized,
    error_from_answer,
)
from consumer_autoscaler.cluster.objects import managed_scale_time
from consumer_autoscaler.cluster.targets import target_view


def view_of(kind: str = "Deployment", spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None):
    return target_view(kind, {"metadata": {"uid": "u"}, "spec": spec or {}, "status": status or {}})


@pytest.mark.parametrize(
    ("spec", "replicas"), [({}, 1), ({"replicas": None}, 1), ({"replicas": 0}, 0), ({"replicas": 5}, 5)]
)
def test_a_count_that_is_not_set_is_one_and_zero_is_zero(spec: dict[str, Any], replicas: int):
    """The API server's own default for a missing count; only an explicit zero is zero."""
    assert view_of(spec=spec).replicas == replicas


@pytest.mark.parametrize(
    ("status", "rolling"),
    [
        ({}, False),
        ({"replicas": 4, "updatedReplicas": 4, "readyReplicas": 4}, False),
        ({"replicas": 5, "updatedReplicas": 2, "readyReplicas": 4}, True),
        ({"replicas": 4, "readyReplicas": 4}, True),
        ({"replicas": 8, "updatedReplicas": 8, "readyReplicas": 4}, False),
    ],
)
def test_a_deployment_rolls_while_pods_of_an_older_template_exist(status: dict[str, Any], rolling: bool):
    """A scaling alone, with pods still starting, is no rollout."""
    assert view_of(status=status).rolling is rolling


_ROLLING = {"replicas": 4, "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a"}


@pytest.mark.parametrize(
    ("strategy", "status", "rolling"),
    [
        ({}, _ROLLING, True),
        ({}, {**_ROLLING, "currentRevision": "b"}, False),
        ({"type": "OnDelete"}, _ROLLING, False),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, _ROLLING, True),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}, _ROLLING, False),
        ({}, {}, False),
    ],
)
def test_a_statefulset_rolls_only_while_its_controller_replaces_pods(
    strategy: dict[str, Any], status: dict[str, Any], rolling: bool
):
    """Waiting for a person (OnDelete, or a partition that is reached) is no rollout."""
    assert view_of("StatefulSet", {"updateStrategy": strategy}, status).rolling is rolling


def test_a_selector_becomes_a_query_with_all_its_terms():
    """Every operator; a term left out would count other workloads' pods as the target's."""
    selector = {
        "matchLabels": {"b": "2", "a": "1"},
        "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["x", "y"]},
            {"key": "d", "operator": "NotIn", "values": ["z"]},
            {"key": "e", "operator": "Exists"},
            {"key": "f", "operator": "DoesNotExist"},
        ],
    }
    assert view_of(spec={"selector": selector}).selector == "a=1,b=2,c in (x,y),d notin (z),e,!f"


OURS = {"manager": "consumer-autoscaler", "subresource": "scale"}
STATUS = {"manager": "kube-controller-manager", "subresource": "status", "time": "2026-03-01T10:00:05Z"}
SPEC = {"manager": "kubectl", "time": "2026-03-01T09:00:00Z"}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], None),
        ([SPEC, STATUS], None),
        ([{**OURS, "manager": "kubectl"}, STATUS], None),
        ([{**OURS, "subresource": "status", "time": "2026-03-01T10:00:00Z"}], None),
        ([OURS, SPEC], None),
        ([OURS, SPEC, STATUS], 1772359205.0),
        ([{**OURS, "time": "2026-03-01T10:00:01Z"}, STATUS], 1772359201.0),
    ],
)
def test_only_our_own_entry_for_scale_tells_that_we_set_the_count(
    entries: list[dict[str, Any]], expected: float | None
):
    """Its own time where there is one, else that of the status, which is not earlier."""
    assert managed_scale_time({"metadata": {"managedFields": entries}}) == expected


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, Invalid),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, Invalid),
        (409, Conflict),
        (410, Expired),
        (422, Invalid),
        (429, KubeUnreachable),
        (500, KubeUnreachable),
        (503, KubeUnreachable),
        (504, KubeUnreachable),
        (520, KubeUnreachable),
        (499, Invalid),
    ],
)
def test_each_code_says_how_to_react(code: int, kind: type[KubeError]):
    """Whatever the body: what may pass is told apart from what will be refused again."""
    for body in (b"", b"<html>", b"[1]", json.dumps({"details": "odd", "message": 5}).encode()):
        assert type(error_from_answer(code, body)) is kind


@pytest.mark.parametrize(
    ("header", "seconds"), [(None, None), ("1", 1.0), ("-5", 0.0), ("1e9", 300.0), ("Wed, 21 Oct 2026", None)]
)
def test_a_servers_wish_to_wait_is_bounded(header: str | None, seconds: float | None):
    """Never negative, never longer than five minutes, never a reason to fail."""
    assert error_from_answer(429, b"", header).retry_after_seconds == seconds
