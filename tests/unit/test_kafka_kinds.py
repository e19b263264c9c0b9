"""Share and Streams groups: their answers, written by another codec than the one that reads them, and their meaning."""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.types import Boolean, CompactArray, Int16, Int32, Int64, Schema
from tests.unit.decision_model import decided, promise
from tests.unit.decision_model import reading as a_reading
from tests.unit.kafka_fake import ASSIGNMENT, DESCRIBE_REQUEST, FETCH_REQUEST, STRING, TAGS, Uuid, rows
from tests.unit.test_kafka_groups import classic, classic_member

from consumer_autoscaler.decision.advance import advance
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import DecisionReason, GroupState
from consumer_autoscaler.decision.tracks import position_of
from consumer_autoscaler.decision.values import (
    GroupKind,
    GroupReading,
    Observation,
    OffsetReset,
    PartitionReading,
    Scale,
)
from consumer_autoscaler.sources.kafka.coordinators import GroupMemory
from consumer_autoscaler.sources.kafka.groups.facts import GroupFacts, Subtopology
from consumer_autoscaler.sources.kafka.groups.shares import is_upper_bound, parse_share, share_readings
from consumer_autoscaler.sources.kafka.groups.streams import parse_streams, partition_owners, task_count
from consumer_autoscaler.sources.kafka.groups.streams_assignment import read_tasks
from consumer_autoscaler.sources.kafka.lag.offsets_to_lag import Inconsistent
from consumer_autoscaler.sources.kafka.wire import requests as wire
from consumer_autoscaler.sources.kafka.wire.share import describe_share, read_share, read_share_offsets, share_offsets
from consumer_autoscaler.sources.kafka.wire.streams import describe_streams, read_streams


class Nullable(AbstractType[Any]):
    """A nullable struct: one byte, -1 for null, before it."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def encode(self, value: Any) -> bytes:
        return b"\xff" if value is None else b"\x01" + self._schema.encode(value)

    def decode(self, data: BytesIO) -> Any:
        return None if data.read(1) == b"\xff" else self._schema.decode(data)


SHARE = Schema(
    ("throttle", Int32),
    (
        "groups",
        rows(
            ("error", Int16),
            ("text", STRING),
            ("group", STRING),
            ("state", STRING),
            ("epoch", Int32),
            ("assignment_epoch", Int32),
            ("assignor", STRING),
            (
                "members",
                rows(
                    ("member", STRING),
                    ("rack", STRING),
                    ("epoch", Int32),
                    ("client", STRING),
                    ("host", STRING),
                    ("topics", CompactArray(STRING)),
                    ("assignment", ASSIGNMENT),
                ),
            ),
            ("operations", Int32),
        ),
    ),
    TAGS,
)
TASK_IDS = rows(("subtopology", STRING), ("partitions", CompactArray(Int32)))
TASKS = Schema(("active", TASK_IDS), ("standby", TASK_IDS), ("warmup", TASK_IDS), TAGS)
PAIRS = rows(("key", STRING), ("value", STRING))
TOPIC_INFO = rows(("name", STRING), ("partitions", Int32), ("replication", Int16), ("configs", PAIRS))
TASK_OFFSETS = rows(("subtopology", STRING), ("partition", Int32), ("offset", Int64))
TOPOLOGY = Schema(
    ("epoch", Int32),
    (
        "subtopologies",
        rows(
            ("id", STRING),
            ("sources", CompactArray(STRING)),
            ("sinks", CompactArray(STRING)),
            ("changelogs", TOPIC_INFO),
            ("repartition", TOPIC_INFO),
        ),
    ),
    TAGS,
)
STREAMS = Schema(
    ("throttle", Int32),
    (
        "groups",
        rows(
            ("error", Int16),
            ("text", STRING),
            ("group", STRING),
            ("state", STRING),
            ("epoch", Int32),
            ("assignment_epoch", Int32),
            ("topology", Nullable(TOPOLOGY)),
            (
                "members",
                rows(
                    ("member", STRING),
                    ("epoch", Int32),
                    ("instance", STRING),
                    ("rack", STRING),
                    ("client", STRING),
                    ("host", STRING),
                    ("topology_epoch", Int32),
                    ("process", STRING),
                    ("endpoint", Nullable(Schema(("host", STRING), ("port", Int16), TAGS))),
                    ("tags", PAIRS),
                    ("offsets", TASK_OFFSETS),
                    ("ends", TASK_OFFSETS),
                    ("assignment", TASKS),
                    ("target", TASKS),
                    ("classic", Boolean),
                ),
            ),
            ("operations", Int32),
        ),
    ),
    TAGS,
)


def share_offsets_schema(version: int) -> Schema:
    """DescribeShareGroupOffsets' answer; version 1 tells the lag too."""
    lag = [("lag", Int64)] if version else []
    partition = rows(("partition", Int32), ("start", Int64), ("epoch", Int32), *lag, ("error", Int16), ("text", STRING))
    topic = rows(("topic", STRING), ("id", Uuid), ("partitions", partition))
    group = rows(("group", STRING), ("topics", topic), ("error", Int16), ("text", STRING))
    return Schema(("throttle", Int32), ("groups", group), TAGS)


def test_the_requests_are_what_their_schemas_say() -> None:
    """Two groups each; the offsets of one on named partitions, of the other on all."""
    for request in (describe_share(["g", "h"]), describe_streams(["g", "h"])):
        data = BytesIO(request.prepare({77: (1, 1), 89: (0, 1)}).encode())
        assert DESCRIBE_REQUEST.decode(data) == (["g", "h"], False, {})
        assert data.read() == b""
    items = [wire.fetch_item("g", {"t": 2}), wire.fetch_item("h", None)]
    written = share_offsets(items).prepare({90: (0, 1)})
    schema = Schema(("groups", FETCH_REQUEST.fields[0]), TAGS)
    data = BytesIO(written.encode())
    assert schema.decode(data) == ([("g", [("t", [0, 1], {})], {}), ("h", None, {})], {})
    assert (data.read(), written.API_VERSION) == (b"", 1)


def test_a_share_group() -> None:
    """Members, the idle ones among them, the union of subscriptions, the partitions given out; twice in an answer."""
    busy = ("m1", None, 1, "c", "h", ["a", "b"], ([(bytes(16), "a", [0, 2], {})], {}), {})
    idle = ("m2", "r", 1, "c", "h", ["a"], ([], {}), {})
    group = (0, None, "g", "Stable", 5, 5, "simple", [busy, idle], -(2**31), {})
    answer = wire.Answer(1, SHARE.encode((0, [group, group], {})))
    first, second = (parse_share(described.body, 1) for described in read_share(answer))
    assert first == second
    assert first == GroupFacts(
        state=GroupState.STABLE,
        members=2,
        idle_members=1,
        assignor="simple",
        topics=("a", "b"),
        partitions=(("a", 3),),
    )


@pytest.mark.parametrize("version", [0, 1])
def test_offsets_of_a_share_group(version: int) -> None:
    """Version 1 tells the lag; in version 0 it is not known. A topic and a group may have an error each."""

    def row(partition: int, start: int, lag: int, error: int = 0) -> tuple[Any, ...]:
        return (partition, start, 0, *([lag] if version else []), error, None, {})

    topics = [
        ("t", bytes(16), [row(0, 4, 3), row(1, -1, -1)], {}),
        ("u", bytes(16), [row(0, 0, 0, 29)], {}),
    ]
    data = share_offsets_schema(version).encode((0, [("g", topics, 0, None, {}), ("h", [], 69, "no", {})], {}))
    first, second = read_share_offsets(wire.Answer(version, data))
    assert first.starts == {"t": {0: 4, 1: -1}, "u": {}}
    assert first.lags == {"t": {0: 3 if version else -1, 1: -1}, "u": {}}
    assert (first.error, first.partition_errors) == (0, {"u": 29})
    assert (second.group, second.error, second.starts) == ("h", 69, {})


def readings(
    position: int, lag: int, start: int, end: int, reset: OffsetReset = OffsetReset.LATEST
) -> list[PartitionReading]:
    return share_readings(
        "t", positions={0: position}, lags={0: lag}, starts=[start], ends=[end], reset=reset, previous=()
    )


@pytest.mark.parametrize(
    ("position", "told", "start", "end", "lag"),
    [
        (10, 4, 0, 20, 4),  # six of the ten from the position on are finished
        (10, 0, 0, 10, 0),
        (10, -1, 0, 20, 10),  # not told: all from the position on
        (10, 12, 0, 20, 10),  # told after more was produced than the end that was read
        (10, 9, 15, 20, 5),  # retention has removed what is not left to do any more
        (10, -1, 15, 20, 5),
        (10, -5, 0, 20, 10),  # the broker's own subtraction of another log's end
    ],
)
def test_lag_of_a_share_partition(position: int, told: int, start: int, end: int, lag: int) -> None:
    """What the broker tells, within what the log has; all that the log has when it does not tell."""
    (reading,) = readings(position, told, start, end)
    assert (reading.lag_messages, reading.committed_offset) == (lag, max(position, start))


@pytest.mark.parametrize(
    ("reset", "lag"), [(OffsetReset.LATEST, 0), (OffsetReset.EARLIEST, 15), (OffsetReset.NONE, None)]
)
@pytest.mark.parametrize("position", [-1, 25])
def test_a_share_partition_without_a_position_follows_the_reset(
    position: int, reset: OffsetReset, lag: int | None
) -> None:
    """Not initialised is no zero: it is what the declared reset makes of it, and so is a position of another log."""
    (reading,) = readings(position, -1, 5, 20, reset)
    assert reading.lag_messages == lag


def test_a_share_partition_whose_log_starts_beyond_its_end_is_read_again() -> None:
    """Such offsets are of two different logs."""
    with pytest.raises(Inconsistent):
        readings(10, 2, 30, 20)


def test_an_unchanged_share_partition_keeps_its_object_and_a_changed_lag_does_not() -> None:
    """The lag can change while all offsets stand still: a record was finished out of turn."""
    arguments: dict[str, Any] = {"starts": [0], "ends": [20], "reset": OffsetReset.LATEST, "positions": {0: 10}}
    (first,) = share_readings("t", lags={0: 4}, previous=(), **arguments)
    (same,) = share_readings("t", lags={0: 4}, previous=[first], **arguments)
    (fewer,) = share_readings("t", lags={0: 3}, previous=[first], **arguments)
    assert same is first
    assert fewer.lag_messages == 3


def test_an_upper_bound_is_told_from_a_lag() -> None:
    """Only where there is lag that the broker did not tell."""
    assert is_upper_bound(readings(10, -1, 0, 20), {"t": {0: -1}})
    assert not is_upper_bound(readings(10, 4, 0, 20), {"t": {0: 4}})
    assert not is_upper_bound(readings(10, -1, 0, 10), {"t": {0: -1}})


def test_how_far_a_share_group_is() -> None:
    """Its start offset rests while it finishes records beyond it, which are consumed all the same."""
    (reading,) = readings(10, 4, 0, 20)
    assert (reading.finished_offset, position_of(reading)) == (16, 16)
    (rested,) = readings(0, 0, 0, 20)
    assert (rested.finished_offset, position_of(rested)) == (20, 20)
    (overtaken,) = readings(10, 4, 15, 20)
    assert (overtaken.committed_offset, overtaken.lost_messages) == (15, 0), "retention took finished records"


def test_what_a_share_group_finishes_is_consumed_while_its_start_offset_rests() -> None:
    """Otherwise its capacity would be learned from the lumps in which the start offset moves."""
    history, policy = History(), promise()
    for at, lag in ((0.0, 20), (10.0, 5)):
        group = a_reading([], at=at, kind=GroupKind.SHARE, partitions=tuple(readings(0, lag, 0, 20)))
        observation = Observation(at=at, group=group, scale=Scale(replicas=1, ready=1))
        history = advance(policy, history, observation, at)
    assert history.samples[-1].consumed - history.samples[0].consumed == 15


def test_how_far_another_group_is() -> None:
    """The committed offset, also where the log does not have it."""
    for committed, start, end, lag in ((10, 0, 20, 10), (10, 15, 20, 0), (30, 0, 20, 0)):
        assert PartitionReading("t", 0, committed, start, end, lag).finished_offset == committed


NO_TASKS = ([], [], [], {})


def streams_member(assignment: Any, target: Any = NO_TASKS, *, endpoint: bool = False) -> tuple[Any, ...]:
    where = ("10.0.0.1", 8080, {}) if endpoint else None
    offsets = [("0", 1, 99, {})]
    tags = [("zone", "a", {})]
    return ("m", 3, "i", None, "c", "h", 1, "p", where, tags, offsets, offsets, assignment, target, False, {})


def streams(state: str, topology: Any, members: list[tuple[Any, ...]]) -> GroupFacts:
    group = (0, None, "g", state, 5, 5, topology, members, -(2**31), {})
    described = list(read_streams(wire.Answer(0, STREAMS.encode((0, [group, group], {})))))
    first, second = (parse_streams(each.body, 0) for each in described)
    assert first == second
    return first


WORD_COUNT = (
    1,
    [
        ("0", ["in"], ["app-repartition"], [], [], {}),
        (
            "1",
            [],
            [],
            [("app-changelog", 0, 1, [("cleanup.policy", "compact", {})], {})],
            [("app-repartition", 3, 1, [("retention.ms", "-1", {})], {})],
            {},
        ),
    ],
    {},
)


def test_a_streams_group() -> None:
    """Sources and repartition topics are read, changelogs are not. Only a member without any task is idle."""
    busy = streams_member(([("0", [0, 1], {})], [], [], {}), endpoint=True)
    keeper = streams_member(([], [("1", [2], {})], [], {}))
    idle = streams_member(NO_TASKS, ([("1", [0], {})], [], [], {}))
    facts = streams("Stable", WORD_COUNT, [busy, keeper, idle])
    assert (facts.state, facts.members, facts.idle_members) == (GroupState.STABLE, 3, 1)
    assert facts.topics == ("app-repartition", "in")
    assert facts.subtopologies == (Subtopology(("in",), 2), Subtopology(("app-repartition",), 3))


def test_the_owners_of_a_streams_group_s_partitions() -> None:
    """Whoever has the active task, not who keeps a standby copy."""
    members = [streams_member(([("0", [0, 1], {})], [], [], {})), streams_member(([], [("1", [2], {})], [], {}))]
    group = (0, None, "g", "Stable", 5, 5, WORD_COUNT, members, -(2**31), {})
    (described,) = read_streams(wire.Answer(0, STREAMS.encode((0, [group], {}))))
    owners = partition_owners(described.body)
    assert list(owners) == [("in", 0), ("in", 1)]
    assert owners["in", 0][:4] == ("m", "i", "c", "h")


def test_a_streams_group_that_is_not_ready() -> None:
    """Without its source topics it has no topology to tell, and its members wait."""
    facts = streams("NotReady", None, [streams_member(NO_TASKS)])
    assert facts == GroupFacts(state=GroupState.NOT_READY, members=1)
    assert facts.state.rebalancing


def test_the_tasks_of_a_topology() -> None:
    """Of each sub-topology the largest topic that it reads, also before the metadata knows of a repartition topic."""
    counts = {"in": 4, "side": 6}
    topology = (Subtopology(("in", "side"), 2), Subtopology(("app-repartition",), 3))
    assert task_count(topology, lambda name: counts.get(name, 0)) == 9


def assignment_info(version: int, active: list[tuple[int, int]], standby: list[tuple[int, int]]) -> bytes:
    """As Streams' own encoder writes it, up to what is read."""

    def task(subtopology: int, partition: int) -> bytes:
        return struct.pack(">ii", subtopology, partition) + (struct.pack(">i", 0) if version >= 10 else b"")

    head = struct.pack(">i", version) + (struct.pack(">i", 11) if version >= 3 else b"")
    kept = b"".join(task(*each) + struct.pack(">ih1si", 1, 1, b"t", 0) for each in standby)
    tasks = b"".join(task(*each) for each in active)
    return head + struct.pack(">i", len(active)) + tasks + struct.pack(">i", len(standby)) + kept + b"the rest"


@pytest.mark.parametrize("version", [1, 2, 3, 9, 10, 11])
def test_the_tasks_of_a_classic_streams_member(version: int) -> None:
    """A task comes once per partition that it reads, and counts once."""
    tasks = read_tasks(assignment_info(version, [(0, 0), (0, 0), (1, 2)], [(1, 1)]))
    assert tasks is not None
    assert (len(tasks.active), len(tasks.standby)) == (2, 1)


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x00\x0b", struct.pack(">iiii", 99, 99, 0, 0)])
def test_tasks_that_cannot_be_read_are_not_known(data: bytes) -> None:
    """No bytes, too few of them, a version that does not exist yet."""
    assert read_tasks(data) is None


def classic_streams_member(partitions: list[int], info: bytes) -> tuple[object, ...]:
    member = list(classic_member(["in", "app-repartition"], {}))
    member[5] = ConsumerProtocolMemberAssignment(1, [("in", partitions)] if partitions else [], info).encode()
    return tuple(member)


def test_a_classic_streams_group() -> None:
    """Its tasks are counted over all members; one that only keeps standby state is not idle."""
    members = [
        classic_streams_member([0, 1], assignment_info(11, [(0, 0), (0, 1), (1, 0)], [])),
        classic_streams_member([], assignment_info(11, [], [(1, 0)])),
        classic_streams_member([], assignment_info(11, [], [])),
    ]
    facts, _ = classic("Stable", members, protocol="stream")
    assert (facts.members, facts.idle_members, facts.tasks) == (3, 1, 3)
    facts, _ = classic("Stable", [classic_streams_member([0], b"")], protocol="stream")
    assert (facts.tasks, facts.idle_members) == (0, 0), "not known"


def test_what_was_seen_of_another_kind_is_forgotten() -> None:
    """A group that is deleted and made anew as another kind shares nothing with the old one but its name."""
    memory = GroupMemory("g")
    memory.learn(GroupKind.CLASSIC, GroupFacts(state=GroupState.STABLE, members=1, assignor="range", topics=("t",)))
    memory.forget_kind()
    memory.learn(GroupKind.STREAMS, GroupFacts(state=GroupState.EMPTY))
    assert (memory.assignor, memory.topics) == (None, ())


def test_a_share_group_scales_beyond_its_partitions() -> None:
    """Two partitions and a demand of eight replicas: eight for a share group, two for a consumer group."""
    policy = promise(max_delay_seconds=None, lag_per_replica=1000)
    scale = Scale(replicas=1, ready=1)
    consumer = a_reading([4000, 4000], kind=GroupKind.CONSUMER)
    share = a_reading([4000, 4000], kind=GroupKind.SHARE, partition_ceiling=0)
    assert decided(policy, consumer, scale).desired == 2
    assert decided(policy, share, scale).desired == 8


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_promise_is_not_scaled_for_by_an_upper_bound(replicas: int) -> None:
    """A group that rests looks as if its last batch waited for ever. It holds; from zero it may start."""
    at_most = a_reading([400, 400], kind=GroupKind.SHARE, partition_ceiling=0, lag_is_upper_bound=True)
    decision = decided(promise(min_replicas=0), at_most, Scale(replicas=replicas, ready=replicas))
    if replicas:
        assert (decision.desired, decision.reason) == (1, DecisionReason.HOLD_LAG_UNKNOWN)
        assert decision.figures.delay_seconds is None
    else:
        assert decision.desired is not None
        assert decision.desired > 0
    by_lag = promise(max_delay_seconds=None, lag_per_replica=100)
    assert decided(by_lag, at_most, Scale(replicas=1, ready=1)).desired == 8


def test_a_group_that_becomes_a_share_group_loses_its_ceiling() -> None:
    """A ceiling that is remembered from the classic group of that name does not hold the share group down."""
    reading = GroupReading(at=0, state=GroupState.STABLE, kind=GroupKind.SHARE)
    assert reading.ceiling(4) == 0
    assert replace(reading, kind=GroupKind.CLASSIC).ceiling(4) == 4
    assert replace(reading, kind=GroupKind.CLASSIC, partition_ceiling=6).ceiling(4) == 6
