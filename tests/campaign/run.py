"""One run: a story in a namespace of its own, with an operator and a network of its own, and at most one fault."""

from __future__ import annotations

import asyncio
import inspect
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from tests.campaign.apiproxy import ApiProxy
from tests.campaign.judge import OPEN_FILES_TO_SPARE, Condition, Expected, Outcome, always, judge
from tests.campaign.kafkaproxy import KafkaProxy
from tests.campaign.operators import KeptOperator
from tests.campaign.starvation import Starvation
from tests.campaign.stories import PARTITIONS, START, STORIES, Story
from tests.integration.site import Site
from tests.integration.support import Bed, eventually

from bed import kafka_admin
from bed.audit import Request
from bed.kubeapi import ApiError
from bed.operator import NAMESPACE, SERVICE_ACCOUNT, USER

HOLD_POLLS = 4  # resources here poll every second: what does not move for so many polls holds
BASELINE_POLLS = 10
SETTLED_SECONDS = 30.0
STEP_SECONDS = 120.0
ATTEMPTS = 3
FORGOTTEN_SECONDS = 60.0
STUCK_SECONDS = 240.0
UNTIL_THE_END = (math.inf, math.inf)


Inject: TypeAlias = "Callable[[Run], AbstractAsyncContextManager[None]]"


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the checklist, or one of several kinds of it.

    `inject(run)` is a context manager: entering begins the fault, leaving ends it. The seed chooses the story, the
    moment at which it begins and how long it lasts, within what is given here. `seconds=UNTIL_THE_END` is for those
    that wait for something that the story brings.
    """

    row: str
    name: str
    inject: Inject
    stories: tuple[str, ...] = ("up", "zero", "bounds", "pause")
    moments: tuple[str, ...] = ()
    """Of these only; empty: any of the story's but the start."""
    seconds: tuple[float, float] = (2.0, 6.0)
    expected: Expected = field(default_factory=Expected)
    flags: tuple[str, ...] = ()
    """More flags for the operator."""
    shimmed: bool = False
    """Whether the operator's clock can be moved and its event loop be held up: `run.kept.clock`, `run.kept.block`."""
    piped: bool = False
    """Whether what the operator logs goes through `run.kept.pipe`."""

    kind: str = ""
    """What it is called in the results, together with others of its kind; the name when empty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.kind or self.name)

    @property
    def what(self) -> str:
        """A sentence about it: the first of the injector's own words."""
        return " ".join((inspect.getdoc(self.inject) or "").partition("\n\n")[0].split())

    def drawn(self, seed: int) -> tuple[Story, str, float, random.Random]:
        """Story, moment and seconds of a seed, and the chance that is left for `inject`."""
        chance = random.Random(f"{self.row} {self.name} {seed}")
        story = STORIES[self.stories[seed % len(self.stories)]]
        moments = [each for each in story.moments if each in self.moments] or list(self.moments or story.moments)
        seconds = math.inf if self.seconds == UNTIL_THE_END else round(chance.uniform(*self.seconds), 1)
        return story, chance.choice(moments), seconds, chance


@dataclass(slots=True)
class Run:
    """What a story and a fault may use."""

    world: World
    site: Site
    kafka: KafkaProxy
    stack: AsyncExitStack
    chance: random.Random
    outcome: Outcome
    seconds: float
    fault: Fault | None
    member: AIOKafkaConsumer | None
    proxy: ApiProxy = field(init=False)
    kept: KeptOperator = field(init=False)
    others: list[KeptOperator] = field(default_factory=list)
    _ending: asyncio.Task[None] | None = None
    _played: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def bed(self) -> Bed:
        return self.world.bed

    @property
    def within_seconds(self) -> float:
        """How long a step of the story may take: a fault may be in its way until it ends."""
        return STEP_SECONDS + (0.0 if math.isinf(self.seconds) else self.seconds)

    async def until_replicas(self, count: int) -> None:
        await self.site.until_replicas(count, within_seconds=self.within_seconds)

    async def also(self) -> tuple[KeptOperator, ApiProxy]:
        """One more operator of the same Lease, behind a proxy of its own, until the run ends; returns when it is ready.

        The first stays `run.kept`.
        """
        kept, proxy = await self.made(f"{self.site.name}-{len(self.others) + 2}")
        self.others.append(kept)
        await self.stack.enter_async_context(kept)
        await kept.until_ready()
        return kept, proxy

    async def made(self, name: str) -> tuple[KeptOperator, ApiProxy]:
        """An operator that is not started yet."""
        proxy = await self.stack.enter_async_context(ApiProxy(self.world.kubeconfig))
        kubeconfig = proxy.kubeconfig(self.bed.controlplane.folder / "kubeconfigs" / f"{name}.yaml")
        fault = self.fault
        kept = KeptOperator(
            self.bed, name, namespace=self.site.name, lease=self.site.name, kubeconfig=kubeconfig,
            flags=fault.flags if fault else (), shimmed=fault is not None and fault.shimmed,
            piped=fault is not None and fault.piped,
        )  # fmt: skip
        return kept, proxy

    async def moment(self, name: str) -> None:
        """A place in the story where the fault begins, if it is this one's. Returns when it has begun."""
        if self.fault is None or name != self.outcome.moment or self._ending is not None:
            return
        stack = AsyncExitStack()
        await stack.enter_async_context(self.fault.inject(self))

        async def end() -> None:
            async with stack:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._played.wait(), None if math.isinf(self.seconds) else self.seconds)

        self._ending = asyncio.create_task(end(), name=f"fault of {self.site.name}")

    async def produce(self, *per_partition: int) -> None:
        """So many records to partition 0, 1, …, all at once: a poll in between would make steps of its own."""
        await kafka_admin.produce_at_once(
            self.site.kafka.bootstrap, self.site.topics[0], dict(enumerate(per_partition))
        )

    async def holds(self) -> None:
        """The count stays as it is for some polls of an operator that works, of one that was just started too."""
        count = self.site.counts[-1]
        await asyncio.sleep(1)  # in which one that is to be killed for its last write is

        async def works() -> bool:
            each = (self.kept, *self.others)
            return any([await asyncio.to_thread(kept.operator.get, "/readyz") == (200, "working") for kept in each])

        await eventually(works, self.within_seconds)
        await self.site.holds(count, polls=HOLD_POLLS)

    async def work_off(self) -> None:
        """The group has done all that was produced."""
        ends = await kafka_admin.end_offsets(self.site.kafka.bootstrap, self.site.topics[0])
        if self.member is None:
            await self.site.commit(*(ends[partition] for partition in sorted(ends)))
        else:
            await eventually(lambda: self._committed(ends), 60)

    async def _committed(self, ends: Mapping[TopicPartition, int]) -> bool:
        """False while the group rebalances, when nobody holds a partition to commit for."""
        assert self.member is not None
        try:
            await self.member.commit(dict(ends))
        except KafkaError:
            return False
        return True

    async def fault_over(self) -> None:
        """Returns when the fault has ended; one without an end of its own ends now."""
        if math.isinf(self.seconds):
            self._played.set()
        if self._ending is not None:
            try:
                await self._ending
            except AssertionError as error:
                self.outcome.differences.append(f"{error}"[:300])
                self._ending = None


class World:
    """What all runs of a campaign share. `async with World(bed) as world: await world.run(...)`."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.baselines: dict[str, list[Outcome]] = defaultdict(list)
        self._starvation = Starvation()
        self._tail = bed.controlplane.audit_tail()
        self._requests: dict[str, list[Request]] = defaultdict(list)

    async def __aenter__(self) -> Self:
        plane = self.bed.controlplane
        self.kubeconfig = await self.bed.aside(plane.kubeconfig_for, NAMESPACE, SERVICE_ACCOUNT)
        self.nobody = (
            await self.bed.aside(plane.kubectl, "create", "token", "default", "-n", NAMESPACE, "--duration=24h")
        ).strip()
        """The token of an account without any right."""
        await self._starvation.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._starvation.__aexit__(kind, error, trace)

    async def baseline(self, story: Story, *, runs: int = 2) -> list[Outcome]:
        """Runs without a fault, for comparison; several, because a poll falls now here, now there.

        Gives them all; only those without a finding are compared with.
        """
        found = await asyncio.gather(*(self._judged(story, None, seed, "", 0.0) for seed in range(runs)))
        self.baselines[story.name] += [each for each in found if not each.bad]
        return found

    async def run(self, fault: Fault, seed: int) -> Outcome:
        """One run with a fault, judged."""
        story, moment, seconds, _ = fault.drawn(seed)
        return await self._judged(story, fault, seed, moment, seconds)

    async def _judged(self, story: Story, fault: Fault | None, seed: int, moment: str, seconds: float) -> Outcome:
        """What is odd while the machine was starved is run again, for a Lease may have run out by that alone, and so is
        what did not even begin. Counts that are wrong are so whatever the machine does: those are never run again.
        """
        for attempt in range(ATTEMPTS):
            begin = time.monotonic()
            chance = random.Random(seed) if fault is None else fault.drawn(seed)[3]
            outcome = await self._perform(story, fault, seed, moment, seconds, chance)
            baselines = self.baselines[story.name] if fault else ()
            judge(outcome, baselines, fault.expected if fault else Expected(), story.counts)
            outcome.repeats = attempt
            if outcome.wrong_scale_writes or outcome.double_steps or not outcome.bad:
                break
            if outcome.counts and not self._starvation.starved(begin):
                break
        return outcome

    def requests_in(self, namespace: str) -> list[Request]:
        """What the operators have asked of the API server in a namespace, by its audit log."""
        for request in self._tail.read():
            if request.user == USER and request.namespace:
                self._requests[request.namespace].append(request)
        return self._requests[namespace]

    async def _perform(
        self, story: Story, fault: Fault | None, seed: int, moment: str, seconds: float,
        chance: random.Random,
    ) -> Outcome:  # fmt: skip
        outcome = Outcome(
            row=fault.row if fault else "-", fault=fault.name if fault else "-", story=story.name, seed=seed,
            moment=moment, fault_seconds=0.0 if math.isinf(seconds) else seconds,
        )  # fmt: skip
        begin = time.monotonic()
        label = f"c-{outcome.row.lower().strip('-') or 'base'}-{story.name}"
        try:
            async with (
                asyncio.timeout(STUCK_SECONDS + (0 if math.isinf(seconds) else seconds)),
                AsyncExitStack() as stack,
            ):
                kafka = await stack.enter_async_context(KafkaProxy(self.bed.kafka.bootstrap))
                site = await Site.open(
                    self.bed, label, partitions=PARTITIONS, committed=True,
                    kafka={"bootstrapServers": kafka.address}, **story.opened,
                )  # fmt: skip
                stack.push_async_callback(self._clear, site)
                run = await self._prepared(stack, site, kafka, story, fault, outcome, seconds, chance)
                await self._played(run, story)
        except (AssertionError, TimeoutError, ApiError, KafkaError) as error:
            outcome.stuck = f"{type(error).__name__}: {error}"[:600]
        outcome.took_seconds = round(time.monotonic() - begin, 1)
        return outcome

    async def _prepared(
        self, stack: AsyncExitStack, site: Site, kafka: KafkaProxy, story: Story, fault: Fault | None,
        outcome: Outcome, seconds: float, chance: random.Random,
    ) -> Run:  # fmt: skip
        member = await stack.enter_async_context(_member(site)) if story.member else None
        run = Run(self, site, kafka, stack, chance, outcome, seconds, fault, member)
        run.kept, run.proxy = await run.made(site.name)
        await run.moment(START)
        await stack.enter_async_context(run.kept)
        return run

    async def _played(self, run: Run, story: Story) -> None:
        site, outcome = run.site, run.outcome
        try:
            await site.until_condition("SourceHealthy", "True", "Valid", within_seconds=run.within_seconds)
            await story.play(run)
            if math.isinf(run.seconds):
                await site.holds(site.counts[-1], polls=HOLD_POLLS)  # what it waits for may come after the last step
            await run.fault_over()
            for each in (run.kept, *run.others):
                await each.until_ready()
            baselines = self.baselines[story.name]
            await site.holds(site.counts[-1], polls=HOLD_POLLS if baselines else BASELINE_POLLS)
            may_be_lost = run.fault is None or run.fault.expected.events_may_be_lost
            with suppress(AssertionError):  # the judge tells what is different
                await eventually(lambda: _as_in(site, baselines, events=not may_be_lost), SETTLED_SECONDS)
        finally:
            await run.fault_over()
            await self._measure(run)
        outcome.leaked = await _left_behind(run, self.baselines[story.name])

    async def _measure(self, run: Run) -> None:
        site, outcome = run.site, run.outcome
        outcome.counts = list(site.counts)
        outcome.restarts = run.kept.restarts + sum(each.restarts for each in run.others)
        outcome.conditions = await _conditions(site)
        requests = self.requests_in(site.name)
        written = Counter((each.verb, each.resource, each.subresource) for each in requests if each.status_code < 300)
        outcome.scale_writes = written["patch", "deployments", "scale"]
        outcome.status_writes = written["patch", "consumerautoscalers", "status"]
        outcome.requests = len(requests)
        outcome.events = await _events(site)
        outcome.writes = dict(Counter(each.what for each in run.proxy.writes))

    async def _clear(self, site: Site) -> None:
        """What a run leaves in the shared parts would make them slower for those that come."""
        with suppress(ApiError):
            await self.bed.api.call("DELETE", f"/api/v1/namespaces/{site.name}")
        with suppress(Exception):
            await kafka_admin.delete_topics(site.kafka.bootstrap, site.topics)


async def _conditions(site: Site) -> list[Condition]:
    conditions = (await site.status()).get("conditions") or ()
    return sorted((each["type"], each["status"], each["reason"]) for each in conditions)


async def _as_in(site: Site, baselines: Sequence[Outcome], *, events: bool) -> bool:
    """Whether it looks as in a run without a fault; with `events` nothing is left to be told either."""
    if not baselines:
        return True
    untold = always(baselines) - Counter(await _events(site)) if events else Counter()
    return not untold and await _conditions(site) in [each.conditions for each in baselines]


async def _events(site: Site) -> dict[str, int]:
    """How often each reason was told, a series counted as what it stands for."""
    answer = await site.bed.api.call("GET", f"/apis/events.k8s.io/v1/namespaces/{site.name}/events")
    told: Counter[str] = Counter()
    for each in answer["items"]:
        if each.get("reportingController", "").startswith("consumerautoscaler.dev/"):
            told[f"{each['regarding']['kind']} {each['reason']}"] += (each.get("series") or {}).get("count", 1)
    return dict(told)


async def _left_behind(run: Run, baselines: Sequence[Outcome]) -> str:
    """What is still there of a resource that was deleted: series, tasks behind them, open files; empty when nothing."""
    outcome, kept, site = run.outcome, run.kept, run.site
    await kept.until_ready()  # one that has just been started again has hardly anything open yet
    outcome.open_files = kept.open_files
    if baselines:
        most = max(each.open_files for each in baselines) + OPEN_FILES_TO_SPARE
        with suppress(AssertionError):  # connections to be closed are closed at the next use
            await eventually(lambda: kept.open_files <= most, 30)
        outcome.open_files = kept.open_files
        if outcome.open_files > most:
            return f"{outcome.open_files} open files, at most {most}"
    with suppress(ApiError):
        await site.delete_scaler()

    async def forgotten() -> bool:
        pages = [await each.page() for each in (kept, *run.others)]
        return all(page and f'namespace="{site.name}"' not in page for page in pages)

    try:
        await eventually(forgotten, FORGOTTEN_SECONDS)
    except AssertionError:
        return "series of a deleted resource"
    codes = [await each.stop() for each in (kept, *run.others)]
    return f"ended with {codes} after SIGTERM" if any(codes) else ""


@asynccontextmanager
async def _member(site: Site) -> AsyncIterator[AIOKafkaConsumer]:
    """Somebody who is in the group, holds all partitions, reads nothing, and commits when told to."""
    member = AIOKafkaConsumer(
        *site.topics, bootstrap_servers=site.kafka.bootstrap, group_id=site.name, enable_auto_commit=False,
        auto_offset_reset="earliest", heartbeat_interval_ms=3_000, session_timeout_ms=45_000,
    )  # fmt: skip
    await member.start()
    try:
        partitions = {TopicPartition(site.topics[0], p) for p in range(PARTITIONS)}
        await eventually(lambda: member.assignment() == partitions)
        member.pause(*partitions)
        yield member
    finally:
        await member.stop()
