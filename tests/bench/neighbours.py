"""One broken resource of each kind among a thousand good ones: is a good one read late, or a step of one missed?

The good ones have a Deployment, a consumer group with a member, and traffic, on a real API server and a real broker.
They are watched alone first, then beside the broken ones. A poll is late when it came more than half an interval after
its time; a step is missed when a good resource whose `minReplicas` was raised has not been scaled within two polls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

from tests.bench.common import (
    AUTOSCALERS,
    DEPLOYMENTS,
    Bar,
    Samples,
    autoscaler,
    create,
    deployment,
    finish,
    say,
    until_ready,
)
from tests.bench.stream import JOINED, group_names

from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.kubeapi import MERGE_PATCH, KubeApi
from bed.kwok import Kwok
from bed.operator import Operator, install
from bed.paths import REPOSITORY
from bed.processes import Process

NAMESPACE = "default"
POLL_SECONDS = 15
SCRAPE_SECONDS = 4.0
LATE_SECONDS = 1.5 * POLL_SECONDS
STEP_SECONDS = 2 * POLL_SECONDS
STEPS = 20
BARS = (
    Bar("late_polls", 0),
    Bar("missed_steps", 0),
    Bar("broken_unreported", 0),
    Bar("restarts", 0),
    Bar("dead_autoscalers", 0),
)
_POLLED = re.compile(r'^consumer_autoscaler_last_successful_poll_timestamp_seconds\{.*name="([^"]+)".*\} (\S+)$', re.M)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench neighbours", description=__doc__)
    parser.add_argument("--n", dest="resources", type=int, default=1000, help="good resources (1000)")
    parser.add_argument("--seconds", type=float, default=90, help="length of each of the two windows (90)")
    options = parser.parse_args(arguments)
    with (
        Samples("neighbours") as samples,
        ControlPlane() as plane,
        Kafka() as kafka,
        Kwok(plane, nodes=4, pods_per_node=max(1000, options.resources)),
        silent_port() as silent,
        endless_page() as endless,
    ):
        install(plane)
        run = _Run(plane, kafka, samples, options.resources, options.seconds, broken(kafka.bootstrap, silent, endless))
        figures = asyncio.run(run.measure())
    return finish(figures, BARS)


@contextmanager
def silent_port() -> Iterator[int]:
    """Accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]


@contextmanager
def endless_page() -> Iterator[int]:
    """An HTTP server whose answers begin well and never end."""

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b" " * 65536)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def good_spec(bootstrap: str, group: str) -> dict[str, Any]:
    return {
        "maxReplicas": 10,
        "sources": [{"name": "stream", "kafka": {"bootstrapServers": bootstrap, "consumerGroup": group}}],
        "objective": {"maxDelaySeconds": 60},
        "scaling": {"pollIntervalSeconds": POLL_SECONDS},
    }


def broken(bootstrap: str, silent: int, endless: int) -> dict[str, dict[str, Any]]:
    """Each kind by its name: what its spec has in place of a good one's, or an annotation."""

    def kafka(address: str = bootstrap, **more: object) -> dict[str, Any]:
        return {"sources": [{"name": "stream", "kafka": {
            "bootstrapServers": address, "consumerGroup": group_names(1)[0], **more}}]}  # fmt: skip

    def time_from(address: str) -> dict[str, Any]:
        return {"processingTime": {"sources": [{"prometheus": {"address": address}}]}}

    every_second = {"scaling": {"pollIntervalSeconds": 1}}
    return {
        "broker-unresolved": {**kafka("no-such-broker.invalid:9092"), **every_second},
        "broker-refuses": {**kafka("127.0.0.1:1"), **every_second},
        "broker-hangs": {**kafka(f"127.0.0.1:{silent}"), **every_second},
        "broker-is-no-broker": {**kafka(f"127.0.0.1:{endless}"), **every_second},
        "topic-missing": kafka(topics=["no-such-topic"]),
        "group-missing": kafka(consumerGroup="no-such-group"),
        "secret-missing": kafka(sasl={"mechanism": "SCRAM-SHA-256", "credentialsSecretRef": {"name": "none"}}, tls={}),
        "metrics-endless": {**time_from(f"http://127.0.0.1:{endless}"), **every_second},
        "metrics-hang": {**time_from(f"http://127.0.0.1:{silent}"), **every_second},
        "metrics-address-odd": time_from("https://[[:x"),
        "target-missing": {"targetRef": {"name": "no-such-target"}},
        "conflicted": {"targetRef": {"name": group_names(1)[0]}},
        "spec-invalid": {"maxReplicas": "many"},
        "annotation-invalid": {},
    }


class _Run:
    def __init__(
        self, plane: ControlPlane, kafka: Kafka, samples: Samples, resources: int, seconds: float,
        broken: Mapping[str, dict[str, Any]],
    ) -> None:  # fmt: skip
        self._plane, self._kafka, self._samples = plane, kafka, samples
        self._seconds, self._broken = seconds, broken
        self._names = group_names(resources)
        self._polls: dict[str, list[float]] = {name: [] for name in self._names}

    async def measure(self) -> dict[str, float]:
        say(f"{len(self._names)} groups with a member each, and traffic for them")
        log = self._samples.path.with_name("neighbours-traffic.log")
        log.unlink(missing_ok=True)
        paths = [str(REPOSITORY), str(REPOSITORY / "deploy" / "dev")]
        command = [sys.executable, "-m", "tests.bench.stream", f"--bootstrap={self._kafka.bootstrap}"]
        traffic = Process(
            "traffic", [*command, f"--groups={len(self._names)}"],
            log=log, env={"PYTHONPATH": os.pathsep.join(paths)}, cwd=REPOSITORY,
        )  # fmt: skip
        with ExitStack() as stack:
            stack.callback(traffic.stop, grace_seconds=0)
            await asyncio.to_thread(traffic.wait_until, lambda: JOINED in log.read_text(), timeout_seconds=300)
            async with KubeApi(self._plane.kubeconfig) as api:
                say("Deployments and resources")
                await create(api, DEPLOYMENTS.format(NAMESPACE), (deployment(name, 1) for name in self._names))
                await until_ready(api, NAMESPACE, timeout_seconds=600)
                specs = ((name, good_spec(self._kafka.bootstrap, name)) for name in self._names)
                await create(api, AUTOSCALERS.format(NAMESPACE), (autoscaler(name, **spec) for name, spec in specs))
                operator = await asyncio.to_thread(
                    # A long Lease: that a busy machine loses it says nothing of neighbours.
                    Operator, self._plane, arguments=("--lease-duration-seconds", "120"),
                    log=self._samples.path.with_name("neighbours-operator.log"),
                )  # fmt: skip
                stack.callback(operator.stop, grace_seconds=5)
                return await self._compared(api, operator)

    async def _compared(self, api: KubeApi, operator: Operator) -> dict[str, float]:
        await asyncio.to_thread(operator.wait_working, 120)
        end = time.monotonic() + 180
        while not all(self._polls.values()):
            await asyncio.sleep(SCRAPE_SECONDS)
            await self._scrape(operator)
            if time.monotonic() > end:
                raise TimeoutError("not all good resources were read")
        say(f"all are read; alone for {self._seconds:.0f} s")
        alone = await self._window(operator)
        say(f"{len(self._broken)} broken ones come; {self._seconds:.0f} s beside them")
        await self._add_broken(api)
        await asyncio.sleep(POLL_SECONDS)  # the definition was changed for one of them: that passes
        steps = asyncio.create_task(self._steps(api))
        beside = await self._window(operator)
        missed = await steps
        unreported = await self._unreported(api)
        for name in unreported:
            say(f"nothing wrong is said of {name}")
        _, page = await asyncio.to_thread(operator.get, "/metrics", 30.0)
        healthy = (await asyncio.to_thread(operator.get, "/healthz"))[0] == 200
        return {
            "good": len(self._names),
            "broken": len(self._broken),
            "polls": beside[1],
            "late_polls_alone": alone[0],
            "late_polls": beside[0],
            "steps": STEPS,
            "missed_steps": missed,
            "broken_unreported": len(unreported),
            "restarts": int(operator.process.returncode is not None),
            "dead_autoscalers": int(not healthy or not page),
        }

    async def _add_broken(self, api: KubeApi) -> None:
        whole = good_spec(self._kafka.bootstrap, self._names[0])
        await create(api, DEPLOYMENTS.format(NAMESPACE), (deployment(name, 1) for name in self._broken))
        bodies = [autoscaler(name, **{**whole, **spec}) for name, spec in self._broken.items()]
        for body in bodies:
            if body["metadata"]["name"] == "annotation-invalid":
                body["metadata"]["annotations"] = {"consumerautoscaler.dev/paused-replicas": "9" * 5000}
        await self._store_unchecked(api, [body for body in bodies if body["metadata"]["name"] == "spec-invalid"])
        rest = [body for body in bodies if body["metadata"]["name"] != "spec-invalid"]
        await create(api, AUTOSCALERS.format(NAMESPACE), rest)

    async def _store_unchecked(self, api: KubeApi, bodies: list[dict[str, Any]]) -> None:
        """As a resource may be that was stored under an earlier schema."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/consumerautoscalers.consumerautoscaler.dev"
        kept = await api.call("GET", path)
        loose = json.loads(json.dumps(kept))
        schema = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        schema["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        await api.call("PUT", path, loose)
        await asyncio.sleep(5.0)  # the API server takes the new schema into use in its own time
        await create(api, AUTOSCALERS.format(NAMESPACE), bodies)
        await api.call("PUT", path, {**await api.call("GET", path), "spec": kept["spec"]})

    async def _steps(self, api: KubeApi) -> int:
        """Good resources need a second replica, one each second; how many have not got it in time."""

        async def step(name: str) -> bool:
            path = f"{AUTOSCALERS.format(NAMESPACE)}/{name}"
            await api.call("PATCH", path, {"spec": {"minReplicas": 2}}, content_type=MERGE_PATCH)
            end = time.monotonic() + STEP_SECONDS
            while time.monotonic() < end:
                await asyncio.sleep(1.0)
                found = await api.call("GET", f"{DEPLOYMENTS.format(NAMESPACE)}/{name}")
                if found["spec"]["replicas"] >= 2:
                    return True
            say(f"{name} was not scaled within {STEP_SECONDS} s")
            return False

        tasks = []
        for name in self._names[1 : STEPS + 1]:
            await asyncio.sleep(1.0)
            tasks.append(asyncio.create_task(step(name)))
        return (await asyncio.gather(*tasks)).count(False)

    async def _unreported(self, api: KubeApi) -> list[str]:
        """Of the broken ones those whose conditions say nothing."""
        silent = []
        for name in self._broken:
            found = await api.call("GET", f"{AUTOSCALERS.format(NAMESPACE)}/{name}")
            conditions = (found.get("status") or {}).get("conditions") or ()
            if not any(c["type"] in ("Ready", "SourceHealthy") and c["status"] == "False" for c in conditions):
                silent.append(name)
        return silent

    async def _window(self, operator: Operator) -> tuple[int, int]:
        """Late polls and all polls of the good ones."""
        await self._scrape(operator)  # what was not looked at before is not late
        for times in self._polls.values():
            del times[:-1]
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            await asyncio.sleep(SCRAPE_SECONDS)
            await self._scrape(operator)
        late = polls = 0
        for name, times in self._polls.items():
            gaps = [after - before for before, after in pairwise(times)]
            polls += len(gaps)
            too_long = [round(gap, 1) for gap in gaps if gap > LATE_SECONDS]
            late += len(too_long)
            if too_long:
                self._samples.add("late", name=name, gaps=too_long)
        return late, polls

    async def _scrape(self, operator: Operator) -> None:
        status, text = await asyncio.to_thread(operator.get, "/metrics", 30.0)
        if status == 200:
            for name, at in _POLLED.findall(text):
                times = self._polls.get(name)
                if times is not None and times[-1:] != [float(at)]:
                    times.append(float(at))
