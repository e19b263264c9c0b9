"""`kubectl apply -k deploy/` on a real API server: it is accepted, and its pods pass the restricted Pod Security."""

from __future__ import annotations

import json

import pytest
from tests.integration.wait import eventually

from bed.controlplane import ControlPlane
from bed.operator import NAMESPACE, USER
from bed.paths import REPOSITORY
from consumer_autoscaler.runtime.run import RIGHTS

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def applied(controlplane: ControlPlane) -> ControlPlane:
    controlplane.kubectl("apply", "-k", str(REPOSITORY / "deploy"))
    return controlplane


def test_the_pods_are_admitted_where_the_restricted_standard_is_enforced(applied: ControlPlane) -> None:
    """The namespace enforces it, so pods that break it would never be created."""
    namespace = json.loads(applied.kubectl("get", "namespace", NAMESPACE, "-o", "json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"

    def two_pods() -> bool:
        pods = json.loads(applied.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
        return len(pods) == 2

    assert eventually(two_pods, timeout_seconds=60)


def test_the_roles_give_each_right_that_the_operator_checks_and_little_more(applied: ControlPlane) -> None:
    """What run() asks for is granted; Secrets can be read by name only, Deployments themselves not be changed."""

    def may(verb: str, group: str, resource: str, subresource: str = "") -> bool:
        what = f"{resource}.{group}" if group else resource
        flags = ["--subresource", subresource] if subresource else []
        asked = applied.try_kubectl("auth", "can-i", verb, what, *flags, "--as", USER, "-n", "default")
        return asked.stdout.strip() == "yes"

    assert [right for right in RIGHTS if not may(*right)] == []
    assert may("get", "", "secrets")
    assert [verb for verb in ("list", "watch", "create", "patch", "update", "delete") if may(verb, "", "secrets")] == []
    assert not may("patch", "apps", "deployments")
    assert not may("patch", "consumerautoscaler.dev", "consumerautoscalers")


def test_the_samples_are_accepted(applied: ControlPlane) -> None:
    """Both scenarios, by the API server's own validation."""
    for sample in sorted((REPOSITORY / "deploy" / "samples").glob("*.yaml")):
        applied.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(sample))
