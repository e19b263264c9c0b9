"""A group on real parts: a topic, consumers, the operator, a load that follows a profile.

The demo plays a story once, benchmarks play longer ones. What is reported is measured where it happens: lateness by
the consumers when they commit, replicas at the API server, lag and delay as the operator sees them.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bed import consumers, lateness, pace
from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.operator import Operator, install
from bed.pace import Pace, PaceFile
from bed.paths import REPOSITORY
from bed.processes import Process, ProcessFailed, free_port
from bed.processnode import ProcessNode

PARTITIONS = 20
RATE_PER_REPLICA = 100  # records per second that one consumer of the telemetry writes, in batches of 100
_START_SECONDS = 90

_SERIES = re.compile(r"^consumer_autoscaler_(\w+)\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is put up. `pace_points`: (seconds, mean seconds per record) from the beginning of the load on, with the
    rest of `pace`; None: `rate_per_replica` all the time. `database_per_second`: rows that one database behind all
    consumers takes; None: there is none.
    """

    name: str = "telemetry-writer"
    topic: str = "sensors.readings"
    partitions: int = PARTITIONS
    max_replicas: int = PARTITIONS
    start_replicas: int = 1
    rate_per_replica: float = RATE_PER_REPLICA
    batch: int = 100
    promise_seconds: int = 60
    poll_seconds: int = 5
    pod_metrics: bool = False
    pace: Pace | None = None
    pace_points: tuple[tuple[float, float], ...] = ()
    database_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the scene. None is unknown."""

    seconds: float  # since the load began
    planned_per_second: float
    replicas: int
    ready: int
    lag_messages: float | None
    delay_seconds: float | None
    arrival_per_second: float | None
    capacity_per_second: float | None
    backpressured: str = ""  # the condition's reason, empty while there is none
    seconds_per_record: float | None = None  # the mean that consumers take now, by the plan


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of it. Late: committed more than the promise after the record's timestamp."""

    records: int
    late_share: float
    delay_max_seconds: float
    replica_seconds: float
    scalings: int
    replicas_first: int
    replicas_most: int
    replicas_last: int
    lag_last: float | None


class Scenario:
    """`with Scenario() as scene` has everything running with the first replicas ready and no load yet."""

    def __init__(self, setting: Setting | None = None) -> None:
        self.setting = setting or Setting()
        self.samples: list[Sample] = []
        self._stack = ExitStack()
        self._producer: Process | None = None
        self._began = 0.0
        self._profile: Sequence[tuple[float, float]] = ()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        setting = self.setting
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bed-scenario-")))
        self.results = self.folder / "results"
        say("control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler")
        self.controlplane = self._stack.enter_context(ControlPlane())
        say("broker: Kafka, one node, KRaft")
        self.kafka = self._stack.enter_context(Kafka())
        self.kafka.create_topic(setting.topic, setting.partitions)
        say("process node: runs the pods' commands as processes of this machine")
        self._stack.enter_context(ProcessNode(self.controlplane, self.folder / "node"))
        say("custom resource definition and roles, with kubectl")
        install(self.controlplane)
        say("operator, and a Deployment of consumers")
        self.operator = self._stack.enter_context(Operator(self.controlplane))
        for body in self._objects():
            self.controlplane.kubectl("apply", "-f", "-", input=json.dumps(body))
        end = time.monotonic() + _START_SECONDS
        while self._shown()[1] < setting.start_replicas or self._figures().get("lag_records") is None:
            if time.monotonic() > end:
                raise ProcessFailed(f"the first consumer is not ready\n{self.operator.process.log_tail()}")
            time.sleep(0.5)

    def begin(self, profile: Sequence[tuple[float, float]]) -> None:
        """Starts the load: (seconds, records per second) points, linear between them."""
        text = ",".join(f"{seconds:g}:{rate:g}" for seconds, rate in profile)
        self._profile, self._began = profile, time.monotonic()
        self.samples.clear()
        self._producer = self._program(
            "producer",
            *("produce", "--bootstrap", self.kafka.bootstrap, "--topic", self.setting.topic),
            *("--partitions", str(self.setting.partitions), "--profile", text),
        )

    def look(self) -> Sample:
        """One sample, kept in `samples`. Raises ProcessFailed when a part has ended by itself."""
        for process in (self.operator.process, self._producer):
            if process is not None and process.returncode not in (None, 0):
                raise ProcessFailed(f"{process.name} ended with {process.returncode}\n{process.log_tail()}")
        seconds = time.monotonic() - self._began
        mean = self._keep_pace(seconds)
        replicas, ready, status = self._shown()
        figures = self._figures()
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        sample = Sample(
            seconds=seconds,
            planned_per_second=pace.at(self._profile, seconds),
            replicas=replicas,
            ready=ready,
            lag_messages=figures.get("lag_records"),
            delay_seconds=figures.get("lag_seconds"),
            arrival_per_second=figures.get("arrival_rate_records_per_second"),
            capacity_per_second=figures.get("capacity_per_replica_records_per_second"),
            backpressured=conditions.get("Backpressured", {}).get("reason", ""),
            seconds_per_record=mean,
        )
        self.samples.append(sample)
        return sample

    def last_event(self) -> str:
        """Reason and note of the newest Event of the resource."""
        text = self.controlplane.kubectl("get", "events.events.k8s.io", "-n", "default", "-o", "json")
        events = [e for e in json.loads(text)["items"] if e["regarding"].get("kind") == "ConsumerAutoscaler"]
        newest = max(events, key=lambda e: e["metadata"]["creationTimestamp"] + e["metadata"]["name"], default=None)
        return f"{newest['reason']}: {newest['note']}" if newest else ""

    def summary(self) -> Summary:
        """Over all samples since `begin`, and all that the consumers have committed."""
        ages = lateness.total(lateness.read(self.results))
        counts = [sample.replicas for sample in self.samples]
        return Summary(
            records=ages.records,
            late_share=ages.late_share(self.setting.promise_seconds),
            delay_max_seconds=round(ages.longest_seconds, 1),
            replica_seconds=round(sum(a.replicas * (b.seconds - a.seconds) for a, b in pairwise(self.samples))),
            scalings=sum(1 for a, b in pairwise(counts) if a != b),
            replicas_first=counts[0],
            replicas_most=max(counts),
            replicas_last=counts[-1],
            lag_last=self.samples[-1].lag_messages,
        )

    def save(self, path: Path) -> None:
        """The raw samples, one JSON line each."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(asdict(sample)) + "\n" for sample in self.samples))

    def _shown(self) -> tuple[int, int, dict[str, Any]]:
        """Replicas, ready ones, and the status of the resource."""
        name = self.setting.name
        text = self.controlplane.kubectl("get", f"deployment.apps/{name}", f"cas/{name}", "-o", "json")
        target, resource = json.loads(text)["items"]
        return target["spec"]["replicas"], target["status"].get("readyReplicas", 0), resource.get("status") or {}

    def _figures(self) -> dict[str, float]:
        status, text = self.operator.get("/metrics")
        return {name: float(value) for name, value in _SERIES.findall(text)} if status == 200 else {}

    def _keep_pace(self, seconds: float) -> float | None:
        """Tells the consumers the pace of this moment, and returns its mean."""
        setting = self.setting
        if setting.pace is None:
            return None
        mean = pace.at(setting.pace_points, seconds) if setting.pace_points else setting.pace.seconds_per_record
        PaceFile.write(self.folder / "pace.json", replace(setting.pace, seconds_per_record=mean))
        return mean

    def _objects(self) -> list[dict[str, Any]]:
        """The Deployment and the resource; what stands behind the consumers is started on the way."""
        setting = self.setting
        arguments = ["--rate", str(setting.rate_per_replica), "--batch", str(setting.batch)]
        if self._keep_pace(0.0) is not None:
            arguments += ["--pace", str(self.folder / "pace.json")]
        if setting.database_per_second is not None:
            port = free_port()
            self._program("database", "database", "--rate", str(setting.database_per_second), "--port", str(port))
            arguments += ["--database", f"127.0.0.1:{port}"]
        name, topic, bootstrap = setting.name, setting.topic, self.kafka.bootstrap
        return [
            consumers.deployment(
                name,
                bootstrap=bootstrap,
                topic=topic,
                replicas=setting.start_replicas,
                arguments=arguments,
                results=self.results,
            ),
            consumers.autoscaler(
                name,
                bootstrap=bootstrap,
                topic=topic,
                max_replicas=setting.max_replicas,
                promise_seconds=setting.promise_seconds,
                poll_seconds=setting.poll_seconds,
                pod_metrics=setting.pod_metrics,
            ),
        ]

    def _program(self, name: str, *arguments: str) -> Process:
        process = Process(
            name,
            [sys.executable, "-m", "bed.workload", *arguments],
            log=self.folder / f"{name}.log",
            env={"PYTHONPATH": str(REPOSITORY / "deploy" / "dev")},
        )
        self._stack.callback(process.stop)
        return process


def say(what: str) -> None:
    """Progress, on standard error."""
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)
