"""A consumer group of real consumers, scaled in this process by the decision over real readings of it.

What the operator does in each cycle is done here in the same order: reading, `advance`, `decide`, scale. In place of
pods there are consumers (`bed.consume`), so a scenario needs no more than a broker and seconds. The history begins as
after a restart of an operator that knows the group: with its capacity, its start and its pause.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from prometheus_client import CollectorRegistry
from tests.addresses import ON_THIS_MACHINE
from tests.integration.support import eventually

from bed import kafka_admin
from bed.consume import LimitedConsumer, Settings
from bed.kafka import Kafka
from bed.pace import Pace
from bed.paths import REPOSITORY
from bed.processes import Process, free_port
from bed.produce import LoadProducer, Profile
from consumer_autoscaler.decision.advance import advance, after_scaling, age_in_doubt, resumed
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.looks import look_again_seconds
from consumer_autoscaler.decision.reasons import ConditionType
from consumer_autoscaler.decision.values import Decision, Observation, OffsetReset, Policy, Scale
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.protocol import GroupRequest

COMMIT_SECONDS = 1.0
START_SECONDS, PAUSE_SECONDS = 3.0, 1.0  # what an operator that has scaled such a group before has learned


@dataclass(slots=True)
class _Task:
    """A consumer in this process. It always leaves in good order."""

    consumer: LimitedConsumer
    task: asyncio.Task[None]

    async def ready(self) -> bool:
        if self.task.done():
            self.task.result()
        return self.consumer.joined

    async def stop(self) -> None:
        self.consumer.stop.set()
        await self.task


@dataclass(slots=True)
class _Child:
    """A consumer in a process of its own, so that it can be killed."""

    process: Process
    page: str

    async def ready(self) -> bool:
        try:
            async with aiohttp.ClientSession() as http, http.get(self.page) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def stop(self) -> None:
        await asyncio.to_thread(self.process.stop)


@dataclass(slots=True)
class Crew:
    """`async with Crew(...) as crew` has the consumers in the group and the load running.

    `pace` and the database may be changed at any time. `seen` has every decision with its time since the beginning.
    """

    kafka: Kafka
    label: str
    folder: Path
    policy: Policy
    pace: Pace
    arriving_per_second: float
    partitions: int = 8
    replicas: int = 2
    hot_share: float = 0.0
    database: str | None = None
    in_processes: bool = False
    seen: list[tuple[float, Decision]] = field(default_factory=list)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _members: list[_Task | _Child] = field(default_factory=list)
    _numbers: int = 0
    _stopping: set[asyncio.Task[None]] = field(default_factory=set)
    _deciding: asyncio.Task[None] = field(init=False)

    async def __aenter__(self) -> Self:
        self.label = f"{self.label}-{secrets.token_hex(2)}"
        await kafka_admin.create_topics(self.kafka.bootstrap, [kafka_admin.Topic(self.label, self.partitions)])
        self._stack.push_async_callback(self._end)
        self._follow()
        await eventually(self._all_ready)
        over = asyncio.Event()
        load = LoadProducer(self.kafka.bootstrap, self.label, self.partitions, hot_share=self.hot_share)
        profile = Profile.parse(str(self.arriving_per_second))
        results = self.folder / f"{self.label}.jsonl"
        sending = asyncio.create_task(load.run(profile, duration_seconds=3600, stop=over, results=results))
        self._deciding = deciding = asyncio.create_task(self._decide())

        async def end_both() -> None:
            over.set()
            await sending
            deciding.cancel()
            await asyncio.wait([deciding])

        self._stack.push_async_callback(end_both)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # what a test sees

    @property
    def reasons(self) -> list[str]:
        """Every reason of `Backpressured`, in order, without repeats."""
        found: list[str] = []
        for _, decision in self.seen:
            if found[-1:] != [reason_of(decision)]:
                found.append(reason_of(decision))
        return found

    @property
    def counts(self) -> list[int]:
        """Every count that was decided for, in order, without repeats."""
        counts = [decision.desired for _, decision in self.seen if decision.desired is not None]
        return counts[:1] + [after for before, after in pairwise(counts) if after != before]

    @property
    def ups(self) -> list[tuple[float, int, int, str]]:
        """Second, count before, count after, and why, of every up."""
        pairs = pairwise((at, decision.desired or 0, decision.message) for at, decision in self.seen)
        return [(round(at), before, after, why) for (_, before, _), (at, after, why) in pairs if after > before > 0]

    async def until(self, reason: str, *, within_seconds: float, holds_seconds: float = 0.0) -> str:
        """Until the reason has been said for so long without a break; returns the last message."""
        begin = time.monotonic()
        since: float | None = None
        while True:
            await asyncio.sleep(0.2)
            if self._deciding.done():
                self._deciding.result()
            now = time.monotonic()
            said = self.seen and reason_of(self.seen[-1][1]) == reason
            since = (since or now) if said else None
            if since is not None and now - since >= holds_seconds:
                return message_of(self.seen[-1][1])
            if now - begin > within_seconds + holds_seconds:
                last = f"{self.seen[-1][1].message}; {message_of(self.seen[-1][1])}" if self.seen else "no decision"
                raise AssertionError(f"{self.label}: {self.reasons}, counts {self.counts}, not {reason}: {last}")

    async def goes_on(self, seconds: float) -> None:
        """Lets time go by."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.2)
            if self._deciding.done():
                self._deciding.result()

    def kill_one(self) -> None:
        """A consumer that dies on the spot, without a word to the group; another one is started in its place."""
        victim = self._members.pop(0)
        assert isinstance(victim, _Child)
        victim.process.stop(grace_seconds=0)
        self._follow()

    # the cycle

    async def _decide(self) -> None:
        began = time.monotonic()
        source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
        request = GroupRequest(
            bootstrap_servers=(self.kafka.bootstrap,),
            consumer_group=self.label,
            topics=(self.label,),
            offset_reset=OffsetReset.EARLIEST,
            interval_seconds=self.policy.poll_interval_seconds,
        )
        subscription = source.subscribe(request)
        history = resumed(
            capacity_per_replica=1 / self.pace.seconds_per_record,
            start_seconds=START_SECONDS,
            rebalance_seconds=PAUSE_SECONDS,
            changed_at=None,
        )
        try:
            while True:
                group = await subscription.next()
                now = time.time()
                scale = Scale(replicas=self.replicas, ready=min(self.replicas, await self._ready()), uid="crew")
                observation = Observation(at=now, group=group, scale=scale)
                history = advance(self.policy, history, observation, now)
                subscription.look_up_older_than(age_in_doubt(self.policy, history, now))
                soon = look_again_seconds(self.policy, history)
                if soon is not None:
                    subscription.look_again(soon)
                decision = decide(self.policy, observation, history, now)
                self.seen.append((time.monotonic() - began, decision))
                if decision.desired is not None and decision.desired != self.replicas:
                    history = after_scaling(history, decision.desired, now)
                    self.replicas = decision.desired
                    self._follow()
        finally:
            subscription.close()
            await source.aclose()

    def _follow(self) -> None:
        """As many consumers as there are replicas; the newest go first."""
        while len(self._members) < self.replicas:
            self._members.append(self._child() if self.in_processes else self._task())
        while len(self._members) > self.replicas:
            stopping = asyncio.create_task(self._members.pop().stop())
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    def _task(self) -> _Task:
        self._numbers += 1
        settings = Settings(
            bootstrap=self.kafka.bootstrap,
            group=self.label,
            topics=(self.label,),
            pace=lambda: self.pace,
            batch=20,
            commit_interval_seconds=COMMIT_SECONDS,
            session_timeout_seconds=10.0,
            heartbeat_seconds=0.5,
            assignor="roundrobin",
            name=f"{self.label}-{self._numbers}",
            database=self.database,
        )
        consumer = LimitedConsumer(settings, CollectorRegistry())
        return _Task(consumer, asyncio.create_task(consumer.run()))

    def _child(self) -> _Child:
        self._numbers += 1
        port = free_port()
        command = [
            *(sys.executable, "-m", "bed.workload", "consume", "--bootstrap", self.kafka.bootstrap),
            *("--group", self.label, "--topic", self.label, "--rate", str(1 / self.pace.seconds_per_record)),
            *("--batch", "20", "--session-timeout", "10", "--port", str(port)),
        ]
        paths = {"PYTHONPATH": str(REPOSITORY / "deploy" / "dev")}
        process = Process("consumer", command, log=self.folder / f"{self.label}.log", env=paths)
        return _Child(process, f"http://127.0.0.1:{port}/ready")

    async def _all_ready(self) -> bool:
        return await self._ready() >= self.replicas

    async def _ready(self) -> int:
        return sum(await asyncio.gather(*(member.ready() for member in self._members)))

    async def _end(self) -> None:
        await asyncio.gather(*(member.stop() for member in self._members), *self._stopping)


def reason_of(decision: Decision) -> str:
    return next(c.reason for c in decision.conditions if c.type is ConditionType.BACKPRESSURED)


def message_of(decision: Decision) -> str:
    return next(c.message for c in decision.conditions if c.type is ConditionType.BACKPRESSURED)
