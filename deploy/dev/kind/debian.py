"""Base images from Debian packages, for machines that reach a package mirror but no image registry.

They hold this machine's certificates and pip settings where it has any, so they are for this machine only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bed.fetch import PartUnavailable, progress, run, scratch
from bed.paths import cache
from kind.engine import Engine

# What a builder in a container needs to reach the same registries as this machine.
_SETTINGS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
_UNNEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
_SECONDS = 900.0


def image(engine: Engine, name: str, packages: Sequence[str]) -> str:
    """The name of a base image with these packages and what they need; raises PartUnavailable."""
    suite = _suite()
    tag = f"e2e/{name}:{suite}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:8]}"
    if engine.has_image(tag):
        return tag
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise PartUnavailable(f"the image {name} can be built from packages by root, with debootstrap installed, only")
    debs = cache() / "debs"
    debs.mkdir(exist_ok=True)
    with scratch(cache() / f"debian-{name}") as folder, progress(f"base image {name}: Debian packages"):
        root = folder / "root"
        included = ",".join(packages)
        run(
            [
                "debootstrap",
                "--variant=minbase",
                f"--include={included}",
                f"--cache-dir={debs}",
                suite,
                root,
                _mirror(),
            ],
            timeout_seconds=_SECONDS,
        )
        for unneeded in _UNNEEDED:
            shutil.rmtree(root / unneeded, ignore_errors=True)
            (root / unneeded).mkdir(parents=True)
        for setting in map(Path, _SETTINGS):
            if setting.exists():
                (root / setting.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(setting, root / setting.relative_to("/"))
        import_folder(engine, root, tag)
    return tag


def import_folder(engine: Engine, root: Path, tag: str, *changes: str) -> None:
    """An image of one layer from a folder; `changes` are lines as of a Dockerfile."""
    packed = subprocess.Popen(
        ["tar", "-C", root, "-c", "--numeric-owner", "--exclude=./dev", "--exclude=./proc/*", "--exclude=./sys/*", "."],
        stdout=subprocess.PIPE,
    )
    assert packed.stdout is not None
    with packed.stdout:
        engine.docker(
            "import", *(f"--change={change}" for change in changes), "-", tag,
            stdin=packed.stdout, timeout_seconds=300,
        )  # fmt: skip
    if packed.wait(60):
        raise PartUnavailable(f"tar of {root} failed with {packed.returncode}")


def _suite() -> str:
    """The release of this machine's Debian; stable where it is another system."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return "stable"
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return found.get("VERSION_CODENAME", "stable") if found.get("ID") == "debian" else "stable"


def _mirror() -> str:
    """Where this machine takes its packages from."""
    said = run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Origin: Debian"],
        timeout_seconds=30,
    )
    sites = [site for site in said.split() if "security" not in site]
    if not sites:
        raise PartUnavailable("apt knows no mirror of Debian")
    return sites[0]
