"""The images of the suite: the operator's from its Dockerfile, the workload's beside it, and a broker.

Where public images can be pulled, they are the base and the broker; where not, both are built from packages and from
the jars of the test bed.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bed import parts
from bed.fetch import progress, scratch
from bed.paths import REPOSITORY, cache
from kind import debian
from kind.engine import DockerFailed, Engine

OPERATOR = "ghcr.io/consumer-autoscaler/consumer-autoscaler:0.1.0"  # as the chart names it
NEXT_OPERATOR = "ghcr.io/consumer-autoscaler/consumer-autoscaler:next"  # the same program, for upgrades
WORKLOAD = "e2e/workload:latest"
KAFKA = f"apache/kafka:{parts.KAFKA_VERSION}"

_PUBLIC_BASE = "python:3.13-slim"  # the Dockerfile's own
_PYTHON_PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
_JAVA_PACKAGES = ("openjdk-17-jre-headless",)
_DOCKERFILES = Path(__file__).parent / "images"


@dataclass(frozen=True, slots=True)
class Images:
    """What was made. `public`: whether public images are used where there are any."""

    public: bool
    operator: str = OPERATOR
    next_operator: str = NEXT_OPERATOR
    workload: str = WORKLOAD
    kafka: str = KAFKA


def public_images(engine: Engine) -> bool:
    """Whether public images can be had here: asked by pulling the operator's base, unless that is here already."""
    if engine.has_image(_PUBLIC_BASE):
        return True
    try:
        with progress(f"pulling {_PUBLIC_BASE}"):
            engine.docker("pull", "--quiet", _PUBLIC_BASE, timeout_seconds=300)
    except DockerFailed:
        return False
    return True


def build(engine: Engine, *, public: bool) -> Images:
    """All of them, up to date with this checkout; raises DockerFailed or PartUnavailable."""
    with progress("the operator's image"):
        base = [] if public else ["--build-arg", f"BASE_IMAGE={debian.image(engine, 'python', _PYTHON_PACKAGES)}"]
        _build(engine, REPOSITORY, "--tag", OPERATOR, "--tag", NEXT_OPERATOR, *base)
    with progress("the workload's image"), scratch(cache() / "workload-image") as context:
        shutil.copytree(REPOSITORY / "deploy/dev/bed", context / "bed", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(_DOCKERFILES / "workload.Dockerfile", context / "Dockerfile")
        _build(engine, context, "--tag", WORKLOAD, "--build-arg", f"OPERATOR_IMAGE={OPERATOR}")
    if not engine.has_image(KAFKA):
        _kafka(engine, public=public)
    return Images(public)


def _kafka(engine: Engine, *, public: bool) -> None:
    if public:
        with progress(f"pulling {KAFKA}"):
            engine.docker("pull", "--quiet", KAFKA, timeout_seconds=600)
        return
    libs, base = parts.kafka_libs(), debian.image(engine, "java", _JAVA_PACKAGES)
    with progress("the broker's image"), scratch(cache() / "kafka-image") as context:
        shutil.copytree(libs, context / "libs")
        shutil.copy(_DOCKERFILES / "kafka.Dockerfile", context / "Dockerfile")
        _build(engine, context, "--tag", KAFKA, "--build-arg", f"BASE_IMAGE={base}")


def _build(engine: Engine, context: Path, *arguments: str) -> None:
    # Our own engine has no bridge; its builds use the machine's network.
    network = ("--network", "host") if engine.own else ()
    engine.docker("build", "--quiet", *network, *arguments, context, timeout_seconds=1200)
