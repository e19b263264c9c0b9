"""One pod as host processes: starts its containers, probes them, restarts them, ends them with grace.

Does what a kubelet does, in the same words (phase, conditions, CrashLoopBackOff, exit codes). Init containers,
volumes, liveness probes and resource limits are not done here; image names are ignored.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from bed import podenv
from bed.kubeapi import STRATEGIC_PATCH, ApiError, KubeApi
from bed.probes import probe_once, watch_readiness
from bed.processes import Process, ProcessFailed

log = logging.getLogger(__name__)

# https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
_BACKOFF_FIRST_SECONDS = 10.0
_BACKOFF_LONGEST_SECONDS = 300.0
_BACKOFF_FORGOTTEN_SECONDS = 600.0
_CONFIG_RETRY_SECONDS = 2.0
_STATUS_RETRY_SECONDS = 0.5


class ChildSignals:
    """Wakes everybody who waits for a child when the kernel says that some child ended (SIGCHLD)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self._loop = loop
        loop.add_signal_handler(signal.SIGCHLD, self._wake)

    async def exit_of(self, process: Process) -> int:
        while (code := process.returncode) is None:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                # The limit is a net: between the question and the wait nothing can be missed, but a signal can.
                async with asyncio.timeout(5):
                    await waiter
            except TimeoutError:
                continue
            finally:
                self._waiters.discard(waiter)
        return code

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all pods of a node share."""

    api: KubeApi
    http: aiohttp.ClientSession
    children: ChildSignals
    node_ip: str
    run_dir: Path
    entrypoints: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What runs for an image without a tag, where a container has no command."""


@dataclass(slots=True)
class _Container:
    spec: dict[str, Any]
    restarts: int
    state: dict[str, Any]
    last_state: dict[str, Any] = field(default_factory=dict)
    ready: bool = False
    process: Process | None = None

    @property
    def exit_code(self) -> int | None:
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])


class PodRunner:
    """`run()` until the pod is gone; `terminate()` when the API says so; `kill()` when it is gone already."""

    def __init__(self, pod: dict[str, Any], pod_ip: str, around: Surroundings) -> None:
        self.uid: str = pod["metadata"]["uid"]
        self.namespace: str = pod["metadata"]["namespace"]
        self.name: str = pod["metadata"]["name"]
        self.pod_ip = pod_ip
        self._pod = pod
        self._around = around
        self._folder = around.run_dir / self.namespace / f"{self.name}_{self.uid[:8]}"
        self._policy: str = pod["spec"].get("restartPolicy", "Always")
        self._started_at = pod.get("status", {}).get("startTime") or _now()
        self._containers = [self._container(spec) for spec in pod["spec"]["containers"]]
        self._terminating: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()
        self._conditions: dict[str, tuple[str, str]] = {}

    def terminate(self, grace_seconds: float) -> None:
        """SIGTERM, SIGKILL after the grace, then the pod object is deleted. The first call counts."""
        if not self._terminating.done():
            self._terminating.set_result(grace_seconds)

    def kill(self) -> None:
        """SIGKILL to every process of the pod."""
        for container in self._containers:
            if container.process:
                container.process.send(signal.SIGKILL)
                _kill_group(container.process)

    async def run(self) -> None:
        """Returns when a deleted pod's processes are gone and its object too; a cancelled run kills them."""
        writer = asyncio.create_task(self._write_statuses())
        loops = [asyncio.create_task(self._keep(container)) for container in self._containers]
        self._changed.set()
        try:
            await asyncio.gather(*loops)
            await self._terminating  # all containers have ended for good; the object may stay as long as it likes
            writer.cancel()
            await self._delete_object()
        finally:
            for task in (writer, *loops):
                task.cancel()
            self.kill()

    def _container(self, spec: dict[str, Any]) -> _Container:
        """Goes on counting restarts when the agent itself was started again."""
        restarts = 0
        for old in self._pod.get("status", {}).get("containerStatuses") or []:
            if old["name"] == spec["name"]:
                restarts = int(old["restartCount"]) + bool(old["state"].get("running"))
        return _Container(spec, restarts, {"waiting": {"reason": "ContainerCreating"}})

    async def _keep(self, container: _Container) -> None:
        """Starts the container again and again, as the restart policy says."""
        delay_seconds = 0.0
        while not self._terminating.done():
            begin = time.monotonic()
            code = await self._run_once(container)
            if code is None:
                return
            if self._policy == "Never" or (self._policy == "OnFailure" and code == 0):
                return
            container.last_state = container.state
            if time.monotonic() - begin > _BACKOFF_FORGOTTEN_SECONDS:
                delay_seconds = 0.0
            if delay_seconds:
                reason = {"reason": "CrashLoopBackOff", "message": f"back-off {delay_seconds:.0f}s"}
                self._set(container, {"waiting": reason})
                if await self._terminated_within(delay_seconds):
                    self._set(container, container.last_state)
                    return
            delay_seconds = min(max(_BACKOFF_FIRST_SECONDS, delay_seconds * 2), _BACKOFF_LONGEST_SECONDS)
            container.restarts += 1

    async def _run_once(self, container: _Container) -> int | None:
        """One life of the container: its exit code, None when it was ended because the pod is."""
        try:
            started = await self._start(container)
        except ProcessFailed as error:
            ended = {"exitCode": 128, "reason": "StartError", "message": str(error), "finishedAt": _now()}
            self._set(container, {"terminated": {**ended, "startedAt": _now()}})
            return 128
        if started is None:
            return None
        process, env, started_at = started
        probing = self._probe(container, env)
        exited = asyncio.create_task(self._around.children.exit_of(process))
        try:
            ends: list[asyncio.Future[Any]] = [exited, self._terminating]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                process.send(signal.SIGTERM)
                await asyncio.wait({exited}, timeout=self._terminating.result())
                process.send(signal.SIGKILL)
            code = await exited
        finally:
            probing.cancel()
            exited.cancel()
            _kill_group(process)
        code = 128 - code if code < 0 else code
        self._set(
            container,
            {
                "terminated": {
                    "exitCode": code,
                    "reason": "Completed" if code == 0 else "Error",
                    "startedAt": started_at,
                    "finishedAt": _now(),
                    "containerID": f"process://{process.pid}",
                }
            },
        )
        return None if self._terminating.done() else code

    async def _start(self, container: _Container) -> tuple[Process, dict[str, str], str] | None:
        """The new process; None when the pod is ended before a start is possible."""
        spec = container.spec
        while True:
            try:
                env = await podenv.environment(spec, self._pod, self.pod_ip, self._around.node_ip, self._get_object)
                return self._launch(container, podenv.command_line(spec, env, self._around.entrypoints), env)
            except podenv.ContainerConfigError as error:
                reason = {"reason": "CreateContainerConfigError", "message": str(error)}
                self._set(container, {"waiting": reason})
            if await self._terminated_within(_CONFIG_RETRY_SECONDS):
                return None

    def _launch(
        self, container: _Container, command: list[str], env: dict[str, str]
    ) -> tuple[Process, dict[str, str], str]:
        spec = container.spec
        self._folder.mkdir(parents=True, exist_ok=True)
        process = Process(
            f"{self.name}/{spec['name']}",
            command,
            log=self._folder / f"{spec['name']}.log",
            env=env,
            cwd=Path(spec["workingDir"]) if spec.get("workingDir") else self._folder,
        )
        container.process = process
        started_at = _now()
        self._set(container, {"running": {"startedAt": started_at}}, ready=not spec.get("readinessProbe"))
        return process, env, started_at

    def _probe(self, container: _Container, env: dict[str, str]) -> asyncio.Task[None]:
        probe = container.spec.get("readinessProbe") or {}

        async def work() -> None:
            if probe:
                await watch_readiness(
                    probe,
                    lambda: probe_once(probe, container.spec, self.pod_ip, env, self._around.http),
                    lambda ready: self._set(container, container.state, ready=ready),
                )

        return asyncio.create_task(work())

    async def _terminated_within(self, seconds: float) -> bool:
        await asyncio.wait({self._terminating}, timeout=seconds)
        return self._terminating.done()

    async def _get_object(self, plural: str, name: str) -> dict[str, Any]:
        return await self._around.api.call("GET", f"/api/v1/namespaces/{self.namespace}/{plural}/{name}")

    def _set(self, container: _Container, state: dict[str, Any], *, ready: bool = False) -> None:
        container.state, container.ready = state, ready
        self._changed.set()

    async def _write_statuses(self) -> None:
        """The newest status after each change, again until the API server has taken it."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}/status"
        while True:
            await self._changed.wait()
            self._changed.clear()
            # The uid makes a write to a successor of the same name fail.
            body = {"metadata": {"uid": self.uid}, "status": self._status()}
            try:
                await self._around.api.call("PATCH", path, body, content_type=STRATEGIC_PATCH)
            except ApiError as error:
                if error.status in (404, 409):
                    return
                log.warning("status of %s/%s: %s", self.namespace, self.name, error)
                self._changed.set()
                await asyncio.sleep(_STATUS_RETRY_SECONDS)

    async def _delete_object(self) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        while True:
            try:
                await self._around.api.call("DELETE", path, body)
            except ApiError as error:
                if error.status not in (404, 409):
                    await asyncio.sleep(_STATUS_RETRY_SECONDS)
                    continue
            return

    def _phase(self) -> str:
        codes = [c.exit_code for c in self._containers]
        if any(code is None or self._policy == "Always" for code in codes):
            begun = any(c.process or c.last_state for c in self._containers)
            return "Running" if begun else "Pending"
        if self._policy == "OnFailure" and any(codes):
            return "Running"
        return "Failed" if any(codes) else "Succeeded"

    def _status(self) -> dict[str, Any]:
        phase = self._phase()
        ready = phase == "Running" and all(c.ready for c in self._containers)
        return {
            "phase": phase,
            "hostIP": self._around.node_ip,
            "podIP": self.pod_ip,
            "podIPs": [{"$patch": "replace"}, {"ip": self.pod_ip}],  # not beside that of an earlier agent
            "startTime": self._started_at,
            "conditions": [
                self._condition("Initialized", True),
                self._condition("ContainersReady", ready),
                self._condition("Ready", ready),
            ],
            "containerStatuses": [
                {
                    "name": c.spec["name"],
                    "image": c.spec.get("image", ""),
                    "imageID": "",
                    "ready": c.ready,
                    "started": "running" in c.state,
                    "restartCount": c.restarts,
                    "state": c.state,
                    "lastState": c.last_state,
                    "containerID": f"process://{c.process.pid}" if c.process else "",
                }
                for c in self._containers
            ],
        }

    def _condition(self, name: str, holds: bool) -> dict[str, Any]:
        value = str(holds)
        if self._conditions.get(name, ("", ""))[0] != value:
            self._conditions[name] = (value, _now())
        return {"type": name, "status": value, "lastTransitionTime": self._conditions[name][1]}


def _kill_group(process: Process) -> None:
    """Each container has a session of its own: what it has left behind ends with it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
