"""The release pages of the bed's programs: where each is published, and the checksum that is published beside it.

Each function gives, for a version, what downloads the program `name` into `target`, with a folder to work in.
"""

from __future__ import annotations

import json
import platform
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from bed.fetch import PartUnavailable, download, read_text

Release = Callable[[str, Path, Path], None]  # (name, target, scratch folder); raises PartUnavailable

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def _system() -> tuple[str, str]:
    """Operating system and architecture as Go and the release pages call them."""
    return platform.system().lower(), _MACHINES.get(platform.machine().lower(), platform.machine().lower())


def kubernetes(version: str) -> Release:
    def release(name: str, target: Path, folder: Path) -> None:
        url = f"https://dl.k8s.io/release/v{version}/bin/{'/'.join(_system())}/{name}"
        download(url, folder / name, digest=read_text(f"{url}.sha256").strip())
        (folder / name).rename(target)

    return release


def etcd(version: str) -> Release:
    stem = f"etcd-v{version}-{'-'.join(_system())}"
    return _github("etcd-io/etcd", version, f"{stem}.tar.gz", "SHA256SUMS", lambda name: f"{stem}/{name}")


def prometheus(version: str) -> Release:
    stem = f"prometheus-{version}.{'-'.join(_system())}"
    return _github("prometheus/prometheus", version, f"{stem}.tar.gz", "sha256sums.txt", lambda name: f"{stem}/{name}")


def actionlint(version: str) -> Release:
    archive = f"actionlint_{version}_{'_'.join(_system())}.tar.gz"
    return _github("rhysd/actionlint", version, archive, f"actionlint_{version}_checksums.txt")


def kubeconform(version: str) -> Release:
    return _github("yannh/kubeconform", version, f"kubeconform-{'-'.join(_system())}.tar.gz", "CHECKSUMS")


def helm_unittest(version: str) -> Release:
    system, machine = _system()
    place = f"{'macos' if system == 'darwin' else system}-{machine}"
    return _github(
        "helm-unittest/helm-unittest",
        version,
        f"helm-unittest-{place}-{version}.tgz",
        "helm-unittest-checksum.sha",
        lambda _: f"untt-{place}",
    )


def coredns(version: str) -> Release:
    archive = f"coredns_{version}_{'_'.join(_system())}.tgz"
    return _github("coredns/coredns", version, archive, f"{archive}.sha256")


def kind(version: str) -> Release:
    def release(name: str, target: Path, folder: Path) -> None:
        url = f"https://github.com/kubernetes-sigs/kind/releases/download/v{version}/kind-{'-'.join(_system())}"
        download(url, folder / name, digest=read_text(f"{url}.sha256sum").split()[0])
        (folder / name).rename(target)

    return release


def helm(version: str) -> Release:
    def release(name: str, target: Path, folder: Path) -> None:
        archive = folder / f"helm-v{version}-{'-'.join(_system())}.tar.gz"
        url = f"https://get.helm.sh/{archive.name}"
        download(url, archive, digest=read_text(f"{url}.sha256sum").split()[0])
        _unpack(archive, f"{'-'.join(_system())}/helm", target)

    return release


def kwok(version: str) -> Release:
    def release(name: str, target: Path, folder: Path) -> None:
        # KWOK publishes no checksum file; GitHub gives each asset's digest.
        listing = f"https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags/v{version}"
        asset_name = f"{name}-{'-'.join(_system())}"
        for asset in json.loads(read_text(listing))["assets"]:
            algorithm, _, digest = (asset.get("digest") or "").partition(":")
            if asset["name"] == asset_name and algorithm == "sha256":
                download(asset["browser_download_url"], folder / name, digest=digest)
                (folder / name).rename(target)
                return
        raise PartUnavailable(f"KWOK {version} has no release named {asset_name} with a sha256")

    return release


def _github(
    repository: str, version: str, archive_name: str, sums_name: str, member: Callable[[str], str] = str
) -> Release:
    """A program inside an archive of a GitHub release that has a file of checksums."""

    def release(name: str, target: Path, folder: Path) -> None:
        base = f"https://github.com/{repository}/releases/download/v{version}"
        lines = (line.split() for line in read_text(f"{base}/{sums_name}").splitlines())
        sums = {PurePosixPath(words[-1].lstrip("*")).name: words[0] for words in lines if words}
        if archive_name not in sums:
            raise PartUnavailable(f"{repository} {version} has no release named {archive_name}")
        download(f"{base}/{archive_name}", folder / archive_name, digest=sums[archive_name])
        _unpack(folder / archive_name, member(name), target)

    return release


def _unpack(archive: Path, member: str, target: Path) -> None:
    with tarfile.open(archive) as files:
        files.extract(member, archive.parent, filter="data")
    (archive.parent / member).rename(target)
