"""Manifests that the pages show, on a real API server: accepted, and the policy refuses what it says it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.wait import eventually

from bed.controlplane import ControlPlane
from bed.operator import install
from bed.paths import REPOSITORY
from pages.blocks import block_with

pytestmark = pytest.mark.integration

PAGE = REPOSITORY / "docs" / "security.md"
POLICY = "consumerautoscaler-brokers"


@pytest.fixture(scope="module")
def plane(controlplane: ControlPlane) -> Iterator[ControlPlane]:
    install(controlplane)
    controlplane.kubectl("create", "namespace", "samples")
    try:
        yield controlplane
    finally:
        controlplane.kubectl("delete", "namespace", "samples", "--wait=false")


def test_the_network_policy_is_accepted(plane: ControlPlane) -> None:
    shown = block_with(PAGE, "yaml", "kind: NetworkPolicy")
    plane.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", input=shown)


def test_the_manifests_of_the_end_to_end_test_are_valid(plane: ControlPlane) -> None:
    """They are played on kind, where this is too late to find out."""
    for name in ("shop", "payments"):
        path = REPOSITORY / "tests" / "e2e" / f"{name}.yaml"
        plane.kubectl("apply", "--dry-run=client", "--validate=strict", "-f", str(path))


def test_the_admission_policy_lets_only_brokers_of_the_named_namespace_through(plane: ControlPlane) -> None:
    """Bound to one namespace here, so that other tests are not disturbed; the expression is the page's."""
    policy, binding = block_with(PAGE, "yaml", "kind: ValidatingAdmissionPolicy\n").split("---\n")
    plane.kubectl("apply", "--validate=strict", "-f", "-", input=policy)
    bound = binding + "  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: samples}}}\n"
    plane.kubectl("apply", "--validate=strict", "-f", "-", input=bound)
    try:
        assert eventually(lambda: "must be services of the namespace kafka" in _refusal(plane, "10.0.0.1:9092"))
        assert _refusal(plane, "kafka-bootstrap.kafka.svc:9092, other.kafka.svc:9093") == ""
        assert _refusal(plane, "kafka-bootstrap.kafka.svc:9092,169.254.169.254:80") != ""
        assert _refusal(plane, "kafka.kafka.svc.evil.example:9092") != ""
    finally:
        plane.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", POLICY)


def _refusal(plane: ControlPlane, servers: str) -> str:
    """What the API server says against a resource with these brokers; empty when it takes it."""
    body: dict[str, Any] = {
        "apiVersion": "consumerautoscaler.dev/v1alpha1",
        "kind": "ConsumerAutoscaler",
        "metadata": {"name": "payments", "namespace": "samples"},
        "spec": {
            "targetRef": {"name": "payments"},
            "maxReplicas": 3,
            "sources": [{"name": "orders", "kafka": {"bootstrapServers": servers, "consumerGroup": "payments"}}],
            "objective": {"maxDelaySeconds": 60},
        },
    }
    done = plane.try_kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(body))
    return done.stderr if done.returncode else ""
