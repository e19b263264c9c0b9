"""The operator as a host process, with exactly the rights that `deploy/` gives it.

`install(controlplane)` applies CRD, namespace and roles with kubectl; `Operator(controlplane)` runs the program as its
ServiceAccount. Alone it is `consumer-autoscaler run --kubeconfig FILE --listen-host 127.0.0.1 --no-leader-election`.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bed.controlplane import ControlPlane
from bed.paths import REPOSITORY
from bed.processes import Process, free_port

NAMESPACE = "consumer-autoscaler"
SERVICE_ACCOUNT = "consumer-autoscaler"
USER = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"  # as the audit log names it


def install(controlplane: ControlPlane) -> None:
    """CRD, namespace and roles, as a user would apply them; not the Deployment."""
    controlplane.kubectl("apply", "-k", str(REPOSITORY / "crds"))
    controlplane.kubectl("apply", "-f", str(REPOSITORY / "deploy" / "namespace.yaml"))
    controlplane.kubectl("apply", "-n", NAMESPACE, "-f", "-", input=_roles())
    controlplane.kubectl(
        "wait", "--for=condition=Established", "crd/consumerautoscalers.consumerautoscaler.dev", "--timeout=30s"
    )


def _roles() -> str:
    """The roles with the namespace that kustomize would write into the subjects."""
    text = (REPOSITORY / "deploy" / "rbac.yaml").read_text()
    subject = f"- kind: ServiceAccount\n  name: {SERVICE_ACCOUNT}\n"
    return text.replace(subject, f"{subject}  namespace: {NAMESPACE}\n")


class Operator:
    """One operator process. `arguments` are flags of `consumer-autoscaler run`, added to those that the bed needs.

    `kubeconfig` is for one that reaches the API server another way; `env` is added to the environment; `module` is what
    Python runs.
    """

    def __init__(
        self,
        controlplane: ControlPlane,
        *,
        arguments: tuple[str, ...] = (),
        name: str = "operator",
        log: Path | None = None,
        kubeconfig: Path | None = None,
        env: Mapping[str, str] | None = None,
        module: str = "consumer_autoscaler",
    ) -> None:
        self.port = free_port()
        self.kubeconfig = kubeconfig or controlplane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT)
        self.process = Process(
            name,
            [
                sys.executable, "-m", module, "run",
                "--kubeconfig", self.kubeconfig,
                "--listen-host", "127.0.0.1", "--port", str(self.port),
                "--lease-namespace", NAMESPACE, "--identity", name,
                "--allow-loopback",
                *arguments,
            ],
            log=log or controlplane.logs / f"{name}.log",
            env={"PYTHONPATH": str(REPOSITORY / "operator"), **(env or {})},
        )  # fmt: skip

    def get(self, path: str, timeout_seconds: float = 5.0) -> tuple[int, str]:
        """Status and text of one of its pages; (0, why) when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout_seconds) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def wait_working(self, timeout_seconds: float = 60.0) -> None:
        """Until it holds the Lease and has listed its resources; raises ProcessFailed."""
        self.process.wait_until(lambda: self.get("/readyz") == (200, "working"), timeout_seconds=timeout_seconds)

    def stop(self, *, grace_seconds: float = 10.0) -> int | None:
        return self.process.stop(grace_seconds=grace_seconds)

    def __enter__(self) -> Self:
        self.wait_working()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
