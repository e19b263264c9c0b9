"""All readings of Kafka: one set of connections per cluster, one shared reading per cluster and interval.

All subscriptions of a cluster with the same interval are served from one reading on a common tick, whose
phase is random. A new subscription does not wait for it, nor does one that is to be read again soon: those
that come within 50 ms share a reading of their own. A reading that takes longer than its interval skips
ticks; readings of one schedule never overlap.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, IsolationLevel, Unavailable
from consumer_autoscaler.sources.address_policy import AS_INSTALLED, AddressPolicy
from consumer_autoscaler.sources.kafka.access.security import Security
from consumer_autoscaler.sources.kafka.broker import BrokerFailed
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.inspection.owners import Owners, read_owners
from consumer_autoscaler.sources.kafka.lag.verdict import Watch
from consumer_autoscaler.sources.kafka.reading import ClusterReader, Results
from consumer_autoscaler.sources.kafka.stats import ReadingStats
from consumer_autoscaler.sources.kafka.topology import Topology
from consumer_autoscaler.sources.protocol import GroupRequest

log = logging.getLogger(__name__)

_JOIN_SECONDS = 0.05
_AT_ONCE = 50  # readings handed over before the loop runs again: whoever gets one works on it at once
_READING_TIMEOUTS = 3  # a reading may wait for that many requests, one after the other
_CLOSED = Unavailable(SourceReason.NOT_READ_YET, "the reading of this group has ended")


class ClusterKey(NamedTuple):
    """What makes two resources share connections: the same set of addresses and the same way in, by content."""

    addresses: frozenset[str]
    security: Security


class KafkaSubscription:
    """One group's place on a tick; holds the newest reading until it is fetched."""

    def __init__(self, schedule: _Schedule, watch: Watch) -> None:
        self.watch = watch
        self._schedule = schedule
        self._newest: GroupReading | Unavailable | None = None
        self._arrived = asyncio.Event()
        self._closed = False
        self._again: asyncio.TimerHandle | None = None

    async def next(self) -> GroupReading | Unavailable:
        await self._arrived.wait()
        if self._closed or self._newest is None:
            return _CLOSED
        self._arrived.clear()
        reading, self._newest = self._newest, None
        return reading

    def look_up_older_than(self, seconds: float | None) -> None:
        self.watch.older_than_seconds = seconds

    def look_again(self, seconds: float) -> None:
        self._look_again_no_more()
        self._again = asyncio.get_running_loop().call_later(seconds, self._schedule.read_soon, self)

    async def owners(self) -> Owners:
        return await self._schedule.owners(self.watch.group)

    def close(self) -> None:
        if not self._closed:
            self.end()
            self._schedule.leave(self)

    def put(self, result: GroupReading | Unavailable) -> None:
        if not self._closed:
            self._look_again_no_more()
            self._newest = result
            self._arrived.set()

    def end(self) -> None:
        self._closed = True
        self._look_again_no_more()
        self._arrived.set()

    def _look_again_no_more(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None


class _Schedule:
    """The tick of one cluster and interval, and who is on it."""

    def __init__(self, cluster: _Cluster, interval_seconds: float, stats: ReadingStats) -> None:
        self.interval_seconds = interval_seconds
        self.subscribers: set[KafkaSubscription] = set()
        self._cluster = cluster
        self._stats = stats
        self._joiners: set[KafkaSubscription] = set()
        self._joined = asyncio.Event()
        self.task = asyncio.create_task(self._run(), name="kafka-readings")

    def join(self, watch: Watch) -> KafkaSubscription:
        subscription = KafkaSubscription(self, watch)
        self.subscribers.add(subscription)
        self.read_soon(subscription)
        return subscription

    def read_soon(self, subscription: KafkaSubscription) -> None:
        """Not at the next tick, but together with all that are wanted soon."""
        self._joiners.add(subscription)
        self._joined.set()

    def leave(self, subscription: KafkaSubscription) -> None:
        self.subscribers.discard(subscription)
        self._joiners.discard(subscription)
        if not self.subscribers:
            self._cluster.drop(self)

    async def owners(self, group: str) -> Owners:
        return await self._cluster.owners(group)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        planned = loop.time() + random.uniform(0, self.interval_seconds)
        while True:
            try:
                async with asyncio.timeout_at(planned):
                    await self._joined.wait()
                    await asyncio.sleep(_JOIN_SECONDS)
                tick, due = False, set(self._joiners)
            except TimeoutError:
                tick, due = True, set(self.subscribers)
                self._lateness(loop.time() - planned)
                planned += self.interval_seconds
            self._joiners.clear()
            self._joined.clear()
            await self._read(due)
            while tick and planned <= loop.time():
                planned += self.interval_seconds
                self._stats.ticks_skipped += 1

    def _lateness(self, seconds: float) -> None:
        self._stats.last_lateness_seconds = max(0.0, seconds)
        self._stats.recent_lateness_seconds.append(max(0.0, seconds))

    async def _read(self, subscriptions: Iterable[KafkaSubscription]) -> None:
        due = list(subscriptions)
        if not due:
            return
        loop = asyncio.get_running_loop()
        begin = loop.time()
        waiting = {subscription.watch: subscription for subscription in due}
        try:
            results = await self._cluster.reader.read(
                [subscription.watch for subscription in due], early=lambda early: self._deliver(early, waiting)
            )
        except Exception as error:  # the border of a reading: a defect in it must not end the tick
            log.exception("a reading failed")
            failed = Unavailable(SourceReason.PARTIAL_READING, f"the reading failed: {type(error).__name__}")
            results = dict.fromkeys(waiting, failed)
        self._stats.batches += 1
        self._stats.last_batch_seconds = loop.time() - begin
        while waiting:
            self._deliver({watch: results[watch] for watch in itertools.islice(waiting, _AT_ONCE)}, waiting)
            await asyncio.sleep(0)

    def _deliver(self, results: Results, waiting: dict[Watch, KafkaSubscription]) -> None:
        for watch, result in results.items():
            if isinstance(result, Unavailable):
                self._stats.failures[result.reason.value] += 1
            else:
                self._stats.readings += 1
            waiting.pop(watch).put(result)

    def end(self) -> None:
        self.task.cancel()
        for subscription in self.subscribers:
            subscription.end()


class _Cluster:
    """The connections to one cluster and its schedules."""

    def __init__(self, key: ClusterKey, source: KafkaLagSource) -> None:
        self.key = key
        self.brokers = Brokers(
            key.addresses,
            client_id=source.client_id,
            timeout_seconds=source.request_timeout_seconds,
            stats=source.own_stats,
            security=key.security,
            policy=source.policy,
            clock=source.clock,
        )
        self.reader = ClusterReader(
            self.brokers,
            clock=source.clock,
            timeout_seconds=_READING_TIMEOUTS * source.request_timeout_seconds,
        )
        self._source = source
        self._schedules: dict[float, _Schedule] = {}

    def schedule(self, interval_seconds: float) -> _Schedule:
        if interval_seconds not in self._schedules:
            self._schedules[interval_seconds] = _Schedule(self, interval_seconds, self._source.own_stats)
        return self._schedules[interval_seconds]

    async def owners(self, group: str) -> Owners:
        try:
            return (await read_owners(self.brokers, Topology(self.brokers), [group])).get(group, {})
        except BrokerFailed:
            return {}

    def drop(self, schedule: _Schedule) -> None:
        """Ends a schedule that nobody is on, and the cluster with its last one."""
        self._schedules.pop(schedule.interval_seconds, None)
        schedule.end()
        self._source.in_background(_ended(schedule.task))
        if not self._schedules:
            self._source.drop(self)

    async def aclose(self) -> None:
        schedules = list(self._schedules.values())
        self._schedules.clear()
        for schedule in schedules:
            schedule.end()
        for schedule in schedules:
            await _ended(schedule.task)
        await self.brokers.aclose()


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])


class KafkaLagSource:
    """Reads consumer groups' lag. `subscribe` must be called in the event loop that reads.

    clock: gives `GroupReading.at`. request_timeout_seconds: how long one request (or the making of a
    connection) may take; a reading ends within three of these. policy: which addresses may be connected to.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        request_timeout_seconds: float = 5.0,
        client_id: str = "consumer-autoscaler",
        policy: AddressPolicy = AS_INSTALLED,
    ) -> None:
        self.clock = clock
        self.policy = policy
        self.request_timeout_seconds = request_timeout_seconds
        self.client_id = client_id
        self.own_stats = ReadingStats()
        self._clusters: dict[ClusterKey, _Cluster] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def stats(self) -> ReadingStats:
        self.own_stats.clusters = len(self._clusters)
        self.own_stats.connections = sum(cluster.brokers.connections for cluster in self._clusters.values())
        return self.own_stats

    def subscribe(self, request: GroupRequest) -> KafkaSubscription:
        """Joins the shared reading of the request's cluster and interval. Raises RuntimeError when closed."""
        if self._closed:
            raise RuntimeError("this source is closed")
        addresses = frozenset(address.strip() for address in request.bootstrap_servers)
        key = ClusterKey(addresses, request.security or Security())
        if key not in self._clusters:
            self._clusters[key] = _Cluster(key, self)
        topics = tuple(sorted(set(request.topics)))
        return (
            self._clusters[key]
            .schedule(request.interval_seconds)
            .join(
                Watch(
                    request.consumer_group,
                    topics,
                    request.offset_reset,
                    committed_only=request.isolation_level is IsolationLevel.READ_COMMITTED,
                )
            )
        )

    def drop(self, cluster: _Cluster) -> None:
        """Called by a cluster that nobody reads any more."""
        if self._clusters.get(cluster.key) is cluster:
            del self._clusters[cluster.key]
            self.in_background(cluster.aclose())

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def aclose(self) -> None:
        self._closed = True
        clusters, self._clusters = list(self._clusters.values()), {}
        await asyncio.gather(*(cluster.aclose() for cluster in clusters), *self._background)
