"""The objects of a group of the bed's consumers: a Deployment on the process node, and the resource that scales it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bed.paths import REPOSITORY

METRICS_PORT = 9100


def deployment(
    name: str, *, bootstrap: str, topic: str, replicas: int, arguments: Sequence[str], results: Path
) -> dict[str, Any]:
    """Consumers (`bed.workload consume`) of the group `name`, ready once they are members of it."""
    command = [
        *(sys.executable, "-m", "bed.workload", "consume", "--bootstrap", bootstrap),
        *("--group", name, "--topic", topic, *arguments),
    ]
    env = [
        {"name": "PYTHONPATH", "value": os.pathsep.join([str(REPOSITORY / "deploy" / "dev")])},
        {"name": "RESULTS_DIR", "value": str(results)},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    container = {
        "name": "consumer",
        "image": "none",
        "command": command,
        "env": env,
        "readinessProbe": {"httpGet": {"path": "/ready", "port": METRICS_PORT}, "periodSeconds": 1},
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"bed/process-node": "true"},
                    "terminationGracePeriodSeconds": 10,
                    "containers": [container],
                },
            },
        },
    }


def autoscaler(
    name: str,
    *,
    bootstrap: str,
    topic: str,
    max_replicas: int,
    promise_seconds: int,
    poll_seconds: int,
    pod_metrics: bool = False,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The resource for the Deployment and the group of this name; `spec` goes over what is here."""
    kafka = {"bootstrapServers": bootstrap, "consumerGroup": name, "topics": [topic], "offsetReset": "Earliest"}
    processing = {"processingTime": {"sources": [{"podMetrics": {"port": METRICS_PORT}}]}} if pod_metrics else {}
    return {
        "apiVersion": "consumerautoscaler.dev/v1alpha1",
        "kind": "ConsumerAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "targetRef": {"kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": max_replicas,
            "sources": [{"name": "readings", "kafka": kafka}],
            "objective": {"maxDelaySeconds": promise_seconds},
            "scaling": {"pollIntervalSeconds": poll_seconds},
            **processing,
            **(spec or {}),
        },
    }
