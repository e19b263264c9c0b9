"""The Docker engine: the one that answers, else one of our own that leaves an installed one's settings alone.

Our own has its data, sockets and settings in the cache folder, is found again by its pid file, and stays until
`stop()`. It is for machines where the packages are there and nobody started the service.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bed.fetch import PartUnavailable, progress
from bed.paths import cache

_INSTALL = """\
no Docker engine answers, and none can be started here: {why}
On an ordinary machine: https://docs.docker.com/engine/install/ (then `docker info` must work for this user).
On Debian or Ubuntu, as root: apt-get install docker.io debootstrap containernetworking-plugins conntrack iptables"""
_CAP_SYS_RESOURCE = 24  # <linux/capability.h>
# runc refuses a list of capabilities with one that the machine itself does not have.
_RUNC_WITHOUT_SYS_RESOURCE = """\
#!/bin/sh
drop() { if [ -f "$1" ]; then sed -i -e 's/,"CAP_SYS_RESOURCE"//g' -e 's/"CAP_SYS_RESOURCE",//g' "$1"; fi; }
before=
for word; do
  case $before in --bundle|-b) drop "$word/config.json" ;; --process|-p) drop "$word" ;; esac
  case $word in --bundle=*) drop "${word#*=}/config.json" ;; --process=*) drop "${word#*=}" ;; esac
  before=$word
done
exec RUNC "$@"
"""


class DockerFailed(RuntimeError):
    """A docker command ended with an error or took too long; the message carries the end of its output."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers. `environment` is what docker, kind and the like need to find it."""

    environment: dict[str, str]
    own: bool

    def docker(self, *arguments: str | Path, stdin: IO[bytes] | None = None, timeout_seconds: float = 60.0) -> str:
        """What a docker command prints; raises DockerFailed."""
        command = ["docker", *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                stdin=stdin or subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=self.environment,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DockerFailed(f"{' '.join(command[:4])} … took longer than {timeout_seconds:.0f} s") from error
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines()
            raise DockerFailed(f"{' '.join(command[:6])} … failed:\n" + "\n".join(said[-15:]))
        return done.stdout

    def has_image(self, name: str) -> bool:
        return bool(self.docker("image", "ls", "--quiet", name).strip())


def engine() -> Engine:
    """The engine of this machine, started if it may be; raises PartUnavailable with what to install."""
    if shutil.which("docker") is None:
        raise PartUnavailable(_INSTALL.format(why="the docker client is not installed"))
    if _answers(dict(os.environ)):
        return Engine(dict(os.environ), own=False)
    own = Engine({**os.environ, "DOCKER_HOST": f"unix://{_folder() / 'socket'}", "DOCKER_BUILDKIT": "0"}, own=True)
    if not _answers(own.environment):
        _start(own)
    return own


def stop() -> None:
    """Ends our own engine, if it runs; images and the rest of its data stay for the next time."""
    pid = _pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        _wait_until(lambda: _pid() is None, 60, "the Docker engine did not end")


def _folder() -> Path:
    return cache() / "docker"


def _pid() -> int | None:
    """Of our dockerd, if it runs. The file alone says little: after a restart of the machine it is another's."""
    try:
        pid = int((_folder() / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if str(_folder()).encode() in command else None


def _answers(environment: dict[str, str]) -> bool:
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            env=environment,
            capture_output=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _start(own: Engine) -> None:
    dockerd = shutil.which("dockerd")
    if dockerd is None:
        raise PartUnavailable(_INSTALL.format(why="dockerd is not installed"))
    if os.geteuid() != 0:
        raise PartUnavailable(_INSTALL.format(why="starting dockerd needs root"))
    folder = _folder()
    folder.mkdir(exist_ok=True)
    (folder / "daemon.json").write_text(json.dumps(_settings(folder), indent=2))
    if _pid() is None:
        (folder / "pid").unlink(missing_ok=True)
    with progress("starting a Docker engine of our own"), (folder / "dockerd.log").open("ab") as log:
        child = subprocess.Popen(
            [dockerd, "--config-file", folder / "daemon.json"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it stays for the next run; `stop` ends it
        )

        def up() -> bool:
            if child.poll() is not None:
                tail = "\n".join((folder / "dockerd.log").read_text(errors="replace").splitlines()[-8:])
                raise PartUnavailable(_INSTALL.format(why=f"dockerd ended with {child.returncode}\n{tail}\n"))
            return _answers(own.environment)

        _wait_until(up, 60, "the Docker engine did not answer")


def _settings(folder: Path) -> dict[str, object]:
    settings: dict[str, object] = {
        "data-root": str(folder / "data"),
        "exec-root": str(folder / "exec"),
        "pidfile": str(folder / "pid"),
        "hosts": [f"unix://{folder / 'socket'}"],
        "bridge": "none",  # kind makes a network of its own; builds use the machine's
    }
    if not _may_raise_limits():
        runc = folder / "runc-without-sys-resource"
        runc.write_text(_RUNC_WITHOUT_SYS_RESOURCE.replace("RUNC", shutil.which("runc") or "/usr/sbin/runc"))
        runc.chmod(0o755)
        settings |= {"default-runtime": "limited", "runtimes": {"limited": {"path": str(runc)}}}
    return settings


def _may_raise_limits() -> bool:
    """Whether this machine's bounding set of capabilities has CAP_SYS_RESOURCE, which privileged containers get."""
    line = next(text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("CapBnd:"))
    return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)


def _wait_until(condition: Callable[[], bool], timeout_seconds: float, otherwise: str) -> None:
    end = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > end:
            raise PartUnavailable(f"{otherwise} within {timeout_seconds:.0f} s: see {_folder() / 'dockerd.log'}")
        time.sleep(0.2)
