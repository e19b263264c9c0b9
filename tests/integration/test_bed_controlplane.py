"""The control plane of the test bed behaves like a cluster, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.wait import eventually

from bed import audit
from bed.controlplane import ControlPlane
from bed.paths import REPOSITORY

pytestmark = pytest.mark.integration


@pytest.fixture
def namespace(controlplane: ControlPlane) -> Iterator[str]:
    name = f"bed-{uuid4().hex[:8]}"
    controlplane.kubectl("create", "namespace", name)
    yield name
    controlplane.kubectl("delete", "namespace", name, "--wait=false")


def deployment(name: str, *, replicas: int, annotations: dict[str, str] | None = None) -> str:
    labels = {"app": name}
    pod = {
        "metadata": {"labels": labels, "annotations": annotations or {}},
        "spec": {"nodeSelector": {"type": "kwok"}, "containers": [{"name": "main", "image": "none"}]},
    }
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod},
        }
    )


def pods(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(plane.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]
    return listed


def test_a_deployment_follows_its_scale_subresource(controlplane: ControlPlane, namespace: str) -> None:
    """Pods are scheduled to fake nodes, become Ready, and their number follows /scale up and down."""
    controlplane.kubectl("apply", "-n", namespace, "-f", "-", input=deployment("web", replicas=2))
    controlplane.kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=20s")
    scale_path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web/scale"
    for replicas in (20, 3):
        scale = json.loads(controlplane.kubectl("get", "--raw", scale_path))
        scale["spec"]["replicas"] = replicas
        controlplane.kubectl("replace", "--raw", scale_path, "-f", "-", input=json.dumps(scale))
        assert eventually(
            lambda replicas=replicas: (
                len(pods(controlplane, namespace)) == replicas  # type: ignore[misc]
                and json.loads(controlplane.kubectl("get", "--raw", scale_path))["status"]["replicas"] == replicas
            )
        )
        controlplane.kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=20s")
    assert {pod["spec"]["nodeName"] for pod in pods(controlplane, namespace)} <= {
        "kwok-1",
        "kwok-2",
        "kwok-3",
    }


def test_a_pod_can_start_slowly(controlplane: ControlPlane, namespace: str) -> None:
    """A pod with a start delay in its annotation is not Ready before that time has passed."""
    slow = deployment("slow", replicas=1, annotations={"pod-ready.stage.kwok.x-k8s.io/delay": "3s"})
    begin = time.monotonic()
    controlplane.kubectl("apply", "-n", namespace, "-f", "-", input=slow)
    controlplane.kubectl("rollout", "status", "-n", namespace, "deployment/slow", "--timeout=20s")
    assert time.monotonic() - begin >= 3.0


def test_a_serviceaccount_has_only_the_rights_given_to_it(controlplane: ControlPlane, namespace: str) -> None:
    """A ServiceAccount's kubeconfig is refused what no role allows, and works after a role allows it."""
    controlplane.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    kubeconfig = controlplane.kubeconfig_for(namespace, "reader")
    assert kubeconfig.stat().st_mode & 0o077 == 0
    refused = controlplane.try_kubectl("get", "pods", kubeconfig=kubeconfig)
    assert refused.returncode != 0
    assert "Forbidden" in refused.stderr

    controlplane.kubectl("create", "role", "r", "--verb=list", "--resource=pods", "-n", namespace)
    who = f"--serviceaccount={namespace}:reader"
    controlplane.kubectl("create", "rolebinding", "r", "--role=r", who, "-n", namespace)
    assert eventually(lambda: not controlplane.try_kubectl("get", "pods", kubeconfig=kubeconfig).returncode)


def test_the_audit_log_counts_requests(controlplane: ControlPlane, namespace: str) -> None:
    """Every request is counted once under its user, verb, resource and subresource, and none from before."""
    controlplane.kubectl("apply", "-n", namespace, "-f", "-", input=deployment("counted", replicas=1))
    since = time.time()
    for _ in range(3):
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/counted/scale"
        controlplane.kubectl("get", "--raw", path)
    requests = [request for request in controlplane.audit(since, user="bed-admin") if request.namespace == namespace]
    # The controller-manager works as the same administrator; only the scale requests are ours alone.
    counts = audit.count(requests)
    assert counts["bed-admin", "get", "deployments", "scale"] == 3
    assert counts["bed-admin", "create", "deployments", ""] == 0
    assert all(request.received_at >= since for request in requests)


def test_objects_survive_an_outage_of_the_api_server() -> None:
    """Without an API server nothing answers; when it is back, on the same address, the objects are there."""
    with ControlPlane(controllers=False) as plane:
        plane.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        plane.stop_apiserver()
        assert plane.get("/readyz") is None
        assert plane.try_kubectl("get", "configmap", "kept").returncode != 0
        plane.start_apiserver()
        assert plane.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"
        folder = plane.folder
    assert not folder.exists()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.skipif(sys.platform != "linux", reason="only the Linux kernel ends children with their parent")
def test_nothing_survives_the_bed(end: signal.Signals, tmp_path: Path) -> None:
    """Killed outright or ended politely, the bed leaves no process behind."""
    errors = tmp_path / "stderr"
    with (
        errors.open("w") as sink,
        subprocess.Popen(
            [sys.executable, "-m", "bed.controlplane", "--kwok", "1"],
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "deploy" / "dev"), "TMPDIR": str(tmp_path)},
        ) as bed,
    ):
        children: list[int] = []
        try:
            assert bed.stdout is not None
            assert any("Ctrl-C" in line for line in iter(bed.stdout.readline, "")), errors.read_text()
            children = _children(bed.pid)
            assert {_name(pid) for pid in children} >= {"etcd", "kube-apiserver", "kube-scheduler", "kwok"}
            bed.send_signal(end)
            assert eventually(lambda: not any(_name(pid) for pid in children), timeout_seconds=5.0)
            assert bed.wait(5.0) == (0 if end == signal.SIGTERM else -signal.SIGKILL)
        finally:
            bed.kill()
            for pid in filter(_name, children):
                os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text().split()]


def _name(pid: int) -> str:
    """The command's name (the kernel keeps 15 letters); empty when the process is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name, state = fields[fields.index("(") + 1 : fields.rindex(")")], fields[fields.rindex(")") + 2]
    return "" if state == "Z" else name
