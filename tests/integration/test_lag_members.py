"""The traps of reading a group's lag that lie in its members: who they are, when they commit, who reads what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.addresses import ON_THIS_MACHINE
from tests.integration.lag_bed import LagBed, lags, readings, refused, until
from tests.integration.support import Together

from bed.kafka import Kafka
from consumer_autoscaler.decision.advance import advance, after_scaling
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import (
    BackpressureReason,
    ConditionType,
    DecisionReason,
    GroupState,
    SourceReason,
)
from consumer_autoscaler.decision.values import Decision, GroupReading, Observation, OffsetReset, Policy, Scale
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource

pytestmark = pytest.mark.integration
together = Together()


@pytest.fixture(scope="module")
async def bed(request: pytest.FixtureRequest, kafka: Kafka) -> AsyncIterator[LagBed]:
    chosen = frozenset(item.name for item in request.session.items if item.path == request.path)
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    yield LagBed(kafka, source, chosen)
    await source.aclose()


class Operator:
    """advance() and decide() on one group's readings, as the operator runs them."""

    def __init__(self, policy: Policy, replicas: int) -> None:
        self.policy, self.replicas = policy, replicas
        now = time.time()
        self.history = History(began_at=now - 600, active_at=now - 600)

    def see(self, group: GroupReading) -> Decision:
        scale = Scale(replicas=self.replicas, ready=self.replicas)
        observation = Observation(at=group.at, group=group, scale=scale)
        self.history = advance(self.policy, self.history, observation, group.at)
        return decide(self.policy, observation, self.history, group.at)

    def scale(self, replicas: int, now: float) -> None:
        self.history = after_scaling(self.history, replicas, now)
        self.replicas = replicas


def by_lag(**more: int) -> Policy:
    return Policy(min_replicas=0, max_replicas=20, lag_per_replica=10, poll_interval_seconds=1, **more)


def reason_of(decision: Decision, type_: ConditionType) -> str:
    return next(c.reason for c in decision.conditions if c.type is type_)


@together
async def test_a_rebalance_holds_until_it_is_over(bed: LagBed) -> None:
    """While members join the lag is valid, nobody is idle, and nothing is decided."""
    topic = await bed.topic("joins", 2)
    await bed.produce(topic, 70, 70)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    operator = Operator(by_lag(), 1)
    async with bed.member(topic, topic, heartbeat_interval_ms=3_000, max_poll_interval_ms=20_000):
        await until(subscription, lambda r: r.state is GroupState.STABLE)
        joining = AIOKafkaConsumer(topic, bootstrap_servers=bed.kafka.bootstrap, group_id=topic)
        start = asyncio.create_task(joining.start())  # the first hears of it with its next heartbeat
        try:
            seen = await until(subscription, lambda r: r.state.rebalancing)
            assert (seen.lag_messages, seen.idle_members) == (140, 0)
            assert operator.see(seen).reason is DecisionReason.HOLD_REBALANCING
            seen = await until(subscription, lambda r: r.state is GroupState.STABLE and r.members == 2)
            assert operator.see(seen).desired == 2
        finally:
            await start
            await joining.stop()


@together
async def test_commits_in_lumps_are_no_reason_to_scale(bed: LagBed) -> None:
    """Constant load, a commit every four seconds: lag is a saw, and the count stays."""
    topic = await bed.topic("saw", 4)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    policy = Policy(min_replicas=1, max_replicas=4, max_delay_seconds=30, poll_interval_seconds=1)
    operator, desired, heights = Operator(policy, 1), set(), []
    over = asyncio.Event()

    async def load() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bed.kafka.bootstrap) as producer:
            while not over.is_set():
                for partition in range(4):
                    await producer.send(topic, b"x", partition=partition)
                await asyncio.sleep(0.05)

    options = {"enable_auto_commit": True, "auto_commit_interval_ms": 4_000}
    async with bed.member(topic, topic, **options) as member, asyncio.TaskGroup() as tasks:
        tasks.create_task(load())
        tasks.create_task(_read(member, over))
        await until(subscription, lambda r: r.members == 1 and not r.never_committed)
        for each in await readings(subscription, 20):
            desired.add(operator.see(each).desired)
            heights.append(each.lag_messages)
        over.set()
    assert max(heights) > 2 * min(heights) + 50  # it was a saw
    assert desired == {1}


async def _read(consumer: AIOKafkaConsumer, over: asyncio.Event) -> None:
    while not over.is_set():
        await consumer.getmany(timeout_ms=100)


@together
async def test_a_long_batch_is_neither_drained_nor_stuck(bed: LagBed) -> None:
    """A commit that stands still leaves the lag as it is; stuck is said after five minutes only."""
    topic = await bed.topic("batch", 1)
    await bed.produce(topic, 40)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    operator = Operator(Policy(min_replicas=0, max_replicas=5, max_delay_seconds=2, poll_interval_seconds=1), 1)
    async with bed.member(topic, topic) as member:
        await member.commit({TopicPartition(topic, 0): 3})
        await until(subscription, lambda r: r.members == 1 and not r.never_committed)
        seen = await readings(subscription, 8)
        assert [r.lag_messages for r in seen] == [37] * 8
        reasons = [reason_of(operator.see(each), ConditionType.BACKPRESSURED) for each in seen]
        assert BackpressureReason.STUCK_PARTITION not in reasons
        operator.history = History(tracks=operator.history.tracks, replicas=1, began_at=0.0)
        (late,) = await readings(subscription, 1)
        late = GroupReading(
            at=late.at + 301, state=late.state, members=1, partitions=late.partitions, partition_ceiling=1
        )
        assert reason_of(operator.see(late), ConditionType.BACKPRESSURED) == BackpressureReason.STUCK_PARTITION


@together
async def test_a_static_member_that_has_stopped_makes_no_demand(bed: LagBed) -> None:
    """Until its session ends it stays a member, its partition's lag grows, and a down is not undone by that."""
    topic = await bed.topic("static", 2)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    options = {"session_timeout_ms": 7_000}
    async with bed.member(topic, topic, group_instance_id="pod-0", **options) as stays:
        async with bed.member(topic, topic, group_instance_id="pod-1", **options) as leaves:
            await stays.commit(dict.fromkeys(stays.assignment(), 0))
            await leaves.commit(dict.fromkeys(leaves.assignment(), 0))
            seen = await until(subscription, lambda r: r.members == 2 and r.state is GroupState.STABLE)
        operator = Operator(by_lag(), 2)
        operator.see(seen)
        operator.scale(1, time.time())
        await bed.produce(topic, 30, 30)
        seen = await until(subscription, lambda r: r.lag_messages == 60)
        assert (seen.members, seen.state) == (2, GroupState.STABLE)
        decision = operator.see(seen)
        assert (decision.desired, decision.reason) == (1, DecisionReason.HOLD_REBALANCING)
        assert "1 members of pods that are gone" in decision.message
        seen = await until(subscription, lambda r: r.members == 1 and r.state is GroupState.STABLE)
        assert operator.see(seen).desired == 2


@together
async def test_topics_that_nobody_subscribes_to_any_more_are_left_out_and_said(bed: LagBed) -> None:
    """Their commits stay, and are no lag."""
    used, stale = await bed.topic("used"), await bed.topic("stale")
    await bed.produce(used, 5)
    await bed.produce(stale, 500)
    await bed.commit(used, stale, 1)
    async with bed.member(used, used) as member:
        await member.commit({TopicPartition(used, 0): 2})
        subscription = bed.follow(used)
        seen = await until(subscription, lambda r: r.members == 1 and r.state is GroupState.STABLE)
        assert (seen.lag_messages, [p.topic for p in seen.partitions]) == (3, [used])
        assert stale in seen.note
    seen = await until(subscription, lambda r: r.members == 0)  # and when nobody is there to ask
    assert (seen.lag_messages, stale in seen.note) == (3, True)


@together
async def test_consumers_that_assign_by_themselves_are_not_scaled(bed: LagBed) -> None:
    """Commits that advance again and again without a member: the lag is shown, and nothing is decided from it."""
    topic = await bed.topic("assigned", 2)
    await bed.produce(topic, 100, 100)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bed.kafka.bootstrap, group_id=topic, enable_auto_commit=False)
    consumer.assign([partition])
    await consumer.start()
    try:
        for offset in (10, 20, 30, 40):
            await consumer.commit({partition: offset})
            seen = await until(subscription, lambda r, offset=offset: r.partitions[0].committed_offset == offset)  # type: ignore[misc]
            await readings(subscription, 1)
        assert seen.unscalable is not None
        assert (seen.unscalable.reason, seen.lag_messages) == (SourceReason.MANUAL_ASSIGNMENT, 160)
        decision = Operator(by_lag(), 3).see(seen)
        assert (decision.desired, decision.reason) == (3, DecisionReason.HOLD_NOT_SCALABLE)
        assert reason_of(decision, ConditionType.SOURCE_HEALTHY) == "ManualAssignment"
    finally:
        await consumer.stop()
    async with bed.member(topic, topic):
        assert (await until(subscription, lambda r: r.members == 1)).unscalable is None


@together
async def test_offsets_that_were_reset_by_hand_are_no_manual_assignment(bed: LagBed) -> None:
    """A group that is at rest and whose offsets are set once or twice still scales."""
    topic = await bed.topic("reset")
    await bed.produce(topic, 100)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    for offset in (10, 50, 20):
        await bed.commit(topic, topic, offset)
        await until(subscription, lambda r, offset=offset: r.partitions[0].committed_offset == offset)  # type: ignore[misc]
    (seen,) = await readings(subscription, 1)
    assert seen.unscalable is None
    assert Operator(by_lag(), 0).see(seen).desired == 1


@together
async def test_idle_members_are_counted_and_pods_are_capped_by_their_consumers(bed: LagBed) -> None:
    """Four consumers for three partitions: one is idle, and two pods of two consumers are all that can work."""
    topic = await bed.topic("idle", 3)
    await bed.produce(topic, 90, 90, 90)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    async with (
        bed.member(topic, topic),
        bed.member(topic, topic),
        bed.member(topic, topic),
        bed.member(topic, topic),
    ):
        seen = await until(subscription, lambda r: r.members == 4 and r.state is GroupState.STABLE)
        assert (seen.idle_members, seen.partition_ceiling) == (1, 3)
        assert Operator(by_lag(consumers_per_pod=2), 1).see(seen).desired == 2


@together
async def test_lag_in_one_partition_is_skew_and_asks_for_one_consumer(bed: LagBed) -> None:
    """However much it is: another consumer could read nothing of it.

    That a hot partition is named is shown with consumers that work, in test_diagnosis_live.
    """
    topic = await bed.topic("skew", 6)
    await bed.commit(topic, topic, *[0] * 6)
    subscription = bed.follow(topic, topic)
    async with bed.member(topic, topic):
        await until(subscription, lambda r: r.members == 1 and r.state is GroupState.STABLE)
        await bed.produce(topic, 1, 400)
        await until(subscription, lambda r: r.lag_messages == 401)
        seen = (await readings(subscription, 3))[-1]
        assert lags(seen) == [1, 400, 0, 0, 0, 0]
        assert Operator(by_lag(), 1).see(seen).desired == 2  # the partitions that lag


@together
async def test_a_kafka_connect_sink_is_refused(bed: LagBed) -> None:
    """By the client ids of its tasks, whatever the group's name; its lag is shown."""
    topic = await bed.topic("sink", 2)
    group = f"connect-{topic}"
    await bed.produce(topic, 20, 20)
    subscription = bed.follow(group, topic, reset=OffsetReset.EARLIEST)
    async with bed.member(group, topic, client_id="connector-consumer-sink-0"):
        seen = await until(subscription, lambda r: r.members == 1 and r.unscalable is not None)
        assert (seen.lag_messages, seen.unscalable and seen.unscalable.reason) == (40, SourceReason.KAFKA_CONNECT)
        decision = Operator(by_lag(), 1).see(seen)
        assert (decision.desired, decision.reason) == (1, DecisionReason.HOLD_NOT_SCALABLE)
    async with bed.member(f"connect-{topic}-app", topic):
        named_alike = bed.follow(f"connect-{topic}-app", topic, reset=OffsetReset.EARLIEST)
        assert (await until(named_alike, lambda r: r.members == 1)).unscalable is None


@together
async def test_what_cannot_be_read_in_full_is_no_number(bed: LagBed) -> None:
    """A topic that is missing, a group that is not there: a reason, and the count is held."""
    topic = await bed.topic("half")
    await bed.produce(topic, 5)
    await bed.commit(topic, topic, 0)
    missing = await refused(bed.follow(topic, topic, f"{topic}-not-there"), SourceReason.TOPIC_NOT_FOUND)
    observation = Observation(at=time.time(), group=missing, scale=Scale(replicas=2, ready=2))
    policy = by_lag()
    decision = decide(policy, observation, advance(policy, History(), observation, observation.at), observation.at)
    assert (decision.desired, decision.reason) == (2, DecisionReason.HOLD_LAG_UNKNOWN)
    assert decision.figures.lag_messages is None
