"""KEDA's resource types, without KEDA: what an API server needs so that ScaledObjects can be made and listed."""

from __future__ import annotations

import json

from bed.controlplane import ControlPlane

_PLURALS = {
    "ScaledObject": ("scaledobjects", "Namespaced"),
    "TriggerAuthentication": ("triggerauthentications", "Namespaced"),
    "ClusterTriggerAuthentication": ("clustertriggerauthentications", "Cluster"),
}


def install(plane: ControlPlane) -> None:
    """Applies the three, open to every field, and waits until they are served."""
    for kind, (plural, scope) in _PLURALS.items():
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
        body = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.keda.sh"},
            "spec": {
                "group": "keda.sh",
                "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                "scope": scope,
                "versions": [version],
            },
        }
        plane.kubectl("apply", "-f", "-", input=json.dumps(body))
        plane.kubectl("wait", "--for=condition=Established", f"crd/{plural}.keda.sh", "--timeout=30s")


def remove(plane: ControlPlane) -> None:
    """Takes them away with all their objects."""
    for plural, _ in _PLURALS.values():
        plane.kubectl("delete", "crd", f"{plural}.keda.sh", "--ignore-not-found")
