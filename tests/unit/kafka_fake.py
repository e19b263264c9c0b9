"""A small Kafka broker over a real socket, for faults that a real one cannot be made to show on demand.

It speaks the versions the operator sends, through aiokafka's schema interpreter, so that the operator's own codec is
checked against another one. Its one node is 7; all behaviour is set through attributes.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)

NODE = 7
STRING, TAGS = CompactString("utf-8"), ("tags", TaggedFields)


class Uuid(AbstractType[bytes]):
    """16 bytes."""

    encode = classmethod(lambda cls, value: value)
    decode = classmethod(lambda cls, data: data.read(16))


class Blob(AbstractType[bytes]):
    """Compact bytes."""

    encode = classmethod(lambda cls, value: UnsignedVarInt32.encode(len(value) + 1) + value)
    decode = classmethod(lambda cls, data: data.read(UnsignedVarInt32.decode(data) - 1))


def rows(*fields: tuple[str, Any]) -> CompactArray:
    return CompactArray(*fields, TAGS)


METADATA_REQUEST = Schema(
    ("topics", rows(("id", Uuid), ("name", STRING))), ("create", Boolean), ("a", Boolean), ("b", Boolean), TAGS
)
METADATA = Schema(
    ("throttle", Int32),
    ("brokers", rows(("node", Int32), ("host", STRING), ("port", Int32), ("rack", STRING))),
    ("cluster", STRING),
    ("controller", Int32),
    (
        "topics",
        rows(
            ("error", Int16),
            ("name", STRING),
            ("id", Uuid),
            ("internal", Boolean),
            (
                "partitions",
                rows(
                    ("error", Int16),
                    ("partition", Int32),
                    ("leader", Int32),
                    ("epoch", Int32),
                    ("replicas", CompactArray(Int32)),
                    ("isr", CompactArray(Int32)),
                    ("offline", CompactArray(Int32)),
                ),
            ),
            ("operations", Int32),
        ),
    ),
    ("operations", Int32),
    TAGS,
)
FIND_REQUEST = Schema(("type", Int8), ("keys", CompactArray(STRING)), TAGS)
FIND = Schema(
    ("throttle", Int32),
    (
        "coordinators",
        rows(("key", STRING), ("node", Int32), ("host", STRING), ("port", Int32), ("error", Int16), ("text", STRING)),
    ),
    TAGS,
)
FETCH_REQUEST = Schema(
    (
        "groups",
        rows(("group", STRING), ("topics", rows(("topic", STRING), ("partitions", CompactArray(Int32))))),
    ),
    ("stable", Boolean),
    TAGS,
)
FETCH = Schema(
    ("throttle", Int32),
    (
        "groups",
        rows(
            ("group", STRING),
            (
                "topics",
                rows(
                    ("topic", STRING),
                    (
                        "partitions",
                        rows(
                            ("partition", Int32),
                            ("offset", Int64),
                            ("epoch", Int32),
                            ("metadata", STRING),
                            ("error", Int16),
                        ),
                    ),
                ),
            ),
            ("error", Int16),
        ),
    ),
    TAGS,
)
LIST_REQUEST = Schema(
    ("replica", Int32),
    ("isolation", Int8),
    (
        "topics",
        rows(("topic", STRING), ("partitions", rows(("partition", Int32), ("epoch", Int32), ("timestamp", Int64)))),
    ),
    TAGS,
)
LIST = Schema(
    ("throttle", Int32),
    (
        "topics",
        rows(
            ("topic", STRING),
            (
                "partitions",
                rows(
                    ("partition", Int32),
                    ("error", Int16),
                    ("timestamp", Int64),
                    ("offset", Int64),
                    ("epoch", Int32),
                ),
            ),
        ),
    ),
    TAGS,
)
DESCRIBE_REQUEST = Schema(("groups", CompactArray(STRING)), ("operations", Boolean), TAGS)
CLASSIC_MEMBER = (
    ("member", STRING),
    ("instance", STRING),
    ("client", STRING),
    ("host", STRING),
    ("subscription", Blob),
    ("assignment", Blob),
)
DESCRIBE = Schema(
    ("throttle", Int32),
    (
        "groups",
        rows(
            ("error", Int16),
            ("group", STRING),
            ("state", STRING),
            ("type", STRING),
            ("protocol", STRING),
            ("members", rows(*CLASSIC_MEMBER)),
            ("operations", Int32),
        ),
    ),
    TAGS,
)
ASSIGNMENT = Schema(("topics", rows(("id", Uuid), ("topic", STRING), ("partitions", CompactArray(Int32)))), TAGS)
CONSUMER_MEMBER = (
    ("member", STRING),
    ("instance", STRING),
    ("rack", STRING),
    ("epoch", Int32),
    ("client", STRING),
    ("host", STRING),
    ("topics", CompactArray(STRING)),
    ("regex", STRING),
    ("assignment", ASSIGNMENT),
    ("target", ASSIGNMENT),
)


def consumer(version: int) -> Schema:
    """ConsumerGroupDescribe's answer; version 1 tells each member's type too."""
    member = CONSUMER_MEMBER if version == 0 else (*CONSUMER_MEMBER, ("type", Int8))
    group = rows(
        ("error", Int16),
        ("text", STRING),
        ("group", STRING),
        ("state", STRING),
        ("epoch", Int32),
        ("assignment_epoch", Int32),
        ("assignor", STRING),
        ("members", rows(*member)),
        ("operations", Int32),
    )
    return Schema(("throttle", Int32), ("groups", group), TAGS)


VERSIONS = {2: (1, 7), 3: (0, 12), 9: (1, 8), 10: (0, 4), 15: (0, 5), 18: (0, 3), 69: (0, 1)}


class FakeBroker:
    """One broker with topics, commits and errors as its attributes say; `async with FakeBroker() as broker:`."""

    def __init__(self) -> None:
        self.versions = dict(VERSIONS)
        self.ends: dict[str, list[int]] = {}
        self.starts: dict[str, list[int]] = {}
        self.commits: dict[str, dict[str, dict[int, int]]] = {}
        self.states: dict[str, str] = {}
        self.stale: set[str] = set()
        """Groups whose commits only a stable read shows, as after a move of the coordinator."""
        self.topic_errors: dict[str, int] = {}
        self.once: dict[int, list[int]] = {}
        """Error codes to answer with, first come first served, by request key."""
        self.always: dict[int, int] = {}
        self.log: list[tuple[int, Any]] = []
        self.spoil: Callable[[int, bytes], bytes | None] = lambda key, body: body
        """Changes an answer's body; None closes the connection instead."""
        self.more: dict[int, tuple[Schema, Schema, Callable[[Any, int], Any]]] = {}
        """Other requests, by key: the request's form, the answer's, and what answers (request, error)."""
        self.advertised: tuple[str, int] | None = None
        """Where it says that it is, when not where it is."""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def says_it_is_at(self) -> tuple[str, int]:
        return self.advertised or ("127.0.0.1", self.port)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def asked(self) -> list[int]:
        """The requests so far, without ApiVersions."""
        return [key for key, _ in self.log if key != 18]

    async def __aenter__(self) -> FakeBroker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._server is not None and self._server.is_serving():
            self._server.close()
            for writer in list(self._open):
                writer.close()
            await asyncio.gather(*self._serving)
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        if (task := asyncio.current_task()) is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                body = self._answer(await reader.readexactly(size))
                if body is None:
                    return
                writer.write(struct.pack(">i", len(body)) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()
            self._open.discard(writer)

    def _answer(self, message: bytes) -> bytes | None:
        data = BytesIO(message)
        key, _, correlation, client = struct.unpack(">hhih", data.read(10))
        data.read(client)
        head = struct.pack(">i", correlation)
        if key == 18:
            self.log.append((key, None))
            listed = b"".join(struct.pack(">hhh", k, *v) for k, v in self.versions.items())
            return head + struct.pack(">hi", 0, len(self.versions)) + listed
        data.read(1)  # no tags
        asked, schema, answer = {
            2: (LIST_REQUEST, LIST, self._list),
            3: (METADATA_REQUEST, METADATA, self._metadata),
            9: (FETCH_REQUEST, FETCH, self._fetch),
            10: (FIND_REQUEST, FIND, self._find),
            15: (DESCRIBE_REQUEST, DESCRIBE, self._describe),
            69: (DESCRIBE_REQUEST, consumer(1), self._describe_consumer),
            **self.more,
        }[key]
        request = asked.decode(data)
        assert data.read() == b"", "the request is longer than its schema"
        self.log.append((key, request))
        waiting = self.once.get(key)
        error = waiting.pop(0) if waiting else self.always.get(key, 0)
        body = self.spoil(key, schema.encode(answer(request, error)))
        return None if body is None else head + b"\x00" + body

    def _metadata(self, request: Any, error: int) -> Any:
        topics = []
        for _, name, _ in request[0]:
            code = self.topic_errors.get(name, error if name in self.ends else 3)
            partitions = [(0, p, NODE, 0, [NODE], [NODE], [], {}) for p in range(0 if code else len(self.ends[name]))]
            topics.append((code, name, name.encode().ljust(16)[:16], False, partitions, 0, {}))
        return 0, [(NODE, *self.says_it_is_at, None, {})], "fake", NODE, topics, 0, {}

    def _find(self, request: Any, error: int) -> Any:
        return (
            0,
            [(group, NODE, *self.says_it_is_at, error, None, {}) for group in request[1]],
            {},
        )

    def _fetch(self, request: Any, error: int) -> Any:
        groups = []
        for group, asked, _ in request[0]:
            known = {} if group in self.stale and not request[1] else self.commits.get(group, {})
            if asked is None:
                wanted = {topic: list(found) for topic, found in known.items()}
            else:
                wanted = {topic: partitions for topic, partitions, _ in asked}
            topics = [
                (
                    topic,
                    [
                        (p, known.get(topic, {}).get(p, -1), -1, "", self.topic_errors.get(topic, 0), {})
                        for p in partitions
                    ],
                    {},
                )
                for topic, partitions in wanted.items()
            ]
            groups.append((group, [] if error else topics, error, {}))
        return 0, groups, {}

    def _list(self, request: Any, error: int) -> Any:
        topics = []
        for topic, partitions, _ in request[2]:
            values = [
                (self.starts.get(topic, [0] * len(self.ends[topic])) if at == -2 else self.ends[topic])[p]
                for p, _, at, _ in partitions
            ]
            # An error hits the last partition only: the others' offsets must not be used either.
            codes = [0] * (len(partitions) - 1) + [error]
            listed = [
                (p, code, -1, -1 if code else value, 0, {})
                for (p, _, _, _), code, value in zip(partitions, codes, values, strict=True)
            ]
            topics.append((topic, listed, {}))
        return 0, topics, {}

    def _describe(self, request: Any, error: int) -> Any:
        return (
            0,
            [(error, g, self.states.get(g, "Dead"), "consumer", "range", [], 0, {}) for g in request[0]],
            {},
        )

    def _describe_consumer(self, request: Any, error: int) -> Any:
        return 0, [(error or 69, None, g, "", 0, 0, "", [], 0, {}) for g in request[0]], {}
