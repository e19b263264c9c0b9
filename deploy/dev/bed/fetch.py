"""What every way to obtain a part shares: progress lines, one builder at a time, verified downloads.

Nothing half-made is ever found under a final name: work happens in a temporary neighbour that is renamed when
it is whole. A host that refused a connection is not asked again in this run, so a machine without that access
loses no time on it.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bed.processes import die_with_parent

_CONNECT_SECONDS = 8.0  # also the longest silence inside a download
_unreachable: dict[str, str] = {}


class PartUnavailable(RuntimeError):
    """A part cannot be had in this way; the message says why and what would help."""


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Prints what is being done and how long it took; on a terminal the seconds count on the same line."""
    begin, done = time.monotonic(), threading.Event()
    tty = sys.stderr.isatty()

    def tick() -> None:
        while not done.wait(1.0):
            print(f"\r  {what} … {time.monotonic() - begin:.0f} s", end="", file=sys.stderr, flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    if tty:
        ticker.start()
    else:
        print(f"  {what} …", file=sys.stderr, flush=True)
    word = "failed"
    try:
        yield
        word = "done"
    finally:
        done.set()
        if tty:
            ticker.join()
        start = "\r" if tty else ""
        print(f"{start}  {what}: {word}, {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds the lock of `target`, so that two runs do not make the same thing; it is freed even if we die."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with progress(f"waiting for another run that makes {target.name}"):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`, so that a rename from it is atomic; removed at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(
    command: Sequence[str | Path],
    *,
    timeout_seconds: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Runs a builder and returns its stdout; raises PartUnavailable with the end of its output."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
            preexec_fn=die_with_parent(os.getpid()),
        )
    except subprocess.TimeoutExpired as error:
        raise PartUnavailable(f"{words[0]} took longer than {timeout_seconds:.0f} s") from error
    except OSError as error:
        raise PartUnavailable(f"{words[0]} cannot be started: {error}") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise PartUnavailable(f"{' '.join(words[:4])} … failed with {done.returncode}:\n{tail}")
    return done.stdout


@contextmanager
def _opened(url: str) -> Iterator[http.client.HTTPResponse]:
    host = urllib.parse.urlsplit(url).netloc
    if host in _unreachable:
        raise PartUnavailable(f"{host}: {_unreachable[host]}")
    request = urllib.request.Request(url, headers={"User-Agent": "consumer-autoscaler-bed"})
    try:
        with urllib.request.urlopen(request, timeout=_CONNECT_SECONDS) as response:
            yield response
    except urllib.error.HTTPError as error:
        # 404 is about this one file; everything else is the host or a gate before it.
        if error.code != 404:
            _unreachable[host] = f"HTTP {error.code}"
        raise PartUnavailable(f"{url}: HTTP {error.code}") from error
    except OSError as error:
        _unreachable[host] = str(getattr(error, "reason", error))
        raise PartUnavailable(f"{host}: {_unreachable[host]}") from error


def read_text(url: str) -> str:
    """A small text file such as a checksum list."""
    with _opened(url) as response:
        return response.read(4_000_000).decode("utf-8", "replace")


def download(url: str, to: Path, *, digest: str, algorithm: str = "sha256") -> None:
    """Fetches `url` into `to`; raises PartUnavailable unless its hash is `digest` (hex, any case)."""
    state = hashlib.new(algorithm)
    with _opened(url) as response, to.open("wb") as sink:
        while block := response.read(1 << 20):
            state.update(block)
            sink.write(block)
    if state.hexdigest() != digest.lower():
        with suppress(OSError):
            to.unlink()
        raise PartUnavailable(f"{url}: {algorithm} is {state.hexdigest()}, published is {digest.lower()}")
