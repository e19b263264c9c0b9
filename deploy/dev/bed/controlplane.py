"""A real Kubernetes control plane as local processes: etcd, API server, controller-manager, scheduler.

Up in a few seconds, all on loopback, in a run folder of its own, so several can live side by side. RBAC is
real: run what is tested as its own ServiceAccount (`kubeconfig_for`). Every wait has an end; when a part
fails the message carries the end of its log.

    python -m bed.controlplane [--kwok N]     brings it up, prints the kubeconfig, waits for Ctrl-C
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bed import audit, parts, pki
from bed.audit import Tail
from bed.processes import Part, Process, ProcessFailed, free_port

_READY_SECONDS = 60.0
_POLL_SECONDS = 0.05
# The controllers' own limit of 20 requests per second would make the bed slow, not the API server.
_CLIENT_LIMITS = ("--kube-api-qps=2000", "--kube-api-burst=4000")


class KubectlFailed(RuntimeError):
    """kubectl ended with an error; the message is what it said."""


class ControlPlane(Part):
    """A control plane that lives as long as the `with` block; raises ProcessFailed when it does not come up.

    `controllers=False` starts only etcd and the API server (for schemas and plain objects: nothing creates
    pods or default ServiceAccounts). `folder` keeps certificates, data and logs; else they are temporary.
    """

    def __init__(
        self,
        *,
        controllers: bool = True,
        apiserver_arguments: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        self._controllers = controllers
        self._apiserver_arguments = tuple(apiserver_arguments)
        self._keep = folder is not None
        self._folder = folder or Path(tempfile.mkdtemp(prefix="bed-controlplane-"))
        self._port = free_port()
        self._etcd_port = free_port()
        self._serving: dict[str, int] = {}
        self.processes: dict[str, Process] = {}
        """The running parts by program name, for faults: `processes["etcd"].send(signal.SIGSTOP)`."""

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig (no authorization rule applies to it)."""
        return self._folder / "kubeconfigs" / "admin.yaml"

    @property
    def logs(self) -> Path:
        """The folder with one log file per part."""
        return self._folder / "logs"

    @property
    def folder(self) -> Path:
        """The run folder; parts that belong to this control plane may keep their files here."""
        return self._folder

    def start(self) -> None:
        """Brings everything up and returns when it is ready."""
        try:
            self._prepare()
            self._start_etcd()
            self.start_apiserver()
            if self._controllers:
                self._start_controllers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kills everything, etcd last: an API server whose etcd is gone does not end by itself."""
        for name in sorted(self.processes, key=lambda name: name == "etcd"):
            self.processes[name].stop(grace_seconds=0)
        self.processes.clear()
        if not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)

    def stop_apiserver(self) -> None:
        """Kills the API server only, as in an outage; its data stays in etcd."""
        if apiserver := self.processes.pop("kube-apiserver", None):
            apiserver.stop(grace_seconds=0)

    def start_apiserver(self) -> None:
        """Starts the API server on its port and waits until it is ready; for the end of an outage too.

        After an outage the controllers come back by their own backoff, up to about 30 s later.
        """
        apiserver = self._start("kube-apiserver", *self._apiserver_flags(), *self._apiserver_arguments)
        apiserver.wait_until(
            lambda: self.get("/readyz") == 200 and self.get("/api/v1/namespaces/default") == 200,
            timeout_seconds=_READY_SECONDS,
            poll_seconds=_POLL_SECONDS,
        )

    def get(self, path: str) -> int | None:
        """The HTTP status of a GET as administrator; None when there is no answer within two seconds."""
        context = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
        context.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
        return _status(self._port, path, context)

    def kubectl(self, *arguments: str, input: str | None = None, timeout_seconds: float = 60.0) -> str:
        """Runs kubectl as administrator and returns its stdout; raises KubectlFailed with its stderr."""
        done = self.try_kubectl(*arguments, input=input, timeout_seconds=timeout_seconds)
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def try_kubectl(
        self,
        *arguments: str,
        input: str | None = None,
        timeout_seconds: float = 60.0,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Like `kubectl`, also as somebody else; returns the return code, stdout and stderr.

        Raises KubectlFailed only when there is no answer in time.
        """
        # A cache of its own: ports are used again, and discovery of an earlier cluster would be believed.
        command: list[str | Path] = [parts.program("kubectl"), f"--cache-dir={self._folder / 'kubectl'}"]
        command += [f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        try:
            return subprocess.run(
                command,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: no end within {timeout_seconds:.0f} s") from error

    def kubeconfig_for(self, namespace: str, serviceaccount: str) -> Path:
        """A kubeconfig with a 24-hour token of an existing ServiceAccount: exactly that account's rights."""
        token = self.kubectl("create", "token", serviceaccount, f"--namespace={namespace}", "--duration=24h")
        return pki.write_kubeconfig(
            self._folder / "kubeconfigs" / f"{namespace}-{serviceaccount}.yaml",
            server=self.server,
            ca=self._pki / "ca.crt",
            user={"token": token.strip()},
            namespace=namespace,
        )

    def audit(self, since: float = 0.0, *, user: str | None = None) -> list[audit.Request]:
        """The requests received since a time (seconds since the epoch); `audit.count` counts them by kind."""
        return audit.read_requests(self._audit_log, since=since, user=user)

    def audit_tail(self) -> Tail:
        """The requests as they come, for a long run in which nobody can read the whole log again and again."""
        return Tail(self._audit_log)

    @property
    def _pki(self) -> Path:
        return self._folder / "pki"

    @property
    def _audit_log(self) -> Path:
        return self.logs / "audit.jsonl"

    def _prepare(self) -> None:
        parts.ensure("etcd", "kube-apiserver", "kubectl")
        if self._controllers:
            parts.ensure("kube-controller-manager", "kube-scheduler")
        self.logs.mkdir(parents=True, exist_ok=True)
        pki.make_certificates(self._pki)
        (self._folder / "audit-policy.yaml").write_text(audit.POLICY)
        for user in ("admin", "scheduler"):
            pki.write_kubeconfig(
                self._folder / "kubeconfigs" / f"{user}.yaml",
                server=self.server,
                ca=self._pki / "ca.crt",
                user=pki.certificate_user(self._pki, user),
            )

    def _start(self, name: str, *arguments: str) -> Process:
        process = Process(name, [parts.program(name), *arguments], log=self.logs / f"{name}.log", cwd=self._folder)
        self.processes[name] = process
        return process

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        self._start(
            "etcd",
            *("--name=bed", f"--data-dir={self._folder / 'etcd'}", "--log-level=warn"),
            "--unsafe-no-fsync",  # the data need not survive the machine
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            f"--initial-cluster=bed={peer}",
        )

    def _apiserver_flags(self) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self._port}"),
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
            *("--tls-cert-file=pki/apiserver.crt", "--tls-private-key-file=pki/apiserver.key"),
            *("--client-ca-file=pki/ca.crt", "--cert-dir=pki"),
            "--service-account-issuer=https://kubernetes.default.svc",
            *("--service-account-key-file=pki/sa.pub", "--service-account-signing-key-file=pki/sa.key"),
            *("--allow-privileged=true", "--profiling=false"),
            *("--audit-policy-file=audit-policy.yaml", f"--audit-log-path={self._audit_log}"),
            "--audit-log-maxsize=100000",  # MB: one file, so that every request since the start is found
        ]

    def _start_controllers(self) -> None:
        """Both at once; the controller-manager as administrator, which halves the time to ready."""
        common = ["--bind-address=127.0.0.1", "--cert-dir=pki", "--leader-elect=false", "--profiling=false"]
        common += _CLIENT_LIMITS
        self._start(
            "kube-controller-manager",
            *self._identity("kube-controller-manager", "admin"),
            *common,
            *("--use-service-account-credentials=false", "--service-account-private-key-file=pki/sa.key"),
            "--root-ca-file=pki/ca.crt",
            *("--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20"),
        )
        self._start("kube-scheduler", *self._identity("kube-scheduler", "scheduler"), *common)
        for name, port in self._serving.items():
            # The certificates of these two are their own; loopback and a free answer, so nothing to verify.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.processes[name].wait_until(
                lambda port=port, context=context: _status(port, "/healthz", context) == 200,  # type: ignore[misc]
                timeout_seconds=_READY_SECONDS,
                poll_seconds=_POLL_SECONDS,
            )
        self.processes["kube-controller-manager"].wait_until(
            lambda: self.get("/api/v1/namespaces/default/serviceaccounts/default") == 200,
            timeout_seconds=_READY_SECONDS,
            poll_seconds=_POLL_SECONDS,
        )

    def _identity(self, name: str, user: str) -> list[str]:
        self._serving[name] = free_port()
        flags = ("--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig")
        return [
            *(f"{flag}=kubeconfigs/{user}.yaml" for flag in flags),
            f"--secure-port={self._serving[name]}",
        ]


def _status(port: int, path: str, context: ssl.SSLContext) -> int | None:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2.0, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def main(arguments: list[str] | None = None) -> int:
    """Brings a control plane up, says how to use it, and ends it on Ctrl-C or SIGTERM."""
    from bed.kwok import Kwok  # the fake nodes use this module

    parser = argparse.ArgumentParser(prog="python -m bed.controlplane", description="A local control plane.")
    parser.add_argument("--kwok", type=int, default=0, metavar="N", help="fake nodes whose pods become Ready")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begin = time.monotonic()
    try:
        with ControlPlane() as plane:
            kwok = Kwok(plane, nodes=options.kwok) if options.kwok else None
            if kwok:
                kwok.start()
            try:
                print(f"Ready after {time.monotonic() - begin:.1f} s. Logs: {plane.logs}\n")
                print(f"export KUBECONFIG={plane.kubeconfig}")
                print(
                    f"{parts.program('kubectl')} get nodes,pods --all-namespaces\n\nCtrl-C ends it.",
                    flush=True,
                )
                signal.pause()
            finally:
                if kwok:
                    kwok.stop()
    except (ProcessFailed, parts.PartUnavailable) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
