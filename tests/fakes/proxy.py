"""A TCP proxy that can freeze or cut its connections: a network that fails between two real parties."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType
from typing import Self


class Proxy:
    """`async with Proxy(host, port)` listens on `port` of 127.0.0.1 and forwards to the given address.

    `listen` asks for that port; `accepted` are the times of all connections so far, by the monotonic clock.

    Frozen, it keeps connections open, accepts new ones and forwards nothing, as a peer that hangs does.
    `delay_seconds` is how long it keeps what a client sends before it forwards it; answers are not delayed.
    """

    delay_seconds = 0.0

    def __init__(self, host: str, port: int, *, listen: int = 0) -> None:
        self._target = (host, port)
        self._listen = listen
        self.accepted: list[float] = []
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._listen)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def cut(self) -> None:
        """End every connection at once, as a process that is killed does."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(time.monotonic())
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers.add(far_writer)
            done = {
                asyncio.create_task(self._pump(reader, far_writer, delayed=True)),
                asyncio.create_task(self._pump(far_reader, writer)),
            }
            try:
                await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in done:
                    task.cancel()
                await asyncio.gather(*done, return_exceptions=True)
                for each in (writer, far_writer):
                    each.transport.abort()
                    self._writers.discard(each)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delayed: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if delayed:
                    await asyncio.sleep(self.delay_seconds)
                await self._open.wait()
                writer.write(data)
                await writer.drain()
