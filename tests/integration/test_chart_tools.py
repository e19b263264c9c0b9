"""The chart under the tools of chart maintainers: helm-unittest, and kubeconform with the API server's schemas."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.chart_support import NAMESPACE, RELEASE, VERSION, helm

from bed import chart, kubeschemas
from bed.controlplane import ControlPlane
from bed.parts import program
from bed.paths import REPOSITORY

pytestmark = pytest.mark.integration

VALUES = sorted((chart.CHART / "ci").glob("*-values.yaml"))
ANNOTATIONS: dict[str, str] = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["annotations"]
# Kinds of the Prometheus operator, which the bed's API server does not have.
FOREIGN = "PodMonitor,ServiceMonitor,PrometheusRule"


@pytest.mark.timeout(600)  # the first time it is built
def test_helm_unittest_passes() -> None:
    """The tests of charts/consumer-autoscaler/tests, strictly read."""
    done = subprocess.run(
        [program("helm-unittest"), "--strict", chart.CHART], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" not in done.stdout
    assert f"{len(list((chart.CHART / 'tests').glob('*_test.yaml')))} passed" in done.stdout


@pytest.fixture(scope="module")
def openapi(controlplane: ControlPlane) -> dict[str, Any]:
    controlplane.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds" / "consumerautoscalers.yaml"))
    crd = "crd/consumerautoscalers.consumerautoscaler.dev"
    controlplane.kubectl("wait", "--for=condition=Established", crd, "--timeout=30s")
    for _ in range(100):  # published a moment after the CRD is established
        found: dict[str, Any] = json.loads(controlplane.kubectl("get", "--raw", "/openapi/v2"))
        if any("ConsumerAutoscaler" in name for name in found["definitions"]):
            return found
    raise AssertionError("the API server publishes no schema of the CRD")


@pytest.fixture(scope="module")
def schemas(openapi: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    assert kubeschemas.write(openapi, folder) > 100
    return folder


def kubeconform(schemas: Path, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(program("kubeconform"), "-strict", "-summary", "-skip", FOREIGN, "-schema-location"),
            f"{schemas}/{{{{.Group}}}}_{{{{.ResourceAPIVersion}}}}_{{{{.ResourceKind}}}}.json",
        ],
        input=text, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def template(*arguments: str | Path) -> str:
    return helm("template", RELEASE, chart.CHART, "--namespace", NAMESPACE, *VERSION, *arguments)


@pytest.mark.timeout(600)  # the first time it is built
@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_kubeconform_finds_nothing(schemas: Path, values: Path) -> None:
    """Strictly, with the schemas that the API server itself publishes, the CRD's among them."""
    done = kubeconform(schemas, template("--values", values))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Invalid: 0, Errors: 0" in done.stdout


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("resources.request.cpu=1", "additional properties 'request' not allowed"),
        ("tolerations[0].tolerationSeconds=soon", "want integer"),
    ],
)
def test_kubeconform_would_find_a_wrong_field(schemas: Path, setting: str, said: str) -> None:
    done = kubeconform(schemas, template("--set", setting))
    assert done.returncode != 0
    assert said in done.stdout


def test_the_example_on_artifact_hub_is_one_that_works(openapi: dict[str, Any], controlplane: ControlPlane) -> None:
    (example,) = yaml.safe_load(ANNOTATIONS["artifacthub.io/crdsExamples"])
    controlplane.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", input=yaml.safe_dump(example))
    (described,) = yaml.safe_load(ANNOTATIONS["artifacthub.io/crds"])
    assert (described["kind"], described["version"]) == (example["kind"], example["apiVersion"].split("/")[1])
