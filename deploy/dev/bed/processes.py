"""Children that log to a file, are ended by their own pid, and die with their parent.

The kernel ends a child when the thread that started it goes away (prctl PR_SET_PDEATHSIG, Linux), so nothing
survives even a `kill -9` of the bed. Start children from a thread that lives as long as the bed, which the
main thread does.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_given_ports: set[int] = set()


class ProcessFailed(RuntimeError):
    """A part of the bed did not start or ended by itself; the message carries the end of its log."""


def die_with_parent(parent: int) -> Callable[[], None]:
    """A `preexec_fn` after which the child gets SIGKILL when its parent ends."""

    def before_exec() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent ended between fork and prctl
                os._exit(1)

    return before_exec


def _first_ephemeral_port() -> int:
    try:
        return max(int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]), 16_384)
    except OSError:
        return 49_152  # what IANA says, and what macOS uses


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free on `host` a moment ago.

    It lies below the range from which the kernel takes the local ports of outgoing connections: the bed's own
    connections would otherwise now and then take a port before the part that it is meant for listens on it.
    """
    for _ in range(100):
        port = random.randrange(_first_ephemeral_port() - 12_000, _first_ephemeral_port())
        with socket.socket() as s:
            try:
                s.bind((host, port))
            except OSError:
                continue
        if port not in _given_ports:
            _given_ports.add(port)
            return port
    raise ProcessFailed(f"no free port found on {host}")


class Process:
    """One running child: `pid`, `log`, `stop()`. Raises ProcessFailed when it cannot be started."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            try:
                self._child = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env=None if env is None else {**os.environ, **env},
                    cwd=cwd,
                    start_new_session=True,  # Ctrl-C goes to the bed, which stops its parts in order
                    preexec_fn=die_with_parent(os.getpid()),
                )
            except OSError as error:
                raise ProcessFailed(f"{name} cannot be started: {error}") from error

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._child.poll()

    def log_tail(self, lines: int = 15) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def send(self, number: signal.Signals) -> None:
        if self.returncode is None:
            self._child.send_signal(number)

    def stop(self, *, grace_seconds: float = 5.0) -> int | None:
        """SIGTERM, then SIGKILL after the grace; 0 kills at once. Waits until it is gone."""
        if self.returncode is None:
            self.send(signal.SIGCONT)  # a child that a test has stopped must be able to end
            self.send(signal.SIGTERM if grace_seconds else signal.SIGKILL)
            try:
                self._child.wait(grace_seconds or None)
            except subprocess.TimeoutExpired:
                self.send(signal.SIGKILL)
                self._child.wait()
        return self.returncode

    def wait_until(self, ready: Callable[[], bool], *, timeout_seconds: float, poll_seconds: float = 0.1) -> None:
        """Waits for `ready()`; raises ProcessFailed if the child ends first or time runs out."""
        end = time.monotonic() + timeout_seconds
        while not ready():
            if self.returncode is not None:
                raise ProcessFailed(f"{self.name} ended with {self.returncode}\n{self.log_tail()}")
            if time.monotonic() > end:
                late = f"{self.name} not ready within {timeout_seconds:.0f} s"
                raise ProcessFailed(f"{late}\n{self.log_tail()}")
            time.sleep(poll_seconds)


class Part(ABC):
    """A part of the bed: `with Part(...)` starts it, and stops it also when the start fails half-way."""

    @abstractmethod
    def start(self) -> None:
        """Returns when the part is ready."""

    @abstractmethod
    def stop(self) -> None:
        """Ends it; may be called twice, and after a start that failed."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
