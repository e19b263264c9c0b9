"""A database that all consumers share, with one limit for all of them together.

Writes are worked off one after the other: n rows take n / rate seconds, so a consumer among many waits for the writes
of the others, and more consumers do not make it faster. The protocol is one line with the number of rows, answered by
one line when they are written.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self


class Database:
    """`async with Database(rate) as database:` listens on `database.address`. The rate may be changed at any time."""

    def __init__(self, rows_per_second: float, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.rows_per_second = rows_per_second
        self.rows = 0
        self._host, self._port = host, port
        self._free_at = 0.0
        self._sessions: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        await self._server.wait_closed()

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        try:
            while line := await reader.readline():
                await self._write(int(line))
                writer.write(b"done\n")
        except (ConnectionError, asyncio.CancelledError):
            pass  # the consumer has gone, or the database ends
        finally:
            self._sessions.discard(session)
            writer.close()

    async def _write(self, rows: int) -> None:
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + rows / self.rows_per_second
        await asyncio.sleep(self._free_at - now)
        self.rows += rows


class Connection:
    """One consumer's connection, opened by its first write."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def write(self, rows: int) -> None:
        """Returns when they are written. Raises OSError when the database is away."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(f"{rows}\n".encode())
        if not await reader.readline():
            raise ConnectionResetError("the database has ended the connection")

    async def aclose(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            with suppress(OSError):
                await self._streams[1].wait_closed()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bed.workload database", description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="rows per second for all together")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with Database(options.rate, port=options.port):
            await stop.wait()

    asyncio.run(serve())
