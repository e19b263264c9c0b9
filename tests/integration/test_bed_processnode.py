"""The process node runs pods as a kubelet does, with real processes, and leaves nothing behind."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.wait import eventually

from bed.controlplane import ControlPlane
from bed.processnode import ProcessNode

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def node(controlplane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessNode]:
    with ProcessNode(controlplane, tmp_path_factory.mktemp("processnode")) as node:
        yield node
        here = f"--field-selector=spec.nodeName={node.name}"
        controlplane.kubectl("delete", "pods", "--all-namespaces", here, "--timeout=20s")
    controlplane.kubectl("delete", "node", node.name)


@pytest.fixture
def namespace(controlplane: ControlPlane, node: ProcessNode) -> Iterator[str]:
    name = f"bed-{uuid4().hex[:8]}"
    controlplane.kubectl("create", "namespace", name)
    yield name
    controlplane.kubectl("delete", "namespace", name, "--wait=false")


def pod_template(*command: str, node: str = "process-node", **container: Any) -> dict[str, Any]:
    pod = {"nodeSelector": {"kubernetes.io/hostname": node}, "terminationGracePeriodSeconds": 5}
    return {**pod, "containers": [{"name": "main", "image": "any", "command": list(command), **container}]}


def create(plane: ControlPlane, namespace: str, kind: str, name: str, spec: dict[str, Any]) -> None:
    version = "apps/v1" if kind == "Deployment" else "v1"
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
    plane.kubectl("create", f"--namespace={namespace}", "-f", "-", input=json.dumps(body))


def pods(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    said = plane.kubectl("get", "pods", f"--namespace={namespace}", "--output=json")
    found: list[dict[str, Any]] = json.loads(said)["items"]
    return found


def status(plane: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(p for p in pods(plane, namespace) if p["metadata"]["name"] == name)["status"]
    return found


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def processes(mark: str) -> list[int]:
    """The live processes with this mark in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_deployment_of_real_processes_follows_its_scale(controlplane: ControlPlane, namespace: str) -> None:
    """Each replica is a process that answers at the address of its own pod; scaling down ends processes."""
    mark = uuid4().hex
    template = pod_template(
        *(sys.executable, "-m", "http.server", "--bind", "$(POD_IP)", "8000", "--directory", "."),
        args=["--protocol", "HTTP/1.0"],
        env=[
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MARK", "value": mark},
        ],
        readinessProbe={"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
    )
    labels = {"app": "web"}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": template},
    }
    create(controlplane, namespace, "Deployment", "web", spec)

    def ready_replicas(count: int) -> bool:
        found = pods(controlplane, namespace)
        return len(found) == count and all(map(is_ready, found))

    assert eventually(lambda: ready_replicas(1))
    controlplane.kubectl("scale", f"--namespace={namespace}", "deployment/web", "--replicas=6")
    assert eventually(lambda: ready_replicas(6))
    addresses = [pod["status"]["podIP"] for pod in pods(controlplane, namespace)]
    assert len(set(addresses)) == 6
    assert all(len(processes(address)) == 1 for address in addresses)
    controlplane.kubectl("scale", f"--namespace={namespace}", "deployment/web", "--replicas=1")
    assert eventually(lambda: ready_replicas(1))
    assert sum(len(processes(address)) for address in addresses) == 1


def test_a_pod_is_told_to_end_and_has_its_grace(controlplane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """SIGTERM first, and time to finish; SIGKILL only when the grace is over."""
    done = tmp_path / "done"
    polite = f"trap 'sleep 0.5; echo ended > {done}; exit 0' TERM; while true; do sleep 0.1; done"
    stubborn = "trap '' TERM; while true; do sleep 0.1; done"
    create(controlplane, namespace, "Pod", "polite", pod_template("bash", "-c", polite))
    create(controlplane, namespace, "Pod", "stubborn", pod_template("bash", "-c", stubborn))
    assert eventually(lambda: all(map(is_ready, pods(controlplane, namespace))))
    time.sleep(0.3)  # the shells set their traps
    controlplane.kubectl("delete", "pod", "polite", f"--namespace={namespace}", "--timeout=10s")
    assert done.read_text() == "ended\n"
    begin = time.monotonic()
    arguments = (f"--namespace={namespace}", "--grace-period=2", "--timeout=10s")
    controlplane.kubectl("delete", "pod", "stubborn", *arguments)
    assert 2 <= time.monotonic() - begin < 5


def test_a_crashing_pod_shows_its_exit_code_and_backs_off(controlplane: ControlPlane, namespace: str) -> None:
    """The first restart comes at once, then CrashLoopBackOff with the exit code in the last state."""
    create(controlplane, namespace, "Pod", "crash", pod_template("sh", "-c", "exit 3"))

    def backing_off() -> bool:
        found = status(controlplane, namespace, "crash").get("containerStatuses") or []
        return bool(found) and found[0]["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"

    assert eventually(backing_off)
    container = status(controlplane, namespace, "crash")["containerStatuses"][0]
    assert container["restartCount"] == 1
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert container["ready"] is False


def test_restart_policies_end_a_pod_as_declared(controlplane: ControlPlane, namespace: str) -> None:
    """Never and OnFailure end in Succeeded or Failed; a killed process has 128 and the signal's number."""
    for name, policy, command in (
        ("fine", "OnFailure", "exit 0"),
        ("bad", "Never", "exit 4"),
        ("killed", "Never", "kill -KILL $$$$"),
        ("missing", "Never", None),
    ):
        words = ("sh", "-c", command) if command else ("/no/such/program",)
        create(controlplane, namespace, "Pod", name, {**pod_template(*words), "restartPolicy": policy})
    wanted = {"fine": ("Succeeded", 0), "bad": ("Failed", 4), "killed": ("Failed", 137), "missing": ("Failed", 128)}

    def ends() -> dict[str, tuple[str, int | None]]:
        found = {}
        for pod in pods(controlplane, namespace):
            containers = pod["status"].get("containerStatuses") or [{"state": {}}]
            code = containers[0]["state"].get("terminated", {}).get("exitCode")
            found[pod["metadata"]["name"]] = (pod["status"]["phase"], code)
        return found

    assert eventually(lambda: ends() == wanted), ends()


def test_a_container_gets_its_environment(controlplane: ControlPlane, namespace: str, node: ProcessNode) -> None:
    """Literals, the pod's own fields, Secrets and ConfigMaps, and references between them."""
    controlplane.kubectl(*("create", "secret", "generic", "s", f"--namespace={namespace}", "--from-literal=key=hidden"))
    controlplane.kubectl("create", "configmap", "c", f"--namespace={namespace}", "--from-literal=FROM_MAP=map")
    env = [
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        {"name": "BOTH", "value": "$(NAME)-$(SECRET)-$(UNKNOWN)-$$(NAME)"},
    ]
    spec = pod_template(
        *("sh", "-c", 'echo "$NAME $SECRET $FROM_MAP $BOTH $0"', "$(BOTH)"),
        env=env,
        envFrom=[{"configMapRef": {"name": "c"}}],
    )
    create(controlplane, namespace, "Pod", "env", {**spec, "restartPolicy": "Never"})
    assert eventually(lambda: status(controlplane, namespace, "env")["phase"] == "Succeeded")
    (log,) = node.pods_dir.glob(f"{namespace}/env_*/main.log")
    both = "env-hidden-$(UNKNOWN)-$(NAME)"
    assert log.read_text() == f"env hidden map {both} {both}\n"


def test_a_pod_is_ready_only_while_its_probe_passes(controlplane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """Running is not ready: the probe's answer decides, in both directions."""
    mark = tmp_path / "ready"
    probe = {"exec": {"command": ["test", "-e", str(mark)]}, "periodSeconds": 1, "failureThreshold": 1}
    create(controlplane, namespace, "Pod", "p", pod_template("sleep", "600", readinessProbe=probe))
    assert eventually(lambda: status(controlplane, namespace, "p")["phase"] == "Running")
    time.sleep(1.5)
    assert not is_ready(pods(controlplane, namespace)[0])
    mark.touch()
    assert eventually(lambda: is_ready(pods(controlplane, namespace)[0]))
    mark.unlink()
    assert eventually(lambda: not is_ready(pods(controlplane, namespace)[0]))


def test_the_node_works_on_after_the_api_server_was_away(controlplane: ControlPlane, namespace: str) -> None:
    """Processes run on through an outage; what was deleted before it is seen is ended after it."""
    mark = uuid4().hex
    create(controlplane, namespace, "Pod", "p", pod_template("bash", "-c", f"sleep 600; : {mark}"))
    assert eventually(lambda: is_ready(pods(controlplane, namespace)[0]))
    before = processes(mark)
    controlplane.stop_apiserver()
    controlplane.start_apiserver()
    assert processes(mark) == before
    assert status(controlplane, namespace, "p")["containerStatuses"][0]["restartCount"] == 0
    controlplane.kubectl("delete", "pod", "p", f"--namespace={namespace}", "--timeout=15s")
    assert processes(mark) == []


def test_nothing_survives_the_kill_of_the_agent(controlplane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """The pods' processes die with the node, and are started again when it comes back."""
    name = f"node-{uuid4().hex[:6]}"
    with ProcessNode(controlplane, tmp_path, name=name) as other:
        command = (sys.executable, "-c", f"import time; time.sleep(600)  # {name}")
        create(controlplane, namespace, "Pod", "p", pod_template(*command, node=name))
        assert eventually(lambda: is_ready(pods(controlplane, namespace)[0]))
        (pid,) = processes(f"# {name}")
        assert other.process is not None
        other.process.stop(grace_seconds=0)
        assert eventually(lambda: not processes(f"# {name}"))
        other.start()
        assert eventually(lambda: len(processes(f"# {name}")) == 1)
        assert processes(f"# {name}") != [pid]
        assert eventually(lambda: status(controlplane, namespace, "p")["containerStatuses"][0]["restartCount"] == 1)
        controlplane.kubectl("delete", "pod", "p", f"--namespace={namespace}", "--timeout=15s")
    controlplane.kubectl("delete", "node", name)
