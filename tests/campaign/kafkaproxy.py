"""A proxy between one operator and a real broker that knows the frames of the protocol, and can fail in between.

The broker tells its clients an address of its own, which this proxy replaces by its own in every answer (the lengths
are the same), so all that the operator asks goes through it. Faults are about the kinds of requests, by their keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

LIST_OFFSETS, METADATA, OFFSET_FETCH, FIND_COORDINATOR, DESCRIBE_GROUPS, CONSUMER_GROUP_DESCRIBE = 2, 3, 9, 10, 15, 69
_HOST = b"127.0.0.1"
Change = Callable[[bytes], bytes]


@dataclass(slots=True, eq=False)
class _Line:
    """One connection of the operator's, and the keys of what was asked on it, by correlation id."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    asked: dict[bytes, int] = field(default_factory=dict)

    def cut(self) -> None:
        for writer in (self.near, self.far):
            writer.transport.abort()


class KafkaProxy:
    """`async with KafkaProxy("127.0.0.1:9092") as proxy`; `proxy.address` is what the operator is given.

    `unanswered`: keys of requests that get no answer. `torn`: keys of those whose answer breaks off half-way, with the
    connection. `changed`: what becomes of answers, by key. `delay_seconds`: before each answer. `frozen`: connections
    stay open, new ones are accepted, and nothing gets through.
    """

    def __init__(self, bootstrap: str) -> None:
        self._host, _, port = bootstrap.partition(",")[0].rpartition(":")
        self._far_port = int(port)
        self.port = 0
        self.delay_seconds = 0.0
        self.unanswered: frozenset[int] = frozenset()
        self.torn: frozenset[int] = frozenset()
        self.changed: Mapping[int, Change] = {}
        self.met: Counter[int] = Counter()
        """How many requests of each key a fault was done to."""
        self.accepted = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def up(self) -> None:
        """Listens (again), at the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def down(self) -> None:
        """As if the broker were killed: connections are reset, new ones refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        for line in list(self._lines):
            line.cut()

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection(self._host, self._far_port)
            line = _Line(writer, far_writer)
            self._lines.add(line)
            both = [
                asyncio.create_task(self._requests(reader, line)),
                asyncio.create_task(self._answers(far_reader, line)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
                line.cut()
                self._lines.discard(line)
            return
        writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, line: _Line) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                await self._flowing.wait()
                key = struct.unpack_from(">h", frame)[0]
                if key in self.unanswered:
                    self.met[key] += 1
                    continue
                line.asked[frame[4:8]] = key
                await _send(line.far, frame)

    async def _answers(self, reader: asyncio.StreamReader, line: _Line) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                key = line.asked.pop(frame[:4], -1)
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await self._flowing.wait()
                if key in self.torn:
                    self.met[key] += 1
                    line.near.write(struct.pack(">i", len(frame)) + frame[: len(frame) // 2])
                    await line.near.drain()
                    return
                if key in self.changed:
                    self.met[key] += 1
                    frame = self.changed[key](frame)
                await _send(line.near, self._own_address(frame))

    def _own_address(self, frame: bytes) -> bytes:
        theirs, ours = (_HOST + struct.pack(">i", port) for port in (self._far_port, self.port))
        return frame.replace(theirs, ours)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)


async def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)
    await writer.drain()


def group_error(code: int) -> Change:
    """An OffsetFetch answer (version 8, one group) whose group has this error, whatever else is in it."""
    return lambda frame: frame[:-4] + struct.pack(">h", code) + frame[-2:]


def partition_error(code: int, partition: int, topic: str) -> Change:
    """A ListOffsets answer (version 7) in which one partition has this error and no offset; the others are right."""

    def change(frame: bytes) -> bytes:
        # Correlation id, tags, throttle time, count of topics; the topic's name with its length; count of rows.
        place = 4 + 1 + 4 + 1 + 1 + len(topic) + 1
        while place + 27 <= len(frame):
            (found,) = struct.unpack_from(">i", frame, place)
            if found == partition:
                row = struct.pack(">ihqqi", partition, code, -1, -1, -1)
                return frame[:place] + row + frame[place + len(row) :]
            place += 27
        return frame

    return change
