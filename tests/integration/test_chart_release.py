"""The chart on a real API server: what it accepts, and the life of a release under Helm 3 and Helm 4."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.chart_support import NAMESPACE, RELEASE, VERSION, helm, try_helm
from tests.integration.wait import eventually

from bed import chart
from bed.controlplane import ControlPlane
from bed.paths import REPOSITORY
from bed.processnode import ProcessNode

pytestmark = pytest.mark.integration

CRD = "consumerautoscalers.consumerautoscaler.dev"
HELMS = ("helm", "helm4")
RESOURCE = {
    "apiVersion": "consumerautoscaler.dev/v1alpha1",
    "kind": "ConsumerAutoscaler",
    "metadata": {"name": "kept", "namespace": "default"},
    "spec": {
        "targetRef": {"name": "payments"},
        "maxReplicas": 3,
        "sources": [{"name": "orders", "kafka": {"bootstrapServers": "kafka:9092", "consumerGroup": "payments"}}],
        "objective": {"maxDelaySeconds": 60},
    },
}
VALUES = sorted((chart.CHART / "ci").glob("*-values.yaml"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """A control plane of its own: other tests install the same names by kubectl."""
    with ControlPlane() as plane:
        for name in (NAMESPACE, "shop", "billing"):
            plane.kubectl("create", "namespace", name)
        standard = ("pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted")
        plane.kubectl("label", "namespace", NAMESPACE, *standard)
        yield plane


def tried(cluster: ControlPlane, by: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What the API server says to all that the chart renders, without keeping it: each field known, each pod secure."""
    text = helm("template", RELEASE, chart.CHART, "--namespace", NAMESPACE, *VERSION, *arguments, by=by)
    return dry_run(cluster, text)


def dry_run(cluster: ControlPlane, text: str) -> subprocess.CompletedProcess[str]:
    return cluster.try_kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", input=text)


@pytest.mark.parametrize("by", HELMS)
@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_api_server_takes_all_of_it(cluster: ControlPlane, values: Path, by: str) -> None:
    """In a namespace that warns of all that the restricted Pod Security Standard would refuse."""
    done = tried(cluster, by, "--values", values, "--no-hooks")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_less_secure_pods_would_be_noticed(cluster: ControlPlane) -> None:
    """So the silence above means something."""
    done = tried(cluster, "helm", "--no-hooks", "--set", "securityContext.allowPrivilegeEscalation=true")
    assert "would violate PodSecurity" in done.stderr


def test_an_unknown_field_would_be_noticed(cluster: ControlPlane) -> None:
    done = tried(cluster, "helm", "--no-hooks", "--set", "resources.request.cpu=1")
    assert done.returncode != 0
    assert "unknown field" in done.stderr


@pytest.mark.parametrize("by", HELMS)
def test_a_release_is_installed_upgraded_rolled_back_and_removed(
    cluster: ControlPlane, tmp_path: Path, by: str
) -> None:
    """The CRD comes with the chart, is upgraded with it, and both it and the resources outlive the release.

    "Before" is the same chart under an older version with other values: there was no release yet. The second Helm
    finds the CRD that the first has left, and takes it over.
    """
    for version in ("0.0.9", "0.1.0"):
        helm("package", chart.CHART, "--version", version, "--app-version", version, "--destination", tmp_path, by=by)
    old, new = tmp_path / "consumer-autoscaler-0.0.9.tgz", tmp_path / "consumer-autoscaler-0.1.0.tgz"
    where = ("--namespace", NAMESPACE, "--kubeconfig", cluster.kubeconfig)

    helm("install", RELEASE, old, *where, "--set", "crds.annotations.by=old", by=by)
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=20s")
    resource = tmp_path / "resource.json"
    resource.write_text(json.dumps(RESOURCE))
    cluster.kubectl("apply", "-f", str(resource))

    def read(kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(cluster.kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json"))
        return found

    def image() -> str:
        return str(read("deployment", RELEASE)["spec"]["template"]["spec"]["containers"][0]["image"])

    def pods() -> list[Any]:
        return list(json.loads(cluster.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"])

    # The namespace enforces the restricted standard: pods that break it would never be created.
    assert eventually(lambda: len(pods()) == 2, timeout_seconds=60)
    assert image().endswith(":0.0.9")
    crd = read("crd", CRD)["metadata"]
    assert (crd["annotations"]["by"], crd["labels"]["app.kubernetes.io/version"]) == ("old", "0.0.9")

    full = ("--values", chart.CHART / "ci" / "full-values.yaml", "--set", "crds.annotations.by=new")
    helm("upgrade", RELEASE, new, *where, *full, by=by)
    assert image().endswith(":0.1.0")
    assert read("pdb", RELEASE)["spec"]["minAvailable"] == 1
    assert read("configmap", f"{RELEASE}-more")["data"] == {"release": RELEASE}
    crd = read("crd", CRD)["metadata"]
    assert (crd["annotations"]["by"], crd["labels"]["app.kubernetes.io/version"]) == ("new", "0.1.0")

    hooks = helm("template", RELEASE, new, *where[:2], *VERSION, *full, "--show-only", "templates/tests/*", by=by)
    checked = dry_run(cluster, hooks)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.count("dry run") == 3

    helm("rollback", RELEASE, "1", *where, by=by)
    assert image().endswith(":0.0.9")
    assert cluster.try_kubectl("get", "pdb", RELEASE, "-n", NAMESPACE).returncode != 0
    helm("uninstall", RELEASE, *where, by=by)
    for kind in ("deployment", "clusterrole", "clusterrolebinding", "serviceaccount"):
        assert cluster.try_kubectl("get", kind, RELEASE, "-n", NAMESPACE).returncode != 0
    kept = json.loads(cluster.kubectl("get", "cas", "kept", "-o", "json"))
    assert kept["spec"]["maxReplicas"] == 3


@pytest.fixture(scope="module")
def node(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessNode]:
    """Runs the chart's pods as processes: what the image would run, from here."""
    program = [sys.executable, "-m", "consumer_autoscaler"]
    entrypoints = {"ghcr.io/consumer-autoscaler/consumer-autoscaler": program}
    with ProcessNode(cluster, tmp_path_factory.mktemp("node"), entrypoints=entrypoints) as node:
        yield node


def on_processes(cluster: ControlPlane, file: Path) -> Path:
    """Values that send the pods to the process node, each at an address of its own, with their account's rights."""
    account = str(cluster.kubeconfig_for(NAMESPACE, RELEASE))
    values = {
        "nodeSelector": {"bed/process-node": "true"},
        "extraEnv": [
            {"name": "PYTHONPATH", "value": str(REPOSITORY / "operator")},
            {"name": "KUBECONFIG", "value": account},
            {"name": "CONSUMER_AUTOSCALER_LEASE_NAMESPACE", "value": NAMESPACE},
            {"name": "CONSUMER_AUTOSCALER_LISTEN_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
    }
    file.write_text(json.dumps(values))
    return file


@contextmanager
def running(cluster: ControlPlane, folder: Path, by: str, values: Path) -> Iterator[tuple[str | Path, ...]]:
    """The chart as a release whose operators run, with the chart's own rights; gives where it is, as flags of Helm."""
    where = ("--namespace", NAMESPACE, "--kubeconfig", cluster.kubeconfig)
    cluster.kubectl("create", "serviceaccount", RELEASE, "-n", NAMESPACE)
    files = ("--values", values, "--values", on_processes(cluster, folder / "values.json"))
    switches = (
        f"serviceAccount.create=false,serviceAccount.name={RELEASE},helmTest.timeoutSeconds=20,helmTest.labels.shard=a"
    )
    try:
        helm("install", RELEASE, chart.CHART, *where, *files, "--set", switches, "--wait", "--timeout", "60s", by=by)
        yield where
    finally:
        helm("uninstall", RELEASE, *where, by=by)
        cluster.kubectl("delete", "deployment,pod,cas", f"{RELEASE}-test", "-n", NAMESPACE, "--ignore-not-found")
        cluster.kubectl("delete", "serviceaccount", RELEASE, "-n", NAMESPACE)


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("by", HELMS)
def test_helm_test_tells_a_working_operator_from_a_missing_one(cluster: ControlPlane, tmp_path: Path, by: str) -> None:
    """Two operators run as installed; then none does."""
    with running(cluster, tmp_path, by, chart.CHART / "ci" / "default-values.yaml") as where:
        assert "Succeeded" in helm("test", RELEASE, *where, "--timeout", "90s", by=by)
        left = cluster.kubectl("get", "pods,deployments,cas", "-n", NAMESPACE, "-o", "name").split()
        assert [name for name in left if name.endswith("-test")] == []

        cluster.kubectl("scale", f"deployment/{RELEASE}", "--replicas=0", "-n", NAMESPACE)
        assert try_helm("test", RELEASE, *where, "--timeout", "90s", by=by).returncode != 0
        pod = json.loads(cluster.kubectl("get", "pod", f"{RELEASE}-test", "-n", NAMESPACE, "-o", "json"))
        assert pod["status"]["phase"] == "Failed"


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("values", [path for path in VALUES if "default" not in path.name], ids=lambda path: path.stem)
def test_operators_work_with_the_rights_and_settings_of_other_values(
    cluster: ControlPlane, tmp_path: Path, values: Path
) -> None:
    """In two namespaces without a Lease, and for a part of the resources with all switches on."""
    with running(cluster, tmp_path, "helm", values) as where:
        assert "Succeeded" in helm("test", RELEASE, *where, "--timeout", "90s")


def test_the_package_holds_no_tests(tmp_path: Path) -> None:
    helm("package", chart.CHART, "--destination", tmp_path)
    shown = helm("show", "chart", tmp_path / "consumer-autoscaler-0.1.0.tgz")
    assert yaml.safe_load(shown)["version"] == "0.1.0"
    with tarfile.open(tmp_path / "consumer-autoscaler-0.1.0.tgz") as files:
        inside = {name.split("/")[1] for name in files.getnames()}
    assert inside == {
        "Chart.yaml",
        "README.md",
        "files",
        "templates",
        "values.schema.json",
        "values.yaml",
        ".helmignore",
    }
