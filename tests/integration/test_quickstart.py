"""docs/quickstart.md, its commands executed as they are printed, on a control plane and with consumers of their own.

Only the address of the brokers differs, which the page asks the reader to put in. The operator's pods are fake (there
are no images here); the program runs beside them with the ServiceAccount that the page's commands made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.wait import eventually

from bed import parts
from bed.consumers import deployment
from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.kwok import Kwok
from bed.operator import Operator
from bed.paths import REPOSITORY
from bed.processes import Process
from bed.processnode import ProcessNode
from pages.blocks import blocks

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PAGE = REPOSITORY / "docs" / "quickstart.md"
READERS_OWN = "export KAFKA=kafka.shop.svc:9092\n"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """Its own: the page's last command removes the CRD."""
    with ControlPlane() as plane, Kwok(plane):
        yield plane


@pytest.fixture(scope="module")
def shop(plane: ControlPlane, kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """What the reader has: consumers that do 20 records/s each, behind a load of 60."""
    folder = tmp_path_factory.mktemp("quickstart")
    kafka.create_topic("orders", partitions=12)
    plane.kubectl("create", "namespace", "shop")
    with ProcessNode(plane, folder / "node"):
        rate = ["--rate", "20", "--batch", "5"]
        body = deployment(
            "payments", bootstrap=kafka.bootstrap, topic="orders", replicas=1, arguments=rate, results=folder
        )
        plane.kubectl("apply", "-n", "shop", "-f", "-", input=json.dumps(body))
        producer = Process(
            "producer",
            [
                *(sys.executable, "-m", "bed.workload", "produce", "--bootstrap", kafka.bootstrap),
                *("--topic", "orders", "--partitions", "12", "--profile", "0:60,600:60"),
                *("--results", str(folder / "produced.jsonl")),
            ],
            log=folder / "producer.log",
            env={"PYTHONPATH": str(REPOSITORY / "deploy" / "dev")},
        )
        try:
            plane.kubectl("rollout", "status", "-n", "shop", "deployment/payments", "--timeout=60s")
            yield plane
        finally:
            producer.stop()


class Shell:
    """Executes one block after the other, with the variables of those before."""

    def __init__(self, plane: ControlPlane, folder: Path, bootstrap: str) -> None:
        programs = folder / "programs"
        programs.mkdir()
        (programs / "kubectl").symlink_to(parts.program("kubectl"))
        self._environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(plane.kubeconfig),
            "KAFKA": bootstrap,
        }

    def __call__(self, block: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=REPOSITORY, env=self._environment, timeout=180,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def test_the_commands_of_the_quickstart_work_as_printed(shop: ControlPlane, kafka: Kafka, tmp_path: Path) -> None:
    """From the installation to the first scaling, and back to nothing."""
    own, install, observe, look, problems, activate, events, pause, remove = blocks(PAGE, "sh")
    assert own == READERS_OWN
    run = Shell(shop, tmp_path, kafka.bootstrap)

    assert "successfully rolled out" in run(install)
    with Operator(shop):
        assert "consumerautoscaler.consumerautoscaler.dev/payments created" in run(observe)
        seen = run(look)
        assert "condition met" in seen
        assert "Observing" in seen
        assert "SourceHealthy=True Valid" in run(problems)
        assert _replicas(shop) == 1  # it only observed

        assert "condition met" in run(activate)
        assert eventually(lambda: _replicas(shop) > 1, timeout_seconds=120), shop.kubectl(
            "describe", "-n", "shop", "cas"
        )
        assert "TargetScaledUp" in run(events)

        run(pause)
        here = _replicas(shop)
        run(remove)
    assert _replicas(shop) == here
    assert "consumerautoscalers" not in shop.kubectl("get", "crd", "-o", "name")


def _replicas(plane: ControlPlane) -> int:
    return int(plane.kubectl("get", "deployment", "payments", "-n", "shop", "-o", "jsonpath={.spec.replicas}"))
