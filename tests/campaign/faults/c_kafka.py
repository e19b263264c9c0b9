"""C: Kafka is away, slow, half right; topics and groups are changed under the operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.campaign import kafkaproxy as kafka
from tests.campaign.faults.common import again_and_again
from tests.campaign.judge import Expected
from tests.campaign.run import Fault, Run
from tests.campaign.stories import PARTITIONS

from bed import kafka_admin

COORDINATOR_LOADS, NOT_COORDINATOR, NOT_LEADER = 14, 16, 6
Injection = Callable[[Run], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _gone(run: Run) -> AsyncIterator[None]:
    """Connections are reset, new ones refused."""
    run.kafka.down()
    yield
    await run.kafka.up()


@asynccontextmanager
async def _hangs(run: Run) -> AsyncIterator[None]:
    """Connections stay open and nothing comes."""
    run.kafka.freeze()
    yield
    run.kafka.thaw()


@asynccontextmanager
async def _slow(run: Run) -> AsyncIterator[None]:
    """Each answer takes most of what the operator waits, so a reading takes longer than its interval."""
    run.kafka.delay_seconds = run.chance.uniform(0.5, 1.5)
    yield
    run.kafka.delay_seconds = 0.0


@asynccontextmanager
async def _cut(run: Run) -> AsyncIterator[None]:
    """Every connection is reset, again and again."""

    async def cut() -> None:
        run.kafka.cut()

    async with again_and_again(cut, run.chance.uniform(0.1, 0.6)):
        yield
    # A dead broker is tried with a pause between attempts, however often it is asked.
    assert run.kafka.accepted < 400, f"{run.kafka.accepted} connections"


def _answers_changed(key: int, what: str, change: Callable[[Run], kafka.Change]) -> Injection:
    @asynccontextmanager
    async def changed(run: Run) -> AsyncIterator[None]:
        before = run.kafka.met[key]
        run.kafka.changed = {key: change(run)}
        yield
        run.kafka.changed = {}
        run.outcome.happened = run.kafka.met[key] > before

    changed.__doc__ = what
    return changed


def _group_error(code: int) -> Callable[[Run], kafka.Change]:
    return lambda _: kafka.group_error(code)


def _one_partition_without_leader(run: Run) -> kafka.Change:
    return kafka.partition_error(NOT_LEADER, run.chance.randrange(PARTITIONS), run.site.topics[0])


@asynccontextmanager
async def _torn(run: Run) -> AsyncIterator[None]:
    """Answers break off half-way, and their connection with them."""
    run.kafka.torn = frozenset(run.chance.sample((kafka.LIST_OFFSETS, kafka.OFFSET_FETCH, kafka.DESCRIBE_GROUPS), 2))
    yield
    run.kafka.torn = frozenset()


@asynccontextmanager
async def _one_kind_unanswered(run: Run) -> AsyncIterator[None]:
    """One kind of request is never answered, the others are: half of a reading is none."""
    run.kafka.unanswered = frozenset({run.chance.choice((kafka.LIST_OFFSETS, kafka.OFFSET_FETCH))})
    yield
    run.kafka.unanswered = frozenset()


@asynccontextmanager
async def _partitions_added(run: Run) -> AsyncIterator[None]:
    """The topic gets three partitions more, for which nobody has committed."""
    await kafka_admin.add_partitions(run.site.kafka.bootstrap, run.site.topics[0], PARTITIONS + 3)
    yield


@asynccontextmanager
async def _records_deleted(run: Run) -> AsyncIterator[None]:
    """Retention was faster than the group: its commits lie before the first record."""
    bootstrap, topic = run.site.kafka.bootstrap, run.site.topics[0]
    ends = await kafka_admin.end_offsets(bootstrap, topic)
    await kafka_admin.delete_records(bootstrap, ends)
    yield


@asynccontextmanager
async def _topic_made_anew(run: Run) -> AsyncIterator[None]:
    """Its offsets begin at zero again, and the commits lie beyond its end."""
    bootstrap, topics = run.site.kafka.bootstrap, run.site.topics
    await kafka_admin.delete_topics(bootstrap, topics)
    await asyncio.sleep(run.chance.uniform(0.5, 2.0))
    await kafka_admin.create_topics(bootstrap, [kafka_admin.Topic(name, PARTITIONS) for name in topics])
    yield


@asynccontextmanager
async def _group_deleted(run: Run) -> AsyncIterator[None]:
    """With all its commits."""
    await kafka_admin.delete_groups(run.site.kafka.bootstrap, [run.site.name])
    yield


@asynccontextmanager
async def _rebalances(run: Run) -> AsyncIterator[None]:
    """Another member comes and goes, so the group is never at rest."""
    stop = asyncio.Event()

    async def come_and_go() -> None:
        while not stop.is_set():
            other = AIOKafkaConsumer(
                *run.site.topics, bootstrap_servers=run.site.kafka.bootstrap, group_id=run.site.name,
                enable_auto_commit=False, auto_offset_reset="earliest",
            )  # fmt: skip
            await other.start()
            await asyncio.sleep(run.chance.uniform(0.2, 1.0))
            await other.stop()

    coming = asyncio.create_task(come_and_go())
    yield
    stop.set()
    await coming


@asynccontextmanager
async def _open_transaction(run: Run) -> AsyncIterator[None]:
    """Records of a transaction that nobody ends for a while, and that is aborted then."""
    bootstrap, topic = run.site.kafka.bootstrap, run.site.topics[0]
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=run.site.name)
    await producer.start()
    try:
        await producer.begin_transaction()
        for partition in range(PARTITIONS):
            await producer.send_and_wait(topic, b"x", partition=partition)
        yield
        await producer.abort_transaction()
    finally:
        await producer.stop()


@asynccontextmanager
async def _stuck_partition(run: Run) -> AsyncIterator[None]:
    """A poison pill: one partition's lag grows by the second, and more replicas would not help it."""
    partition = TopicPartition(run.site.topics[0], run.chance.randrange(PARTITIONS))

    async def grow() -> None:
        await kafka_admin.produce_now(run.site.kafka.bootstrap, partition.topic, {partition.partition: 20})

    async with again_and_again(grow, 0.5):
        yield
    await run.work_off()


_LOADS = _answers_changed(
    kafka.OFFSET_FETCH,
    "The group's coordinator has just become that and is still loading its commits.",
    _group_error(COORDINATOR_LOADS),
)
_MOVED = _answers_changed(
    kafka.OFFSET_FETCH, "The broker says that another one coordinates the group.", _group_error(NOT_COORDINATOR)
)
_NO_LEADER = _answers_changed(
    kafka.LIST_OFFSETS,
    "One partition has no leader; the others are read, and are not the whole lag.",
    _one_partition_without_leader,
)
SHORT = ("--request-timeout-seconds", "2")
_AWAY = Expected(events=frozenset({"SourceFailed", "SourceRecovered"}), status_writes=12)
_LONG = (4.0, 10.0)
_AFTER_THE_STEP = ("scaled",)
FAULTS = (
    Fault("C1", "broker gone", _gone, seconds=_LONG, expected=_AWAY, flags=SHORT),
    Fault("C1", "broker hangs", _hangs, seconds=_LONG, expected=_AWAY, flags=SHORT),
    Fault("C1", "broker slow", _slow, seconds=_LONG, expected=_AWAY, flags=SHORT),
    Fault("C1", "connections cut", _cut, seconds=_LONG, expected=_AWAY, flags=SHORT),
    Fault("C2", "coordinator loads", _LOADS,
          seconds=_LONG, expected=_AWAY, flags=SHORT),
    Fault("C2", "coordinator moved", _MOVED,
          seconds=_LONG, expected=_AWAY, flags=SHORT),
    Fault("C2", "one partition without a leader", _NO_LEADER,
          seconds=_LONG, expected=_AWAY, flags=SHORT),
    Fault("C2", "answers torn", _torn, seconds=_LONG, expected=_AWAY, flags=SHORT),
    Fault("C2", "one kind unanswered", _one_kind_unanswered, seconds=_LONG, expected=_AWAY, flags=SHORT),
    Fault("C4", "partitions added", _partitions_added, stories=("zero",), expected=_AWAY),
    Fault("C4", "records deleted", _records_deleted, stories=("zero",), moments=_AFTER_THE_STEP, expected=_AWAY),
    Fault("C4", "topic made anew", _topic_made_anew, stories=("zero",), moments=_AFTER_THE_STEP, expected=_AWAY),
    Fault("C5", "group deleted", _group_deleted, stories=("zero",), moments=_AFTER_THE_STEP, expected=_AWAY),
    Fault("C5", "group rebalances", _rebalances, stories=("up", "bounds", "pause"), expected=_AWAY),
    Fault("C6", "transaction open", _open_transaction, stories=("up", "pause"), moments=_AFTER_THE_STEP,
          expected=_AWAY),
    Fault("C6", "partition stuck", _stuck_partition, stories=("up", "pause"), moments=_AFTER_THE_STEP,
          expected=Expected(events=frozenset({"PartitionLimitReached"}), status_writes=12)),
)  # fmt: skip
