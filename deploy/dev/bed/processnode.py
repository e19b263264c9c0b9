"""A node that runs pods' commands as host processes, so that a Deployment's pods are real consumers.

The agent registers a Node, renews its Lease, and runs what the scheduler binds to it. Every pod has an address
of its own in 127.0.0.0/8 (`status.podIP`, all of them reachable from this machine only). The processes inherit
the agent's environment, log to `RUN_DIR/NAMESPACE/POD_UID/CONTAINER.log`, and die with the agent.

Direct pods here by `nodeSelector: {bed/process-node: "true"}`; images are ignored, so give a `command`, or tell the
node what an image runs.

    python -m bed.processnode --kubeconfig FILE --run-dir FOLDER [--name process-node] [--entrypoints JSON]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from bed.kubeapi import MERGE_PATCH, STRATEGIC_PATCH, ApiError, KubeApi
from bed.paths import REPOSITORY
from bed.podrunner import ChildSignals, PodRunner, Surroundings
from bed.processes import Part, Process

log = logging.getLogger(__name__)

NODE_LABEL = {"bed/process-node": "true"}
_NODE_IP = "127.0.0.1"
_POD_NETWORK_FIRST, _POD_NETWORK_SIZE = IPv4Address("127.30.0.1"), 65_000
# As the kubelet: the Lease every quarter of its duration, the node's status every five minutes.
_LEASE_SECONDS = 40
_RENEW_SECONDS = 10.0
_RENEWALS_PER_STATUS = 30
_READY_SECONDS = 30


class HasKubeconfig(Protocol):
    @property
    def kubeconfig(self) -> Path: ...
    def kubectl(self, *arguments: str) -> str: ...


class ProcessNode(Part):
    """The node for as long as the `with` block lives: `with ProcessNode(controlplane, run_dir): ...`.

    Returns from `start` when the Node is Ready; raises ProcessFailed when the agent ends before.
    """

    def __init__(
        self,
        controlplane: HasKubeconfig,
        run_dir: Path,
        *,
        name: str = "process-node",
        entrypoints: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.name = name
        self.run_dir = run_dir
        self.entrypoints = entrypoints or {}
        self.process: Process | None = None
        self._controlplane = controlplane

    @property
    def pods_dir(self) -> Path:
        """The logs of the pods: `NAMESPACE/POD_UID/CONTAINER.log`."""
        return self.run_dir / "pods"

    def start(self) -> None:
        """From the thread that lives as long as the bed: the agent dies with it."""
        paths = [str(REPOSITORY / "deploy" / "dev"), os.environ.get("PYTHONPATH", "")]
        self.process = Process(
            self.name,
            [
                *(sys.executable, "-m", "bed.processnode", f"--kubeconfig={self._controlplane.kubeconfig}"),
                *(f"--name={self.name}", f"--run-dir={self.run_dir}"),
                f"--entrypoints={json.dumps(self.entrypoints)}",
            ],
            log=self.run_dir / f"{self.name}.log",
            env={"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )

        def ready() -> bool:
            path = "jsonpath={.status.conditions[?(@.type=='Ready')].status} {.spec.taints}"
            said = self._controlplane.kubectl("get", "node", self.name, "--ignore-not-found", "--output", path)
            return said.strip() == "True"

        self.process.wait_until(ready, timeout_seconds=_READY_SECONDS)

    def stop(self) -> None:
        """Ends the agent and every pod's processes; the objects stay, as when a machine is switched off."""
        if self.process:
            self.process.stop(grace_seconds=5)
            self.process = None


class _Agent:
    def __init__(self, name: str, around: Surroundings) -> None:
        self._name = name
        self._api = around.api
        self._around = around
        self._runners: dict[str, PodRunner] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses = _addresses()

    async def run(self) -> None:
        """Until cancelled; then no process of a pod is left."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._heartbeat())
                group.create_task(self._follow_pods())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow_pods(self) -> None:
        query = {"fieldSelector": f"spec.nodeName={self._name}"}
        async for kind, pods in self._api.list_and_watch("/api/v1/pods", query):
            if kind == "LIST":
                alive = {pod["metadata"]["uid"] for pod in pods}
                for uid in self._runners.keys() - alive:
                    self._forget(uid)
            for pod in pods:
                if kind == "DELETED":
                    self._forget(pod["metadata"]["uid"])
                else:
                    self._see(pod)

    def _see(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        runner = self._runners.get(uid)
        if runner is None:
            over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
            if over and "deletionTimestamp" not in pod["metadata"]:
                return
            taken = {other.pod_ip for other in self._runners.values()}
            address = next(ip for ip in self._addresses if ip not in taken)
            runner = self._runners[uid] = PodRunner(pod, address, self._around)
            if over or "deletionTimestamp" in pod["metadata"]:
                runner.terminate(0)
            task = asyncio.create_task(self._run(runner))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if "deletionTimestamp" in pod["metadata"]:
            runner.terminate(pod["metadata"].get("deletionGracePeriodSeconds") or 0)

    async def _run(self, runner: PodRunner) -> None:
        """A failure of one pod is logged and does not touch the others."""
        try:
            await runner.run()
        except Exception:
            log.exception("pod %s/%s", runner.namespace, runner.name)
        finally:
            self._runners.pop(runner.uid, None)

    def _forget(self, uid: str) -> None:
        """The object is gone (deleted by force, or while the API server was away): so must the processes be."""
        if runner := self._runners.get(uid):
            runner.terminate(0)
            runner.kill()

    async def _heartbeat(self) -> None:
        """Registers the node and stays Ready, also after the API server was away."""
        renewals = 0
        while True:
            try:
                if renewals % _RENEWALS_PER_STATUS == 0:
                    await self._register()
                await self._renew()
                renewals += 1
            except ApiError as error:
                log.warning("heartbeat: %s", error)
                renewals = 0  # the node may have been called unreachable meanwhile
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(_RENEW_SECONDS)

    async def _register(self) -> None:
        labels = {
            **NODE_LABEL,
            "kubernetes.io/hostname": self._name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._name, "labels": labels}}
        await self._create_if_missing("/api/v1/nodes", node)
        resources = {"cpu": "64", "memory": "256Gi", "pods": "110"}
        ready = {"type": "Ready", "status": "True", "reason": "AgentReady", "message": "runs host processes"}
        status = {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [
                {"type": "InternalIP", "address": _NODE_IP},
                {"type": "Hostname", "address": self._name},
            ],
            "conditions": [{**ready, "lastHeartbeatTime": _now(), "lastTransitionTime": _now()}],
        }
        path = f"/api/v1/nodes/{self._name}/status"
        await self._api.call("PATCH", path, {"status": status}, content_type=STRATEGIC_PATCH)

    async def _renew(self) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": _now_micro()}
        try:
            await self._api.call("PATCH", f"{leases}/{self._name}", {"spec": spec}, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.status != 404:
                raise
            kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            await self._create_if_missing(leases, {**kind, "metadata": {"name": self._name}, "spec": spec})

    async def _create_if_missing(self, path: str, body: dict[str, Any]) -> None:
        try:
            await self._api.call("POST", path, body)
        except ApiError as error:
            if error.status != 409:
                raise


def _addresses() -> Iterator[str]:
    """127.30.0.0/16 round and round, so that an address is not used again at once, from a random start, so that
    two beds on one machine seldom meet."""
    number = random.randrange(_POD_NETWORK_SIZE)
    while True:
        yield str(_POD_NETWORK_FIRST + number % _POD_NETWORK_SIZE)
        number += 1


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now_micro() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def serve(name: str, kubeconfig: Path, run_dir: Path, entrypoints: Mapping[str, Sequence[str]]) -> None:
    """Runs the agent until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    async with KubeApi(kubeconfig) as api, aiohttp.ClientSession() as http:
        agent = _Agent(name, Surroundings(api, http, ChildSignals(loop), _NODE_IP, run_dir / "pods", entrypoints))
        work = asyncio.create_task(agent.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        with suppress(asyncio.CancelledError):
            await work


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bed.processnode", description="Runs pods as processes.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True, help="the pods' logs go here")
    parser.add_argument("--name", default="process-node")
    parser.add_argument(
        "--entrypoints", type=json.loads, default={}, help='what runs for an image: {"registry/image": ["command"]}'
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run_dir: Path = options.run_dir.resolve()
    log.info("node %s, logs of the pods in %s", options.name, run_dir / "pods")
    asyncio.run(serve(options.name, options.kubeconfig, run_dir, options.entrypoints))


if __name__ == "__main__":
    main()
