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
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bed import releases
from bed.fetch import PartUnavailable, locked, progress, scratch
from bed.gomodules import GoProgram, build
from bed.jvm import KAFKA_NEWEST_VERSION, KAFKA_OLD_VERSION, KAFKA_VERSION, java, kafka_libs
from bed.paths import cache
from bed.releases import Release

__all__ = [
    "ETCD_VERSION",
    "KAFKA_NEWEST_VERSION",
    "KAFKA_OLD_VERSION",
    "KAFKA_VERSION",
    "KIND_PROGRAMS",
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
HELM4_VERSION = "4.3.1"
HELM_UNITTEST_VERSION = "1.1.2"
KUBECONFORM_VERSION = "0.8.0"
PROMETHEUS_VERSION = "3.16.0"
ACTIONLINT_VERSION = "1.7.12"
KIND_VERSION = "0.33.0"
COREDNS_VERSION = "1.14.2"  # what kubeadm of KUBERNETES_VERSION asks for


@dataclass(frozen=True, slots=True)
class _Program:
    product: str
    go: GoProgram
    version_arguments: tuple[str, ...]
    release: Release


def _kubernetes(name: str, *version_arguments: str) -> _Program:
    major, minor, _ = KUBERNETES_VERSION.split(".")
    version = "k8s.io/component-base/version"
    defines = (
        f"{version}.gitVersion=v{KUBERNETES_VERSION}",
        f"{version}.gitMajor={major}",
        f"{version}.gitMinor={minor}",
    )
    module = GoProgram("k8s.io/kubernetes", KUBERNETES_VERSION, f"k8s.io/kubernetes/cmd/{name}", defines)
    return _Program("kubernetes", module, version_arguments or ("--version",), releases.kubernetes(KUBERNETES_VERSION))


def _helm(version: str) -> _Program:
    major = f"helm.sh/helm/v{version.partition('.')[0]}"
    module = GoProgram(major, version, f"{major}/cmd/helm", (f"{major}/internal/version.version=v{version}",))
    return _Program("helm", module, ("version", "--short"), releases.helm(version))


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
    return _Program("prometheus", go, ("--version",), releases.prometheus(PROMETHEUS_VERSION))


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
        releases.etcd(ETCD_VERSION),
    ),
    "kwok": _Program(
        "kwok",
        GoProgram("sigs.k8s.io/kwok", KWOK_VERSION, "sigs.k8s.io/kwok/cmd/kwok"),
        ("--version",),
        releases.kwok(KWOK_VERSION),
    ),
    "helm": _helm(HELM_VERSION),
    "helm4": _helm(HELM4_VERSION),
    "actionlint": _Program(
        "actionlint",
        GoProgram("github.com/rhysd/actionlint", ACTIONLINT_VERSION, "github.com/rhysd/actionlint/cmd/actionlint"),
        ("-version",),
        releases.actionlint(ACTIONLINT_VERSION),
    ),
    "helm-unittest": _Program(
        "helm-unittest",
        GoProgram(
            "github.com/helm-unittest/helm-unittest",
            HELM_UNITTEST_VERSION,
            "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
            (f"github.com/helm-unittest/helm-unittest/internal/build.version={HELM_UNITTEST_VERSION}",),
        ),
        ("--version",),
        releases.helm_unittest(HELM_UNITTEST_VERSION),
    ),
    "kubeconform": _Program(
        "kubeconform",
        GoProgram(
            "github.com/yannh/kubeconform",
            KUBECONFORM_VERSION,
            "github.com/yannh/kubeconform/cmd/kubeconform",
            (f"main.version=v{KUBECONFORM_VERSION}",),
        ),
        ("-v",),
        releases.kubeconform(KUBECONFORM_VERSION),
    ),
    "prometheus": _prometheus("prometheus"),
    "promtool": _prometheus("promtool"),
}
# Only for tests on kind, so only obtained by name; all but kind only where no node image can be pulled.
KIND_PROGRAMS = {
    "kind": _Program(
        "kind",
        GoProgram("sigs.k8s.io/kind", KIND_VERSION, "sigs.k8s.io/kind"),
        ("version",),
        releases.kind(KIND_VERSION),
    ),
    "kubelet": _kubernetes("kubelet"),
    "kubeadm": _kubernetes("kubeadm", "version"),
    "kube-proxy": _kubernetes("kube-proxy"),
    "coredns": _Program(
        "coredns",
        GoProgram("github.com/coredns/coredns", COREDNS_VERSION, "github.com/coredns/coredns"),
        ("-version",),
        releases.coredns(COREDNS_VERSION),
    ),
}
_ALL = PROGRAMS | KIND_PROGRAMS


def program(name: str) -> Path:
    """The path of one of PROGRAMS or KIND_PROGRAMS, obtained if it is not here yet; raises PartUnavailable."""
    found = _found(name)
    if found is not None:
        return found
    part, target = _ALL[name], _cached(name)
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
    """Obtains the named programs (default: PROGRAMS) one by one, in the order that builds them fastest."""
    unknown = set(names) - set(_ALL)
    if unknown:
        raise PartUnavailable(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(_ALL)}")
    return {name: program(name) for name in _ALL if name in (names or PROGRAMS)}


def _cached(name: str) -> Path:
    return cache() / f"{_ALL[name].product}-{_ALL[name].go.version}" / name


def _found(name: str) -> Path | None:
    given = os.environ.get("CONSUMER_AUTOSCALER_PROGRAMS")
    if given and (Path(given) / name).exists():
        return Path(given) / name
    if _cached(name).exists():
        return _cached(name)
    on_path = shutil.which(name)
    if on_path and _has_pinned_version(Path(on_path), _ALL[name]):
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
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(_ALL)}, kafka, java")
    options = parser.parse_args(arguments)
    names: list[str] = options.names or [*PROGRAMS, "kafka", "java"]
    if options.list:
        for name in _ALL:
            print(f"{name:24} {_ALL[name].go.version:8} {_found(name) or 'not here yet'}")
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
