"""One shared reading: every group of a cluster that is due, in a few requests per broker.

Commits are read first and ends after, so that a lag errs upwards by what was produced in between, and is
never negative by timing. What fails is asked once more, after the leaders and coordinators it names have
been looked up again; a group that is then not complete is Unavailable, never a part of a sum.

While a broker does not answer, the groups that need nothing from it are read by themselves, after a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, Unavailable
from consumer_autoscaler.sources.kafka.broker import BrokerFailed
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.coordinators import Coordinators, Fetched, GroupMemory
from consumer_autoscaler.sources.kafka.lag.ages import with_ages
from consumer_autoscaler.sources.kafka.lag.transactions import OpenTransactions
from consumer_autoscaler.sources.kafka.lag.verdict import Answers, Outcome, Watch, judge
from consumer_autoscaler.sources.kafka.offsets import Offsets, read_ends, read_starts
from consumer_autoscaler.sources.kafka.slices import Slices
from consumer_autoscaler.sources.kafka.topology import Topic, Topology

Results = Mapping[Watch, GroupReading | Unavailable]

_STARTS_MAX_AGE_SECONDS = 295.0
_FORGET_GROUP_SECONDS = 900.0
_PATIENCE_SECONDS = 1.0  # how long the groups of other brokers wait for one that does not answer


class ClusterReader:
    """Reads any set of watches of one cluster; several readings may run at the same time."""

    def __init__(self, brokers: Brokers, *, clock: Callable[[], float], timeout_seconds: float) -> None:
        self._brokers = brokers
        self._topology = Topology(brokers)
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._memories: dict[str, GroupMemory] = {}
        self._used_at: dict[str, float] = {}
        self._starts_read_at = -float("inf")
        self._transactions = OpenTransactions()

    async def read(
        self, watches: Sequence[Watch], *, early: Callable[[Results], None] | None = None
    ) -> dict[Watch, GroupReading | Unavailable]:
        """One result for each watch, within the timeout; raises nothing but what is a defect here.

        `early` is called with results that need not wait for a broker that is silent; they are in the end's too.
        """
        self._remember({watch.group for watch in watches})
        reading = asyncio.create_task(self._read(watches))
        given: dict[Watch, GroupReading | Unavailable] = {}
        try:
            while early is not None and not (await asyncio.wait([reading], timeout=_PATIENCE_SECONDS))[0]:
                if spared := await self._read_spared([watch for watch in watches if watch not in given]):
                    given |= spared
                    early(spared)
            return await reading | given
        finally:
            reading.cancel()

    async def _read_spared(self, watches: Sequence[Watch]) -> dict[Watch, GroupReading | Unavailable]:
        """Reads those that need no broker which is silent at present."""
        silent = self._brokers.silent(_PATIENCE_SECONDS / 2)
        spared = [watch for watch in watches if silent.isdisjoint(self._needed_by(watch) or silent)]
        outcomes: dict[Watch, Outcome] = {}
        if silent and spared:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._pass(spared, outcomes)
        return {watch: outcome.result for watch, outcome in outcomes.items() if not outcome.again}

    def _needed_by(self, watch: Watch) -> set[int]:
        """The brokers that a reading asks for it; empty when they are not known."""
        names = watch.topics or self._memories[watch.group].topics or tuple(watch.last)
        topics = [self._topology.topic(name) for name in names]
        coordinators = {node for node, _ in self._topology.by_coordinator([watch.group])}
        if not (names and coordinators and all(topics)):
            return set()
        return coordinators.union(*(topic.leaders for topic in topics if topic is not None))

    async def _read(self, watches: Sequence[Watch]) -> dict[Watch, GroupReading | Unavailable]:
        outcomes: dict[Watch, Outcome] = {}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._pass(watches, outcomes)
                again = [watch for watch in watches if outcomes[watch].again]
                if again:
                    await self._pass(again, outcomes)
        except TimeoutError:
            late = Unavailable(
                SourceReason.PARTIAL_READING, f"the reading took longer than {self._timeout_seconds:g} s"
            )
            for watch in watches:
                outcomes.setdefault(watch, Outcome(late))
        return {watch: outcomes[watch].result for watch in watches}

    def _remember(self, groups: set[str]) -> None:
        now = asyncio.get_running_loop().time()
        for group in groups:
            self._used_at[group] = now
            if group not in self._memories:
                self._memories[group] = GroupMemory(group)
        for group in [g for g, at in self._used_at.items() if now - at > _FORGET_GROUP_SECONDS]:
            del self._used_at[group], self._memories[group]

    async def _pass(self, watches: Sequence[Watch], outcomes: dict[Watch, Outcome]) -> None:
        memories = self._memories
        coordinators = Coordinators(self._brokers, self._topology, memories)
        slices = Slices()
        looks = self._topology.routine_looks
        try:
            await self._topology.ensure_topics(
                {topic for watch in watches for topic in watch.topics or memories[watch.group].topics}
            )
            await slices.breathe()
            # So that a reading that looks at the metadata again takes no more requests than the others.
            coordinators.spares_one = self._topology.routine_looks != looks
            await coordinators.ask(self._wanted(watches))
            open_watches = []
            for watch in watches:
                if (problem := coordinators.problem(watch.group)) is None:
                    open_watches.append(watch)
                else:
                    outcomes[watch] = Outcome(Unavailable(problem.reason, problem.message), problem.again)
                await slices.breathe()
            names = {watch: self._names(watch, coordinators.fetched[watch.group]) for watch in open_watches}
            await slices.breathe()
            await self._topology.ensure_topics({name for each in names.values() for name in each})
        except BrokerFailed as error:
            for watch in watches:
                outcomes[watch] = Outcome(Unavailable(error.reason, str(error)))
            return
        topics: dict[bool, dict[str, Topic]] = {}  # by whether only what is committed counts
        for watch, each in names.items():
            for name in each:
                topic = self._topology.topic(name)
                if topic is not None and topic.leaders and not topic.error:
                    topics.setdefault(watch.committed_only, {})[name] = topic
            await slices.breathe()
        near = {name for watch in open_watches for name in watch.successive.near_topics}
        starts = await self._starts({name: topic for each in topics.values() for name, topic in each.items()}, near)
        at = self._clock()
        ends = {
            committed: await read_ends(
                self._brokers, self._topology, topics.get(committed, {}).values(), committed=committed
            )
            for committed in (False, True)
        }
        answers = {
            committed: Answers(memories, self._topology, coordinators, starts, each) for committed, each in ends.items()
        }
        now = asyncio.get_running_loop().time()
        await self._look_for_transactions(topics.get(True, {}), ends[True], now)
        for watch in open_watches:
            outcome = judge(watch, names[watch], answers[watch.committed_only], at=at, now=now)
            if watch.committed_only and isinstance(outcome.result, GroupReading):
                note = "; ".join(filter(None, (outcome.result.note, self._transactions.note(names[watch], now))))
                outcome = outcome._replace(result=replace(outcome.result, note=note))
            outcomes[watch] = outcome
            await slices.breathe()
        read = {watch: outcomes[watch] for watch in open_watches}
        outcomes.update(await with_ages(self._brokers, self._topology, read, at=at))

    async def _look_for_transactions(self, topics: dict[str, Topic], stable: Offsets, now: float) -> None:
        """Once a minute, the high watermarks of what is read up to the last stable offset."""
        if topics and self._transactions.due(now):
            high = await read_ends(self._brokers, self._topology, topics.values(), committed=False)
            self._transactions.look(stable.values, high.values, now)

    def _wanted(self, watches: Iterable[Watch]) -> dict[str, tuple[str, ...] | None]:
        """The topics to fetch commits of: named where they are known, so that a missing right is an error."""
        wanted: dict[str, tuple[str, ...] | None] = {}
        for watch in watches:
            own = watch.topics or self._memories[watch.group].topics or None
            if watch.group not in wanted:
                wanted[watch.group] = own
            elif (other := wanted[watch.group]) is not None and other != own:
                wanted[watch.group] = None if own is None else tuple(sorted({*other, *own}))
        return wanted

    def _names(self, watch: Watch, fetched: Fetched) -> tuple[str, ...]:
        """The resource's topics, else what the members subscribe to (or did last), else the committed."""
        memory = self._memories[watch.group]
        return watch.topics or memory.topics or tuple(sorted(fetched.committed))

    async def _starts(self, topics: dict[str, Topic], near: set[str]) -> Offsets:
        """Of all topics every few minutes; else of those that are not known, or about to overtake a group."""
        now = asyncio.get_running_loop().time()
        if now - self._starts_read_at >= _STARTS_MAX_AGE_SECONDS:
            self._starts_read_at = now
            # Other intervals' topics too, so that one refresh serves all.
            return await read_starts(self._brokers, self._topology, self._topology.usable_topics(), all_of_them=True)
        asked = [topic for name, topic in topics.items() if name in near or -1 in topic.starts]
        if not asked:
            return Offsets({}, {})
        return await read_starts(self._brokers, self._topology, asked, all_of_them=bool(near))
