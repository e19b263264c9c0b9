"""Micrometer and Kafka's client as jars, for Java consumers that report what they do: from Maven artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path

from bed.fetch import PartUnavailable, locked, progress, run, scratch
from bed.jvm import KAFKA_VERSION
from bed.paths import cache

MICROMETER_VERSION = "1.16.0"

_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bed</groupId><artifactId>micrometer</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>io.micrometer</groupId><artifactId>micrometer-registry-prometheus</artifactId>
      <version>{MICROMETER_VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-clients</artifactId>
      <version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


def libs() -> Path:
    """The folder with the jars; raises PartUnavailable."""
    target = cache() / f"micrometer-{MICROMETER_VERSION}-kafka-{KAFKA_VERSION}" / "libs"
    if target.is_dir():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise PartUnavailable("Micrometer comes from Maven artifacts, and mvn is not installed")
    with locked(target):
        if not target.is_dir():
            with scratch(target) as folder, progress(f"Micrometer {MICROMETER_VERSION}: Maven artifacts"):
                (folder / "pom.xml").write_text(_POM)
                command = [maven, "-B", "-q", "--strict-checksums", "-f", str(folder / "pom.xml")]
                copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}/libs"]
                run([*command, *copy], timeout_seconds=600)
                (folder / "libs").rename(target)
    return target
