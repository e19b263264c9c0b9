"""The IoT scenario on real parts: a topic of 20 partitions, consumers with a limited write rate, the operator, a load.

The demo plays it once, benchmarks play it longer. What is reported is measured where it happens: lateness by the
consumers when they commit, replicas at the API server, lag and delay as the operator sees them.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bed import lateness
from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.operator import Operator, install
from bed.paths import REPOSITORY
from bed.processes import Process, ProcessFailed
from bed.processnode import ProcessNode

NAME = "telemetry-writer"
TOPIC = "sensors.readings"
PARTITIONS = 20
RATE_PER_REPLICA = 100  # records per second that one consumer writes, in batches of 100
PROMISE_SECONDS = 60
POLL_SECONDS = 5
START_REPLICAS = 1
_START_SECONDS = 90

_SERIES = re.compile(r"^consumer_autoscaler_(\w+)\{[^}]*\} (\S+)$", re.MULTILINE)


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
    """`with Scenario() as scene` has everything running with one replica ready and no load yet."""

    def __init__(self, *, promise_seconds: int = PROMISE_SECONDS, poll_seconds: int = POLL_SECONDS) -> None:
        self.promise_seconds, self.poll_seconds = promise_seconds, poll_seconds
        self.samples: list[Sample] = []
        self._stack = ExitStack()
        self._producer: Process | None = None
        self._began = 0.0
        self._profile: list[tuple[float, float]] = []

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
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bed-scenario-")))
        self.results = self.folder / "results"
        say("control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler")
        self.controlplane = self._stack.enter_context(ControlPlane())
        say("broker: Kafka, one node, KRaft")
        self.kafka = self._stack.enter_context(Kafka())
        self.kafka.create_topic(TOPIC, PARTITIONS)
        say("process node: runs the pods' commands as processes of this machine")
        self._stack.enter_context(ProcessNode(self.controlplane, self.folder / "node"))
        say("custom resource definition and roles, with kubectl")
        install(self.controlplane)
        say("operator, and a Deployment of consumers")
        self.operator = self._stack.enter_context(Operator(self.controlplane))
        self.controlplane.kubectl("apply", "-f", "-", input=self._deployment())
        self.controlplane.kubectl("apply", "-f", "-", input=self._resource())
        end = time.monotonic() + _START_SECONDS
        while self._replicas()[1] < START_REPLICAS or self._figures().get("lag_records") is None:
            if time.monotonic() > end:
                raise ProcessFailed(f"the first consumer is not ready\n{self.operator.process.log_tail()}")
            time.sleep(0.5)

    def begin(self, profile: list[tuple[float, float]]) -> None:
        """Starts the load: (seconds, records per second) points, linear between them."""
        text = ",".join(f"{seconds:g}:{rate:g}" for seconds, rate in profile)
        self._profile, self._began = profile, time.monotonic()
        self.samples.clear()
        self._producer = Process(
            "producer",
            [
                *(sys.executable, "-m", "bed.workload", "produce", "--bootstrap", self.kafka.bootstrap),
                *("--topic", TOPIC, "--partitions", str(PARTITIONS), "--profile", text),
            ],
            log=self.folder / "producer.log",
            env={"PYTHONPATH": str(REPOSITORY / "deploy" / "dev")},
        )
        self._stack.callback(self._producer.stop)

    def look(self) -> Sample:
        """One sample, kept in `samples`. Raises ProcessFailed when a part has ended by itself."""
        for process in (self.operator.process, self._producer):
            if process is not None and process.returncode not in (None, 0):
                raise ProcessFailed(f"{process.name} ended with {process.returncode}\n{process.log_tail()}")
        seconds = time.monotonic() - self._began
        replicas, ready = self._replicas()
        figures = self._figures()
        sample = Sample(
            seconds=seconds,
            planned_per_second=planned_rate(self._profile, seconds),
            replicas=replicas,
            ready=ready,
            lag_messages=figures.get("lag_records"),
            delay_seconds=figures.get("lag_seconds"),
            arrival_per_second=figures.get("arrival_rate_records_per_second"),
            capacity_per_second=figures.get("capacity_per_replica_records_per_second"),
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
        pairs = list(zip(self.samples, self.samples[1:], strict=False))
        return Summary(
            records=ages.records,
            late_share=ages.late_share(self.promise_seconds),
            delay_max_seconds=round(ages.longest_seconds, 1),
            replica_seconds=round(sum(a.replicas * (b.seconds - a.seconds) for a, b in pairs)),
            scalings=sum(1 for a, b in pairs if a.replicas != b.replicas),
            replicas_first=counts[0],
            replicas_most=max(counts),
            replicas_last=counts[-1],
            lag_last=self.samples[-1].lag_messages,
        )

    def save(self, path: Path) -> None:
        """The raw samples, one JSON line each."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(asdict(sample)) + "\n" for sample in self.samples))

    def _replicas(self) -> tuple[int, int]:
        shown = self.controlplane.kubectl(
            "get", "deployment", NAME, "-o", "jsonpath={.spec.replicas} {.status.readyReplicas}"
        ).split()
        return int(shown[0]), int(shown[1]) if len(shown) > 1 else 0

    def _figures(self) -> dict[str, float]:
        status, text = self.operator.get("/metrics")
        return {name: float(value) for name, value in _SERIES.findall(text)} if status == 200 else {}

    def _deployment(self) -> str:
        command = [
            *(sys.executable, "-m", "bed.workload", "consume", "--bootstrap", self.kafka.bootstrap),
            *("--group", NAME, "--topic", TOPIC, "--rate", str(RATE_PER_REPLICA), "--batch", "100"),
        ]
        env = [
            {"name": "PYTHONPATH", "value": os.pathsep.join([str(REPOSITORY / "deploy" / "dev")])},
            {"name": "RESULTS_DIR", "value": str(self.results)},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ]
        container = {
            "name": "consumer",
            "image": "none",
            "command": command,
            "env": env,
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 9100}, "periodSeconds": 1},
        }
        labels = {"app": NAME}
        return json.dumps(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": NAME},
                "spec": {
                    "replicas": START_REPLICAS,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {
                            "nodeSelector": {"bed/process-node": "true"},
                            "terminationGracePeriodSeconds": 10,
                            "containers": [container],
                        },
                    },
                },
            }
        )

    def _resource(self) -> str:
        return json.dumps(
            {
                "apiVersion": "consumerautoscaler.dev/v1alpha1",
                "kind": "ConsumerAutoscaler",
                "metadata": {"name": NAME},
                "spec": {
                    "targetRef": {"kind": "Deployment", "name": NAME},
                    "minReplicas": 1,
                    "maxReplicas": PARTITIONS,
                    "sources": [
                        {
                            "name": "readings",
                            "kafka": {
                                "bootstrapServers": self.kafka.bootstrap,
                                "consumerGroup": NAME,
                                "topics": [TOPIC],
                                "offsetReset": "Earliest",
                            },
                        }
                    ],
                    "objective": {"maxDelaySeconds": self.promise_seconds},
                    "scaling": {"pollIntervalSeconds": self.poll_seconds},
                },
            }
        )


def planned_rate(profile: list[tuple[float, float]], seconds: float) -> float:
    """Records per second by the profile; after its last point as at it."""
    before = profile[0]
    for point in profile:
        if point[0] >= seconds:
            span = point[0] - before[0]
            return point[1] if span <= 0 else before[1] + (point[1] - before[1]) * (seconds - before[0]) / span
        before = point
    return profile[-1][1]


def say(what: str) -> None:
    """Progress, on standard error."""
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)
