"""Where the bed's programs come from: one interface over cache, release download and build from modules.

The sources of a program, in this order, and the first that works is used:

1. the folder in `CONSUMER_AUTOSCALER_PROGRAMS`, taken as it is;
2. the cache (see `paths`), keyed by version;
3. PATH, if the program there has the pinned version;
4. the project's release page, verified by the checksum published there;
5. a build from Go modules.

    python -m bed.parts [--list] [NAME …]     obtains (or lists) the named parts, default all
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bed.fetch import PartUnavailable, download, locked, progress, read_text, scratch
from bed.gomodules import GoProgram, build
from bed.jvm import KAFKA_NEWEST_VERSION, KAFKA_OLD_VERSION, KAFKA_VERSION, java, kafka_libs
from bed.paths import cache

__all__ = [
    "ETCD_VERSION",
    "KAFKA_NEWEST_VERSION",
    "KAFKA_OLD_VERSION",
    "KAFKA_VERSION",
    "KUBERNETES_VERSION",
    "KWOK_VERSION",
    "PROGRAMS",
    "PartUnavailable",
    "ensure",
    "java",
    "kafka_libs",
    "program",
]

KUBERNETES_VERSION = "1.36.3"
ETCD_VERSION = "3.6.16"
KWOK_VERSION = "0.8.0"
HELM_VERSION = "3.22.0"
PROMETHEUS_VERSION = "3.16.0"
ACTIONLINT_VERSION = "1.7.12"

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class _Program:
    product: str
    go: GoProgram
    version_arguments: tuple[str, ...]
    release: Callable[[str, Path, Path], None]  # (name, target, scratch folder)


def _system() -> tuple[str, str]:
    """Operating system and architecture as Go and the release pages call them."""
    return platform.system().lower(), _MACHINES.get(platform.machine().lower(), platform.machine().lower())


def _kubernetes_release(name: str, target: Path, folder: Path) -> None:
    url = f"https://dl.k8s.io/release/v{KUBERNETES_VERSION}/bin/{'/'.join(_system())}/{name}"
    download(url, folder / name, digest=read_text(f"{url}.sha256").strip())
    (folder / name).rename(target)


def _published(base: str, stem: str, sums: str, inner: str, target: Path, folder: Path) -> None:
    """The program `inner` of an archive whose checksum is in the release's own list of them."""
    archive = folder / f"{stem}.tar.gz"
    lines = (line.split() for line in read_text(f"{base}/{sums}").splitlines())
    digests = {words[-1]: words[0] for words in lines if words}
    if archive.name not in digests:
        raise PartUnavailable(f"{base} has no {archive.name}")
    download(f"{base}/{archive.name}", archive, digest=digests[archive.name])
    with tarfile.open(archive) as files:
        files.extract(inner, folder, filter="data")
    (folder / inner).rename(target)


def _etcd_release(name: str, target: Path, folder: Path) -> None:
    base = f"https://github.com/etcd-io/etcd/releases/download/v{ETCD_VERSION}"
    stem = f"etcd-v{ETCD_VERSION}-{'-'.join(_system())}"
    _published(base, stem, "SHA256SUMS", f"{stem}/{name}", target, folder)


def _prometheus_release(name: str, target: Path, folder: Path) -> None:
    base = f"https://github.com/prometheus/prometheus/releases/download/v{PROMETHEUS_VERSION}"
    stem = f"prometheus-{PROMETHEUS_VERSION}.{'-'.join(_system())}"
    _published(base, stem, "sha256sums.txt", f"{stem}/{name}", target, folder)


def _kwok_release(name: str, target: Path, folder: Path) -> None:
    # KWOK publishes no checksum file; GitHub gives each asset's digest.
    listing = f"https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags/v{KWOK_VERSION}"
    asset_name = f"{name}-{'-'.join(_system())}"
    for asset in json.loads(read_text(listing))["assets"]:
        algorithm, _, digest = (asset.get("digest") or "").partition(":")
        if asset["name"] == asset_name and algorithm == "sha256":
            download(asset["browser_download_url"], folder / name, digest=digest)
            (folder / name).rename(target)
            return
    raise PartUnavailable(f"KWOK {KWOK_VERSION} has no release named {asset_name} with a sha256")


def _actionlint_release(name: str, target: Path, folder: Path) -> None:
    base = f"https://github.com/rhysd/actionlint/releases/download/v{ACTIONLINT_VERSION}"
    stem = f"actionlint_{ACTIONLINT_VERSION}_{'_'.join(_system())}"
    _published(base, stem, f"actionlint_{ACTIONLINT_VERSION}_checksums.txt", name, target, folder)


def _helm_release(name: str, target: Path, folder: Path) -> None:
    archive = folder / f"helm-v{HELM_VERSION}-{'-'.join(_system())}.tar.gz"
    url = f"https://get.helm.sh/{archive.name}"
    download(url, archive, digest=read_text(f"{url}.sha256sum").split()[0])
    with tarfile.open(archive) as files:
        files.extract(f"{'-'.join(_system())}/{name}", folder, filter="data")
    (folder / "-".join(_system()) / name).rename(target)


def _kubernetes(name: str, *version_arguments: str) -> _Program:
    major, minor, _ = KUBERNETES_VERSION.split(".")
    version = "k8s.io/component-base/version"
    defines = (
        f"{version}.gitVersion=v{KUBERNETES_VERSION}",
        f"{version}.gitMajor={major}",
        f"{version}.gitMinor={minor}",
    )
    module = GoProgram("k8s.io/kubernetes", KUBERNETES_VERSION, f"k8s.io/kubernetes/cmd/{name}", defines)
    return _Program("kubernetes", module, version_arguments or ("--version",), _kubernetes_release)


def _prometheus(name: str) -> _Program:
    module = "github.com/prometheus/prometheus"
    go = GoProgram(
        module,
        PROMETHEUS_VERSION,
        f"{module}/cmd/{name}",
        (f"github.com/prometheus/common/version.Version={PROMETHEUS_VERSION}",),
        module_version="0.{}{:02}.{}".format(*map(int, PROMETHEUS_VERSION.split("."))),  # 3.16.0 is v0.316.0
        tags=("remove_all_sd",),  # the bed names its targets; discovery in every cloud is most of the build
    )
    return _Program("prometheus", go, ("--version",), _prometheus_release)


# In build order: kube-apiserver compiles most of what the other Kubernetes programs share.
PROGRAMS = {
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "kubectl": _kubernetes("kubectl", "version", "--client"),
    "etcd": _Program(
        "etcd",
        GoProgram("go.etcd.io/etcd/server/v3", ETCD_VERSION, "go.etcd.io/etcd/server/v3"),
        ("--version",),
        _etcd_release,
    ),
    "kwok": _Program(
        "kwok",
        GoProgram("sigs.k8s.io/kwok", KWOK_VERSION, "sigs.k8s.io/kwok/cmd/kwok"),
        ("--version",),
        _kwok_release,
    ),
    "helm": _Program(
        "helm",
        GoProgram(
            "helm.sh/helm/v3",
            HELM_VERSION,
            "helm.sh/helm/v3/cmd/helm",
            (f"helm.sh/helm/v3/internal/version.version=v{HELM_VERSION}",),
        ),
        ("version", "--short"),
        _helm_release,
    ),
    "actionlint": _Program(
        "actionlint",
        GoProgram("github.com/rhysd/actionlint", ACTIONLINT_VERSION, "github.com/rhysd/actionlint/cmd/actionlint"),
        ("-version",),
        _actionlint_release,
    ),
    "prometheus": _prometheus("prometheus"),
    "promtool": _prometheus("promtool"),
}


def program(name: str) -> Path:
    """The path of one of PROGRAMS, obtained if it is not here yet; raises PartUnavailable."""
    found = _found(name)
    if found is not None:
        return found
    part, target = PROGRAMS[name], _cached(name)
    tried: list[str] = []
    with locked(target.parent):  # per product: builds that share compile results run one by one
        if target.exists():
            return target
        target.parent.mkdir(exist_ok=True)
        try:
            with scratch(target) as folder, progress(f"{name} {part.go.version}: release download"):
                part.release(name, target, folder)
        except PartUnavailable as error:
            tried.append(f"download: {error}")
            try:
                build(part.go, target)
            except PartUnavailable as build_error:
                tried.append(f"build: {build_error}")
                raise PartUnavailable(f"{name} cannot be obtained:\n- " + "\n- ".join(tried)) from build_error
        target.chmod(0o755)
    return target


def ensure(*names: str) -> dict[str, Path]:
    """Obtains the named programs (default: all) one by one, in the order that builds them fastest."""
    unknown = set(names) - set(PROGRAMS)
    if unknown:
        raise PartUnavailable(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PROGRAMS)}")
    return {name: program(name) for name in PROGRAMS if not names or name in names}


def _cached(name: str) -> Path:
    return cache() / f"{PROGRAMS[name].product}-{PROGRAMS[name].go.version}" / name


def _found(name: str) -> Path | None:
    given = os.environ.get("CONSUMER_AUTOSCALER_PROGRAMS")
    if given and (Path(given) / name).exists():
        return Path(given) / name
    if _cached(name).exists():
        return _cached(name)
    on_path = shutil.which(name)
    if on_path and _has_pinned_version(Path(on_path), PROGRAMS[name]):
        return Path(on_path)
    return None


def _has_pinned_version(candidate: Path, part: _Program) -> bool:
    try:
        said = subprocess.run(
            [candidate, *part.version_arguments], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return re.search(rf"(?<![\d.]){re.escape(part.go.version)}(?![\d.])", said) is not None


def main(arguments: list[str] | None = None) -> int:
    """Obtains or lists parts; `kafka` and `java` are names too."""
    parser = argparse.ArgumentParser(prog="python -m bed.parts", description="obtains the programs of the bed")
    parser.add_argument("--list", action="store_true", help="show what is here and where, obtain nothing")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PROGRAMS)}, kafka, java")
    options = parser.parse_args(arguments)
    names: list[str] = options.names or [*PROGRAMS, "kafka", "java"]
    if options.list:
        for name in PROGRAMS:
            print(f"{name:24} {PROGRAMS[name].go.version:8} {_found(name) or 'not here yet'}")
        return 0
    other = {"kafka": kafka_libs, "java": java}
    try:
        ensured = ensure(*(name for name in names if name not in other)) if set(names) - set(other) else {}
        ensured |= {name: other[name]() for name in names if name in other}
    except PartUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    for name, path in ensured.items():
        print(f"{name:24} {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
