"""Descriptions of groups, written by another codec than the one that reads them."""

from __future__ import annotations

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from tests.unit.kafka_fake import DESCRIBE, consumer

from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.sources.kafka.groups.facts import GroupFacts, parse_classic, parse_consumer, partition_ceiling
from consumer_autoscaler.sources.kafka.wire.requests import Answer, read_classic, read_consumer


def classic_member(topics: list[str], assigned: dict[str, list[int]]) -> tuple[object, ...]:
    subscription = ConsumerProtocolMemberMetadata(1, topics, b"data").encode()
    assignment = ConsumerProtocolMemberAssignment(1, list(assigned.items()), b"").encode()
    return "m", "instance", "client", "/10.0.0.1", subscription, assignment, {}


def classic(state: str, members: list[tuple[object, ...]], *, protocol: str = "range") -> list[GroupFacts]:
    """The facts of two equal groups in one answer."""
    group = (0, "g", state, "consumer", protocol, members, -(2**31), {})
    data = DESCRIBE.encode((0, [group, group], {}))
    return [parse_classic(described.body) for described in read_classic(data)]


def test_a_stable_classic_group() -> None:
    """Members, the idle ones among them, the union of subscriptions, the partitions given out; twice in an answer."""
    members = [
        classic_member(["a", "b"], {"a": [0, 1], "b": [4]}),
        classic_member(["b", "c"], {"a": [2]}),
        classic_member(["a"], {}),
    ]
    first, second = classic("Stable", members)
    assert (
        first
        == second
        == GroupFacts(
            state=GroupState.STABLE,
            members=3,
            idle_members=1,
            assignor="range",
            topics=("a", "b", "c"),
            partitions=(("a", 3), ("b", 5)),
        )
    )


def test_a_rebalancing_classic_group_has_no_idle_members() -> None:
    """Its members come without subscription and assignment, which says nothing about them."""
    facts, _ = classic("PreparingRebalance", [("m", None, "c", "h", b"", b"", {})] * 2, protocol="")
    assert facts == GroupFacts(state=GroupState.PREPARING_REBALANCE, members=2)


def test_members_of_another_protocol_are_counted_and_not_read() -> None:
    """What is not the consumers' own form gives no topics, and its members are busy as far as can be told."""
    facts, _ = classic("Stable", [("m", None, "c", "h", b"\x00", b"\x00\x01\x00", {})])
    assert (facts.members, facts.idle_members, facts.topics) == (1, 0, None)


def test_a_state_with_an_unknown_name_is_unknown() -> None:
    """A later Kafka may have more states."""
    facts, _ = classic("Hibernating", [])
    assert facts.state is GroupState.UNKNOWN


def _assigned(topic: str, *partitions: int) -> tuple[object, ...]:
    return [(bytes(16), topic, list(partitions), {})], {}


@pytest.mark.parametrize("version", [0, 1])
def test_a_group_of_the_new_protocol(version: int) -> None:
    """Subscribed names count; of a regular expression, the topics that it made the broker give out."""
    kind = (1, {}) if version else ({},)
    assignment, target, nothing = _assigned("a", 0, 2), _assigned("x", 7), ([], {})
    busy = ("m1", None, None, 3, "c", "h", ["a", "b"], None, assignment, nothing, *kind)
    idle = ("m2", "i", "r", 3, "c", "h", ["a"], None, nothing, nothing, *kind)
    by_expression = ("m3", None, None, 3, "c", "h", [], "x.*", nothing, target, *kind)
    group = (0, None, "g", "Stable", 5, 5, "uniform", [busy, idle, by_expression], -(2**31), {})
    data = consumer(version).encode((0, [group, group], {}))
    first, second = (parse_consumer(d.body, version) for d in read_consumer(Answer(version, data)))
    assert first == second
    assert (first.members, first.idle_members, first.assignor) == (3, 2, "uniform")
    assert first.topics == ("a", "b", "x")
    assert first.partitions == (("a", 3), ("x", 8))


@pytest.mark.parametrize(
    ("assignor", "ceiling"),
    [("range", 4), (None, 4), ("roundrobin", 7), ("cooperative-sticky", 7), ("uniform", 7), ("own", 7)],
)
def test_the_ceiling_follows_the_assignor(assignor: str | None, ceiling: int) -> None:
    """range gives each topic out by itself; the others spread all partitions; unseen: the cautious one."""
    assert partition_ceiling(assignor, [4, 1, 2]) == ceiling


def test_no_partitions_no_consumers() -> None:
    """Without topics there is no work."""
    assert partition_ceiling(None, []) == partition_ceiling("uniform", []) == 0
