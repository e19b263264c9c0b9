"""What a thousand or ten thousand resources cost at rest: memory, CPU, requests; and how soon all are served.

One resource, Deployment (one fake pod) and consumer group each, on a real API server and three real brokers. Ten
groups share a topic of ten partitions, so a reading is about 10,000 committed offsets and 1,000 partitions. Every
topic gets a record per second and every group commits each five seconds, as consumers do by default. `/metrics` is
scraped every 30 seconds. Then one SIGTERM.

From 5,000 resources on they log in as 50 users, by Secrets, so that the operator has 50 clients of Kafka; and groups
commit each 30 seconds, so that what plays their members does not take the cores from what is measured. The promise is
longer then, since what is not committed counts as waiting.

`poll_lateness_p95_s` is taken from outside: how much later than its place on the 15 s grid each resource was read in
each scraped interval, over all resources. The grid is where most readings begin to be worked on, so what every reading
takes is not in it, and what delays one of them is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import time
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench.common import (
    AUTOSCALERS,
    DEPLOYMENTS,
    Bar,
    Samples,
    Usage,
    autoscaler,
    connections_to,
    create,
    deployment,
    finish,
    percentile,
    reads_and_writes,
    say,
    until_ready,
)
from tests.bench.identities import LoginKafka, user_names
from tests.bench.stream import JOINED, group_names

from bed import audit
from bed.controlplane import ControlPlane
from bed.kafka import Counts, Kafka
from bed.kubeapi import KubeApi
from bed.kwok import Kwok
from bed.operator import USER, Operator, install
from bed.paths import REPOSITORY
from bed.processes import Process, ProcessFailed

NAMESPACE = "default"
POLL_SECONDS = 15
SCRAPE_SECONDS = 30
LONGEST_SETTLING_SECONDS = 600
# What only a reader of groups asks; the members and the producer of this benchmark have asked their share before.
READING = ("OffsetFetch", "ListOffsets", "DescribeGroups", "ConsumerGroupDescribe", "Metadata", "FindCoordinator")

MANY = 5000
USERS_OF_MANY = 50

BARS = (
    Bar("rss_mib", 150, strictly=True),
    Bar("cpu_cores", 0.2, strictly=True),
    Bar("poll_lateness_p95_s", 1, strictly=True),
    Bar("kube_writes_per_min", 200 / 5),
    Bar("kube_reads_per_min", 100 / 5),
    Bar("kafka_requests_per_min", 45),
    Bar("kafka_connections", 6),
    Bar("seconds_to_first_poll_of_all", 5),
    Bar("stop_seconds", 2, strictly=True),
)
BARS_OF_MANY = (
    Bar("rss_mib", 500, strictly=True),
    Bar("cpu_cores", 1, strictly=True),
    Bar("poll_lateness_p95_s", 1, strictly=True),
    Bar("kube_writes_per_min", 0),
)
FIRST_POLL_OF_MANY = Bar("seconds_to_first_poll_of_all", 10)  # asked of 5,000

_POLLED = re.compile(r'^consumer_autoscaler_last_successful_poll_timestamp_seconds\{.*name="([^"]+)".*\} (\S+)$', re.M)
_PATCHES = re.compile(r'^consumer_autoscaler_kube_requests_total\{[^}]*verb="patch"[^}]*\} (\S+)$', re.M)
_TICK_LATE = re.compile(r"^consumer_autoscaler_poll_lateness_seconds (\S+)$", re.M)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench fleet", description=__doc__)
    parser.add_argument("--n", dest="resources", type=int, default=1000, help="resources (1000)")
    parser.add_argument("--seconds", type=float, default=300, help="length of the measured window (300)")
    parser.add_argument("--settle", type=float, default=150, help="from the first poll to the window (150)")
    options = parser.parse_args(arguments)
    if options.resources < 1 or options.seconds < 2 * SCRAPE_SECONDS:
        parser.error(f"at least one resource and {2 * SCRAPE_SECONDS} seconds")
    many = options.resources >= MANY
    brokers = LoginKafka(users=USERS_OF_MANY, heap_mib=1500) if many else Kafka(brokers=3)
    bars = (*BARS_OF_MANY, *([FIRST_POLL_OF_MANY] if options.resources == MANY else [])) if many else BARS
    with (
        Samples("fleet") as samples,
        ControlPlane() as plane,
        brokers as kafka,
        Kwok(plane, nodes=4, pods_per_node=max(1000, options.resources)),
    ):
        install(plane)
        figures = asyncio.run(_Run(plane, kafka, samples, options).measure())
    return finish(figures, bars)


class _Run:
    def __init__(self, plane: ControlPlane, kafka: Kafka, samples: Samples, options: argparse.Namespace) -> None:
        self._plane, self._kafka, self._samples = plane, kafka, samples
        self._resources: int = options.resources
        self._seconds: float = options.seconds
        self._settle: float = options.settle
        self._names = group_names(self._resources)
        self._polls: dict[str, list[float]] = {name: [] for name in self._names}
        self._patches = 0.0  # by the operator's own count, when last scraped
        self._traffic: Process
        self._many = isinstance(kafka, LoginKafka)
        self._bootstrap = kafka.login_bootstrap if isinstance(kafka, LoginKafka) else kafka.bootstrap
        self._ports = [int(address.rpartition(":")[2]) for address in self._bootstrap.split(",")]

    async def measure(self) -> dict[str, float]:
        say(f"{self._resources} groups with a member each, and traffic for them")
        command = [sys.executable, "-m", "tests.bench.stream", f"--bootstrap={self._kafka.bootstrap}"]
        log = self._log("fleet-traffic.log")
        paths = [str(REPOSITORY), str(REPOSITORY / "deploy" / "dev")]
        self._traffic = Process(
            "traffic",
            [*command, f"--groups={self._resources}", *(["--commit-seconds=30"] if self._many else [])],
            log=log,
            env={"PYTHONPATH": os.pathsep.join(paths)},
            cwd=REPOSITORY,
        )
        try:
            self._traffic.wait_until(lambda: JOINED in log.read_text(), timeout_seconds=180 + 0.1 * self._resources)
            async with KubeApi(self._plane.kubeconfig) as api:
                await self._create_objects(api)
            return await self._with_operator()
        finally:
            self._traffic.stop(grace_seconds=0)

    def _log(self, name: str) -> Path:
        """A log file of this run beside the samples."""
        path = self._samples.path.with_name(name)
        path.unlink(missing_ok=True)
        return path

    async def _create_objects(self, api: KubeApi) -> None:
        say(f"{self._resources} Deployments")
        await create(api, DEPLOYMENTS.format(NAMESPACE), (deployment(name, 1) for name in self._names))
        await until_ready(api, NAMESPACE, timeout_seconds=300 + 0.2 * self._resources)
        if self._many:
            secrets = ({"metadata": {"name": user}, "stringData": {"username": user, "password": user}}
                       for user in user_names(USERS_OF_MANY))  # fmt: skip
            await create(api, f"/api/v1/namespaces/{NAMESPACE}/secrets", secrets)
        say(f"{self._resources} resources")
        resources = (self._resource(number, name) for number, name in enumerate(self._names))
        await create(api, AUTOSCALERS.format(NAMESPACE), resources)

    def _resource(self, number: int, name: str) -> dict[str, Any]:
        kafka: dict[str, Any] = {"bootstrapServers": self._bootstrap, "consumerGroup": name}
        if self._many:
            user = user_names(USERS_OF_MANY)[number % USERS_OF_MANY]
            kafka["sasl"] = {"mechanism": "PLAIN", "credentialsSecretRef": {"name": user}}
        return autoscaler(
            name,
            maxReplicas=10,
            sources=[{"name": "stream", "kafka": kafka}],
            objective={"maxDelaySeconds": 300 if self._many else 60},
            scaling={"pollIntervalSeconds": POLL_SECONDS},
        )

    async def _with_operator(self) -> dict[str, float]:
        begin = time.time()
        arguments = ("--allow-passwords-without-tls",) if self._many else ()
        operator = Operator(self._plane, log=self._log("fleet-operator.log"), arguments=arguments)
        try:
            first_poll = await self._first_poll_of_all(operator, begin)
            say(f"all polled {first_poll:.2f} s after the start of the process; settling for {self._settle:.0f} s")
            await self._settle_down(operator)
            figures = await self._window(operator)
            figures["seconds_to_first_poll_of_all"] = round(first_poll, 2)
            asked = time.monotonic()
            code = await asyncio.to_thread(operator.stop, grace_seconds=30)
            figures["stop_seconds"] = round(time.monotonic() - asked, 2)
            if code != 0:
                raise RuntimeError(f"the operator ended with {code}\n{operator.process.log_tail()}")
            return figures
        except BaseException:
            say(operator.process.log_tail(30))
            raise
        finally:
            operator.stop(grace_seconds=0)

    async def _first_poll_of_all(self, operator: Operator, begin: float) -> float:
        """From the start of the process to the first good reading of the last resource, by the operator's own times."""
        await asyncio.to_thread(operator.wait_working, 60)
        cpu = Usage.of(operator.process.pid).cpu_seconds
        self._samples.add("working", seconds=round(time.time() - begin, 2), cpu_seconds=cpu)
        end = time.monotonic() + 120 + 0.02 * self._resources
        first: dict[str, float] = {}
        while len(first) < self._resources:
            await asyncio.sleep(1.5)  # a scrape costs the operator as much as a reading: not while it is at its first
            await self._scrape(operator)
            for name, times in self._polls.items():
                if times:
                    first.setdefault(name, times[0])
            if time.monotonic() > end:
                raise TimeoutError(f"only {len(first)} of {self._resources} resources were read")
        for times in self._polls.values():
            times.clear()  # the first readings are not on the grid
        return max(first.values()) - begin

    async def _scrape(self, operator: Operator) -> None:
        status, text = await asyncio.to_thread(operator.get, "/metrics", 30.0)
        if status != 200:
            return
        for name, at in _POLLED.findall(text):
            times = self._polls[name]
            if not times or times[-1] != float(at):
                times.append(float(at))
        self._patches = sum(float(count) for count in _PATCHES.findall(text))
        usage = Usage.of(operator.process.pid)
        late = _TICK_LATE.search(text)
        self._samples.add(
            "scrape",
            rss_mib=round(usage.rss_mib, 1),
            cpu_seconds=usage.cpu_seconds,
            threads=usage.threads,
            patches=self._patches,
            tick_lateness_s=float(late.group(1)) if late else None,
        )

    async def _scrape_until(self, operator: Operator, end: float) -> float:
        """Scrapes every 30 s; returns the largest memory seen, looked at every second."""
        most_mib, next_scrape = 0.0, time.monotonic()
        while time.monotonic() < end:
            if time.monotonic() >= next_scrape:
                next_scrape += SCRAPE_SECONDS
                await self._scrape(operator)
                if self._traffic.returncode is not None:
                    raise ProcessFailed(f"the traffic ended\n{self._traffic.log_tail()}")
            most_mib = max(most_mib, Usage.of(operator.process.pid).rss_mib)
            await asyncio.sleep(min(1.0, max(0.0, end - time.monotonic())))
        return most_mib

    async def _settle_down(self, operator: Operator) -> None:
        """For the time asked for, then until nearly nothing is written any more: a busy machine takes longer."""
        await self._scrape_until(operator, time.monotonic() + self._settle)
        end = time.monotonic() + LONGEST_SETTLING_SECONDS
        while time.monotonic() < end:
            before = self._patches
            await self._scrape_until(operator, time.monotonic() + SCRAPE_SECONDS + 2)
            if self._patches - before <= self._resources / 100:
                return
        say("not at rest: measuring nevertheless")

    async def _window(self, operator: Operator) -> dict[str, float]:
        say(f"measuring for {self._seconds:.0f} s")
        pid = operator.process.pid
        for times in self._polls.values():
            times.clear()
        kafka_before = await asyncio.to_thread(self._kafka.counts)
        begin, wall, cpu = time.monotonic(), time.time(), Usage.of(pid).cpu_seconds
        most_mib = await self._scrape_until(operator, begin + self._seconds)
        cpu = Usage.of(pid).cpu_seconds - cpu
        minutes = (time.monotonic() - begin) / 60
        kafka_after = await asyncio.to_thread(self._kafka.counts)
        await asyncio.sleep(0.5)  # the audit log is written a moment after an answer
        found = await asyncio.to_thread(self._plane.audit, wall, user=USER)
        requests = [r for r in found if r.received_at < wall + 60 * minutes]
        reads, writes = reads_and_writes(requests)
        asked = {name: _difference(kafka_before, kafka_after, name) for name in READING}
        lateness = self._lateness()
        figures = {
            "resources": self._resources,
            "rss_mib": round(most_mib, 1),
            "cpu_cores": round(cpu / (60 * minutes), 3),
            "poll_lateness_p95_s": round(percentile(lateness, 95), 3),
            "kube_writes_per_min": round(writes.total() / minutes, 2),
            "kube_reads_per_min": round(reads.total() / minutes, 2),
            "kafka_requests_per_min": round(sum(asked.values()) / minutes, 2),
            "kafka_connections": connections_to(pid, self._ports),
        }
        self._samples.add(
            "window",
            figures=figures,
            reads=reads,
            writes=writes,
            writes_by_minute=Counter(
                int((r.received_at - wall) // 60)
                for r in requests
                if r.resource != "leases" and r.verb in audit.WRITE_VERBS
            ),
            kafka=asked,
            lateness_s={str(p): round(percentile(lateness, p), 3) for p in (50, 80, 90, 95, 99, 100)},
            lateness_samples=len(lateness),
            traffic=self._traffic.log_tail(int(6 * minutes)).splitlines(),
        )
        return figures

    def _lateness(self) -> list[float]:
        """Of each reading seen, after its place on the grid: where the second with the most readings begins."""
        phases = sorted(at % POLL_SECONDS for each in self._polls.values() for at in each)
        around = [*phases, *(phase + POLL_SECONDS for phase in phases)]
        begin = max(phases, key=lambda phase: bisect_left(around, phase + 1.0) - bisect_left(around, phase))
        return [(phase - begin) % POLL_SECONDS for phase in phases]


def _difference(before: Counts, after: Counts, name: str) -> int:
    return after.requests.get(name, 0) - before.requests.get(name, 0)
