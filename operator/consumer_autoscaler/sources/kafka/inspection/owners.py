"""Which member of a group has which partition, for people; readings for scaling only count members.

In share groups nobody has a partition for himself, so they have no owners.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from consumer_autoscaler.sources.kafka.broker import BrokerFailed, RequestUnsupported
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.groups.streams import partition_owners
from consumer_autoscaler.sources.kafka.topology import Topology
from consumer_autoscaler.sources.kafka.wire import requests as wire
from consumer_autoscaler.sources.kafka.wire.codec import DECODE_ERRORS, Cursor
from consumer_autoscaler.sources.kafka.wire.streams import describe_streams, read_streams


@dataclass(frozen=True, slots=True)
class Owner:
    """A member of a group as its coordinator knows it; `instance_id` is empty for a dynamic member."""

    member_id: str
    instance_id: str
    client_id: str
    host: str


Owners = dict[tuple[str, int], Owner]


async def read_owners(brokers: Brokers, topology: Topology, groups: Iterable[str]) -> dict[str, Owners]:
    """Of each group that answers, the owner of each partition that has one. Raises nothing: owners are an extra."""
    found: dict[str, Owners] = {}
    await topology.ensure_coordinators(groups)
    await asyncio.gather(*(_ask(brokers, node, names, found) for node, names in topology.by_coordinator(groups)))
    return found


async def _ask(brokers: Brokers, node: int, groups: list[str], found: dict[str, Owners]) -> None:
    try:
        try:
            answer = await brokers.ask(node, wire.describe_consumer(groups))
        except RequestUnsupported:
            pass
        else:
            for seen in wire.read_consumer(answer):
                if not seen.error:
                    found[seen.group] = _consumer_owners(seen.body, answer.version)
        try:
            answer = await brokers.ask(node, describe_streams([g for g in groups if g not in found]))
        except RequestUnsupported:
            pass
        else:
            for seen in read_streams(answer):
                if not seen.error:
                    owners = partition_owners(seen.body).items()
                    found[seen.group] = {
                        place: Owner(m.member_id, m.instance_id, m.client_id, m.host) for place, m in owners
                    }
        answer = await brokers.ask(node, wire.describe_classic([g for g in groups if g not in found]))
        for seen in wire.read_classic(answer.data):
            if not seen.error:
                found[seen.group] = _classic_owners(seen.body)
    except (BrokerFailed, *DECODE_ERRORS):
        return


def _classic_owners(body: bytes) -> Owners:
    """A ConsumerProtocolAssignment of any version; members are given nothing unless the group is Stable."""
    owners: Owners = {}
    cursor = Cursor(body)
    for _ in range(3):  # state, protocol type, protocol
        cursor.skip_blob()
    for _ in range(cursor.count()):
        owner = Owner(cursor.string(), cursor.string(), cursor.string(), cursor.string())
        cursor.skip_blob()  # subscription
        assignment = Cursor(cursor.blob())
        cursor.skip_tags()
        if not assignment.data:
            continue
        assignment.int16()  # version
        for _ in range(assignment.old_count()):
            topic = assignment.old_string()
            for _ in range(assignment.old_count()):
                owners[topic, assignment.int32()] = owner
    return owners


def _consumer_owners(body: bytes, version: int) -> Owners:
    owners: Owners = {}
    cursor = Cursor(body)
    cursor.skip_blob()  # state
    cursor.skip(8)  # epochs
    cursor.skip_blob()  # assignor
    for _ in range(cursor.count()):
        member_id, instance_id = cursor.string(), cursor.string()
        cursor.skip_blob()  # rack
        cursor.skip(4)  # epoch
        owner = Owner(member_id, instance_id, cursor.string(), cursor.string())
        for _ in range(cursor.count()):  # subscribed topics
            cursor.skip_blob()
        cursor.skip_blob()  # subscribed regular expression
        _note(cursor, owner, owners)
        _note(cursor, owner, {})  # target assignment: not yet theirs
        wire.skip_consumer_member_tail(cursor, version)
    return owners


def _note(cursor: Cursor, owner: Owner, owners: Owners) -> None:
    for _ in range(cursor.count()):
        cursor.skip(16)  # topic id
        topic = cursor.string()
        for _ in range(cursor.count()):
            owners[topic, cursor.int32()] = owner
        cursor.skip_tags()
    cursor.skip_tags()
