"""The operator as Helm installs it in the cluster: its pods, who of them works, what their pages say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bed.paths import REPOSITORY
from kind.cluster import Cluster, ClusterFailed

CHART = REPOSITORY / "charts" / "consumer-autoscaler"
NAMESPACE = "consumer-autoscaler"
LEASE_SECONDS = 15  # the chart's default
_LEASES = "/apis/coordination.k8s.io/v1"

# Its pods on different nodes, so that one that fails takes one of them only; and what is off by default and harmless.
_VALUES: dict[str, Any] = {
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "consumer-autoscaler"}},
            "matchLabelKeys": ["pod-template-hash"],
        }
    ],
    "networkPolicy": {"enabled": True},
    "podDisruptionBudget": {"enabled": True},
}


@dataclass(frozen=True, slots=True)
class Release:
    """One Helm release, in a namespace that enforces the restricted Pod Security Standard."""

    cluster: Cluster
    name: str = "consumer-autoscaler"
    namespace: str = NAMESPACE

    @property
    def user(self) -> str:
        """As the audit log names it."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    def install(self, values: dict[str, Any] | None = None) -> None:
        """Installs or upgrades; returns when all pods are ready. Raises ClusterFailed."""
        self._make_namespace()
        given = json.dumps({**_VALUES, **(values or {})})
        path = self.cluster.folder / f"values-{self.namespace}-{self.name}.json"
        path.write_text(given)
        self.cluster.helm(
            *("upgrade", "--install", self.name, CHART, "--namespace", self.namespace),
            *("--values", path, "--wait", "--timeout", "180s"),
        )

    def uninstall(self) -> None:
        """Returns when nothing of it is left but the CRD."""
        self.cluster.helm("uninstall", self.name, "--namespace", self.namespace, "--wait", "--timeout", "120s")

    def rollback(self) -> None:
        """To the revision before; returns when all pods are ready."""
        self.cluster.helm("rollback", self.name, "--namespace", self.namespace, "--wait", "--timeout", "180s")

    def pods(self) -> list[dict[str, Any]]:
        path = f"{self._namespace}/pods?labelSelector=app.kubernetes.io/instance={self.name}"
        found: list[dict[str, Any]] = self.cluster.get(path)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def lease(self) -> dict[str, Any]:
        """The Lease's spec. Its holder is a pod's name, an underscore, and what is unique to the process."""
        spec: dict[str, Any] = self.cluster.get(f"{_LEASES}/namespaces/{self.namespace}/leases/{self.name}")["spec"]
        return spec

    def leader(self) -> str:
        """The name of the pod that works."""
        return str(self.lease().get("holderIdentity") or "").rpartition("_")[0]

    def node_of(self, pod: str) -> str:
        return str(self.cluster.get(f"{self._namespace}/pods/{pod}")["spec"]["nodeName"])

    def page(self, pod: str, path: str) -> str | None:
        """What the pod serves there, by way of the API server; None unless it is a 200."""
        try:
            return self.cluster.read(f"{self._namespace}/pods/{pod}:8080/proxy{path}")
        except ClusterFailed:
            return None

    def logs(self) -> str:
        """The last lines of all its pods."""
        selector = f"--selector=app.kubernetes.io/instance={self.name}"
        return self.cluster.kubectl("logs", "-n", self.namespace, selector, "--tail=60", "--prefix")

    @property
    def _namespace(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}"

    def _make_namespace(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        self.cluster.kubectl("apply", "-f", "-", input=json.dumps(body))
