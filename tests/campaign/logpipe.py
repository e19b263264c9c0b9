"""A log that goes through a small pipe to its file, so that nobody may take it for a while."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path


class LogPipe:
    """`path` is where a process writes to; `file` gets it. `hold()` stops the reading, `release()` goes on with it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.path = file.with_suffix(".pipe")
        os.mkfifo(self.path)
        # Open for writing as well, so that there is no end of file while no process is there.
        self._end = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._end, fcntl.F_SETPIPE_SZ, 4096)
        self._sink = file.open("ab", buffering=0)
        self.release()

    def hold(self) -> None:
        asyncio.get_running_loop().remove_reader(self._end)

    def release(self) -> None:
        asyncio.get_running_loop().add_reader(self._end, self._copy)

    def close(self) -> None:
        self.hold()
        os.close(self._end)
        self._sink.close()

    def _copy(self) -> None:
        self._sink.write(os.read(self._end, 65536))
