"""Settings that the brokers keep for a group, such as where a share group begins (KIP-848, KIP-932).

By IncrementalAlterConfigs 0, which aiokafka does not have; Kafka's own tool for it takes a JVM and two seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

_TIMEOUT_SECONDS = 30.0
_GROUP, _SET = 32, 0  # the kind of resource, the kind of change
_TEXT = String("utf-8")


class _Changed(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 44, 0
    SCHEMA = Schema(
        ("throttle", Int32),
        ("resources", Array(("error", Int16), ("message", _TEXT), ("type", Int8), ("name", _TEXT))),
    )


class _Change_v0(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, RESPONSE_TYPE = 44, 0, _Changed
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("type", Int8), ("name", _TEXT), ("settings", Array(("name", _TEXT), ("how", Int8), ("value", _TEXT)))
            ),
        ),
        ("validate_only", Boolean),
    )


class _Change(Request[_Change_v0]):  # type: ignore[misc]
    API_KEY = 44

    def __init__(self, group: str, settings: Mapping[str, str]) -> None:
        self._resource = (_GROUP, group, [(name, _SET, value) for name, value in settings.items()])

    def build(self, request_class: type[_Change_v0]) -> _Change_v0:
        return request_class([self._resource], False)


async def change(bootstrap: str, group: str, settings: Mapping[str, str]) -> None:
    """Returns when the controller has taken them; the broker that coordinates the group learns it a moment later."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await client.bootstrap()
            answer = await client.send(client.get_random_node(), _Change(group, settings))
    finally:
        await client.close()
    for code, message, _, _ in answer.resources:
        if code:
            raise for_code(code)(f"{group}: {message}")
