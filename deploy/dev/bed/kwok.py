"""Fake nodes (KWOK): real scheduling and real pod objects, but nothing runs; pods become Ready by themselves.

Only nodes with the label `type=kwok` are managed, so they can be mixed with a node that really runs things:
direct pods with `nodeSelector: {type: kwok}`. A pod with the annotation
`pod-ready.stage.kwok.x-k8s.io/delay: 30s` starts that slowly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from bed import parts
from bed.controlplane import ControlPlane
from bed.processes import Part, Process, free_port

NODE_LABEL = {"type": "kwok"}
_SLOW_START = '.metadata.annotations["pod-ready.stage.kwok.x-k8s.io/delay"]'
_READY_SECONDS = 60.0


class Kwok(Part):
    """Fake nodes on a control plane, for as long as the `with` block lives.

    Pods become Ready after a time drawn evenly from `pod_start_seconds`, pods of a Job complete a second
    later, deleted pods are gone at once. When it stops the Node objects stay and turn NotReady.
    """

    def __init__(
        self,
        controlplane: ControlPlane,
        *,
        nodes: int = 3,
        pods_per_node: int = 1000,
        pod_start_seconds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self._controlplane = controlplane
        self._nodes = nodes
        self._pods_per_node = pods_per_node
        self._pod_start_seconds = pod_start_seconds
        self.process: Process | None = None

    def start(self) -> None:
        """Starts KWOK, creates the nodes and waits until they are Ready."""
        plane = self._controlplane
        stages = plane.folder / "kwok-stages.yaml"
        stages.write_text(_stages(self._pod_start_seconds))
        self.process = Process(
            "kwok",
            [
                *(parts.program("kwok"), f"--kubeconfig={plane.kubeconfig}", f"--config={stages}"),
                *("--manage-all-nodes=false", "--manage-nodes-with-label-selector=type=kwok"),
                *("--cidr=10.244.0.0/16", "--node-ip=127.0.0.1", "--node-lease-duration-seconds=40"),
                f"--server-address=127.0.0.1:{free_port()}",
            ],
            log=plane.logs / "kwok.log",
            cwd=plane.folder,
        )
        try:
            plane.kubectl("apply", "-f", "-", input=json.dumps(self._node_list()))
            waiting = f"--timeout={_READY_SECONDS:.0f}s"
            plane.kubectl("wait", "nodes", "--selector=type=kwok", "--for=condition=Ready", waiting)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop(grace_seconds=0)
            self.process = None

    def _node_list(self) -> dict[str, Any]:
        resources = {"cpu": "1000", "memory": "4Ti", "pods": str(self._pods_per_node)}
        nodes = []
        for number in range(1, self._nodes + 1):
            name = f"kwok-{number}"
            labels = {
                **NODE_LABEL,
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            }
            status = {"allocatable": resources, "capacity": resources}
            nodes.append(
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": name, "labels": labels},
                    "status": status,
                }
            )
        return {"apiVersion": "v1", "kind": "List", "items": nodes}


def _stages(pod_start_seconds: tuple[float, float]) -> str:
    """The stages with the delay of a pod's start; KWOK draws evenly between the duration and the jitter."""
    stages: list[dict[str, Any]] = list(yaml.safe_load_all(Path(__file__).with_name("kwok-stages.yaml").read_text()))
    shortest, longest = (round(seconds * 1000) for seconds in pod_start_seconds)
    for stage in stages:
        if stage["metadata"]["name"] == "pod-ready":
            stage["spec"]["delay"] = {
                "durationMilliseconds": shortest,
                "durationFrom": {"expressionFrom": _SLOW_START},
                "jitterDurationMilliseconds": longest,
                "jitterDurationFrom": {"expressionFrom": _SLOW_START},
            }
    return yaml.safe_dump_all(stages)
