"""Why the operator uses aiokafka's connection and nothing above it: each defect, shown on the version that is locked.

A test that fails here after an update means that aiokafka has changed: the workaround named with it in
docs/aiokafka-defects.md can be looked at again, and perhaps go.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from aiokafka import client as client_module
from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import DescribeGroupsRequest_v3
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import TaggedFields
from aiokafka.structs import BrokerMetadata
from tests.unit.kafka_fake import FakeBroker

from bed.processes import free_port

HERE = "127.0.0.1"


def test_an_answer_about_two_groups_cannot_be_read() -> None:
    """Version 3 is read with version 2's schema, so the rights after the first group are taken for a group."""
    not_asked = -(2**31)  # authorized_operations

    def group(name: bytes) -> bytes:
        texts = b"".join(struct.pack(">h", len(text)) + text for text in (name, b"Stable", b"consumer", b"range"))
        return struct.pack(">h", 0) + texts + struct.pack(">ii", 0, not_asked)

    answer = struct.pack(">ii", 0, 2) + group(b"one") + group(b"two")
    with pytest.raises(ValueError, match=r"unpack|underrun|Buffer"):
        DescribeGroupsRequest_v3.RESPONSE_TYPE.decode(BytesIO(answer))


def test_asking_for_metadata_creates_topics_unless_it_is_forbidden() -> None:
    """None becomes True."""
    request = MetadataRequest(["absent"]).prepare({MetadataRequest.API_KEY: (0, 5)})
    assert request.encode()[-1:] == b"\x01"


async def test_commits_that_could_not_be_read_look_like_no_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator's error is the answer's own code, with no topics beside it; it is not looked at."""

    class Answer:
        topics: tuple[()] = ()
        error_code = errors.NotCoordinatorForGroupError.errno

    async def answered(*_: object) -> Answer:
        return Answer()

    admin = AIOKafkaAdminClient()
    monkeypatch.setattr(admin, "_send_request", answered)
    try:
        assert await admin.list_consumer_group_offsets("group", group_coordinator_id=1) == {}
    finally:
        await admin.close()


@pytest.mark.parametrize("code", [74, 75, 78])
def test_some_error_codes_have_no_class(code: int) -> None:
    assert errors.for_code(code) is errors.UnknownError


def test_tags_are_written_without_their_size() -> None:
    """KIP-482: number, size, value."""
    with pytest.raises((AssertionError, TypeError, ValueError)):
        assert TaggedFields.encode({1: b"ab"}) == b"\x01\x01\x02ab"


@pytest.fixture
async def client() -> Any:
    made = AIOKafkaClient(bootstrap_servers=f"{HERE}:{free_port()}", request_timeout_ms=600)
    yield made
    with suppress(Exception):  # the death of its refresh task comes out of here once more
        await made.close()


def brokers(client: AIOKafkaClient, ports: dict[int, int]) -> None:
    client.cluster._brokers = {node: BrokerMetadata(node, HERE, port, None) for node, port in ports.items()}


async def test_one_silent_broker_keeps_all_others_from_being_connected_to(client: AIOKafkaClient) -> None:
    """A lock is held over the whole handshake: the healthy broker is reached only after the silent one timed out."""
    reached: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    silent = await asyncio.start_server(lambda _, writer: reached.set_result(writer), HERE, 0)
    async with silent, FakeBroker() as healthy:
        brokers(client, {1: silent.sockets[0].getsockname()[1], 2: healthy.port})
        first = asyncio.create_task(client._get_conn(1))
        writer = await reached
        assert await client._get_conn(2) is not None
        assert first.done()
        writer.close()


async def test_the_bootstrap_addresses_are_never_asked_again() -> None:
    """KIP-899: all brokers that are known have gone, one that the user named is there."""
    async with FakeBroker() as named:
        client = AIOKafkaClient(bootstrap_servers=named.address, request_timeout_ms=600)
        brokers(client, {1: free_port(), 2: free_port()})
        assert not await client._metadata_update(client.cluster, ["topic"])
        assert named.log == []
        await client.close()


async def test_an_unexpected_error_ends_the_refresh_of_metadata_for_good(
    client: AIOKafkaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one from a token provider: only OSError, TimeoutError and KafkaError are caught."""

    async def failing(*_: object, **__: object) -> None:
        raise RuntimeError("the token endpoint has moved")

    monkeypatch.setattr(client_module, "create_conn", failing)
    brokers(client, {1: free_port()})
    client._sync_task = asyncio.create_task(client._md_synchronizer())
    client.force_metadata_update()
    await asyncio.wait([client._sync_task], timeout=5)
    assert isinstance(client._sync_task.exception(), RuntimeError)


async def test_a_missing_broker_is_an_error_of_the_connection_only() -> None:
    """What the operator builds on instead: the connection itself says what went wrong."""
    with pytest.raises((KafkaConnectionError, OSError)):
        await client_module.create_conn(HERE, free_port(), request_timeout_ms=600)
