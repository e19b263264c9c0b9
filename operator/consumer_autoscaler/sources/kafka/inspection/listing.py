"""Which groups a cluster has: ListGroups to every broker, since each names those that it coordinates."""

from __future__ import annotations

import asyncio

from consumer_autoscaler.sources.kafka.broker import BrokerFailed
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.wire import codes
from consumer_autoscaler.sources.kafka.wire import requests as wire
from consumer_autoscaler.sources.kafka.wire.codec import DECODE_ERRORS, NO_TAGS, Cursor, array

_EVERY_STATE = array([]) + NO_TAGS


async def list_groups(brokers: Brokers) -> list[str]:
    """Ids of all groups, sorted, of every kind; those a client has no right to describe are left out by the broker.

    Raises BrokerFailed when a broker does not answer: a list that may lack groups is no list.
    """
    await brokers.ask_metadata(())  # makes the brokers known
    request = wire.Request(wire.LIST_GROUPS, (4,), _EVERY_STATE)
    answers = await asyncio.gather(*(brokers.ask(node, request) for node in brokers.node_ids))
    try:
        return sorted({group for answer in answers for group in _read(answer.data)})
    except DECODE_ERRORS as error:
        raise BrokerFailed(f"a broker's list of groups cannot be read: {error}") from error


def _read(data: bytes) -> list[str]:
    cursor = Cursor(data, 4)
    if error := cursor.int16():
        raise BrokerFailed(f"the groups cannot be listed: {codes.words(error)}")
    found = []
    for _ in range(cursor.count()):
        found.append(cursor.string())
        for _ in range(2):  # protocol type, state
            cursor.skip_blob()
        cursor.skip_tags()
    return found
