"""What the benchmarks share: bars, the last line, raw samples, and how a process and the API server are observed."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bed import audit
from bed.kubeapi import ApiError, KubeApi
from bed.paths import REPOSITORY

_CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PARALLEL_REQUESTS = 20


def say(words: str) -> None:
    """Progress, for people, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Bar:
    """The most that a figure may be; `strictly` if it has to stay below."""

    figure: str
    most: float
    strictly: bool = False

    def met(self, figures: Mapping[str, float]) -> bool:
        value = figures[self.figure]
        return value < self.most if self.strictly else value <= self.most


def finish(figures: Mapping[str, float], bars: Sequence[Bar]) -> int:
    """Says which bars are met, prints the last line, and returns the exit status."""
    missed = 0
    for bar in bars:
        met = bar.met(figures)
        missed += not met
        sign = "<" if bar.strictly else "<="
        say(f"{'met   ' if met else 'MISSED'} {bar.figure} = {figures[bar.figure]:g}, bar {sign} {bar.most:g}")
    print(json.dumps(figures), flush=True)
    return 1 if missed else 0


class Samples:
    """The raw samples of a run, one JSON object per line, each with the time and the machine's load.

    `with Samples("fleet") as samples: samples.add("window", rss_mib=120)` writes build/bench/fleet.jsonl anew.
    """

    def __init__(self, benchmark: str) -> None:
        self.path = REPOSITORY / "build" / "bench" / f"{benchmark}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = self.path.open("w")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()

    def add(self, kind: str, **values: object) -> None:
        line = {"at": round(time.time(), 3), "kind": kind, "load": round(os.getloadavg()[0], 2), **values}
        self._sink.write(json.dumps(line) + "\n")
        self._sink.flush()


def percentile(values: Iterable[float], percent: float) -> float:
    """By nearest rank: the smallest value that at least so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds and has used, from /proc."""

    rss_mib: float
    cpu_seconds: float
    threads: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
        )
        # After the name in parentheses; utime and stime are fields 14 and 15 of proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return cls(
            int(status["VmRSS"].split()[0]) / 1024, ticks / _CLOCK_TICKS_PER_SECOND, int(status["Threads"].split()[0])
        )


def connections_to(pid: int, ports: Iterable[int]) -> int:
    """Established TCP connections that a process has to local ports."""
    wanted = set(ports)
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = entry.readlink().name if entry.is_symlink() else ""
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            remote_port = int(fields[2].rpartition(":")[2], 16)
            found += fields[3] == "01" and remote_port in wanted and fields[9] in inodes
    return found


def reads_and_writes(requests: Iterable[audit.Request]) -> tuple[Counter[str], Counter[str]]:
    """Counted by verb and resource; Lease renewals are in neither."""
    reads: Counter[str] = Counter()
    writes: Counter[str] = Counter()
    for request in requests:
        if request.resource == "leases":
            continue
        name = f"{request.verb} {request.resource}" + (f"/{request.subresource}" if request.subresource else "")
        (writes if request.verb in audit.WRITE_VERBS else reads)[name] += 1
    return reads, writes


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """One whose pods run on fake nodes."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"type": "kwok"},
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "consumer", "image": "consumer"}],
                },
            },
        },
    }


def autoscaler(name: str, **spec: object) -> dict[str, Any]:
    """A resource for the Deployment of the same name."""
    return {
        "apiVersion": "consumerautoscaler.dev/v1alpha1",
        "kind": "ConsumerAutoscaler",
        "metadata": {"name": name},
        "spec": {"targetRef": {"name": name}, **spec},
    }


DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
AUTOSCALERS = "/apis/consumerautoscaler.dev/v1alpha1/namespaces/{}/consumerautoscalers"


async def create(api: KubeApi, path: str, objects: Iterable[Mapping[str, Any]]) -> None:
    """POSTs all objects, some at a time. Raises ApiError."""
    gate = asyncio.Semaphore(_PARALLEL_REQUESTS)

    async def post(body: Mapping[str, Any]) -> None:
        async with gate:
            try:
                await api.call("POST", path, body)
            except ApiError as error:
                if error.status is not None:
                    raise
                await asyncio.sleep(1.0)  # no answer in time: a busy machine, once more
                await api.call("POST", path, body)

    await asyncio.gather(*(post(body) for body in objects))


async def until_ready(api: KubeApi, namespace: str, *, timeout_seconds: float = 300.0) -> None:
    """Until every Deployment of the namespace has all its pods ready. Raises TimeoutError."""
    async with asyncio.timeout(timeout_seconds):
        while True:
            items = (await api.call("GET", DEPLOYMENTS.format(namespace)))["items"]
            waiting = [d for d in items if (d.get("status") or {}).get("readyReplicas", 0) < d["spec"]["replicas"]]
            if not waiting:
                return
            await asyncio.sleep(2.0)
