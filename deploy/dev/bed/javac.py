"""Compiles a Java file of the bed on a machine that may only have a Java runtime: with Eclipse's compiler, one jar."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from bed.fetch import PartUnavailable, download, locked, progress, run, scratch
from bed.jvm import java
from bed.paths import cache

ECJ_VERSION = "3.41.0"
_ECJ_SHA256 = "47bda183cd94a8bdb704f5b35690224f75b7d2fb563c8b8f9bbcfab987c3029b"
_ECJ_URL = f"https://repo.maven.apache.org/maven2/org/eclipse/jdt/ecj/{ECJ_VERSION}/ecj-{ECJ_VERSION}.jar"


def compiled(source: Path, libs: Path) -> Path:
    """The folder with the classes of one source file, for Java 17 and newer; raises PartUnavailable."""
    digest = hashlib.sha256(source.read_bytes() + str(libs).encode()).hexdigest()[:16]
    target = cache() / "java-classes" / f"{source.stem}-{digest}"
    if target.is_dir():
        return target
    compiler = _ecj()
    with locked(target):
        if not target.is_dir():
            with scratch(target) as folder:
                classpath = ":".join(str(jar) for jar in sorted(libs.glob("*.jar")))
                # Not --release: a bare runtime has no list of what older releases had.
                command = [java(), "-jar", compiler, "-17", "-nowarn", "-cp", classpath, "-d", folder / "classes"]
                run([str(word) for word in (*command, source)], timeout_seconds=120)
                (folder / "classes").rename(target)
    return target


def _ecj() -> Path:
    target = cache() / f"ecj-{ECJ_VERSION}" / "ecj.jar"
    if target.exists():
        return target
    with locked(target.parent), scratch(target) as folder, progress(f"Java compiler: ecj {ECJ_VERSION}"):
        if not target.exists():
            jar = folder / f"ecj-{ECJ_VERSION}.jar"
            try:
                _from_maven(folder)
            except PartUnavailable as error:
                try:
                    download(_ECJ_URL, jar, digest=_ECJ_SHA256)
                except PartUnavailable as refusal:
                    raise PartUnavailable(f"the Java compiler ecj cannot be obtained: {error}; {refusal}") from refusal
            if (found := hashlib.sha256(jar.read_bytes()).hexdigest()) != _ECJ_SHA256:
                raise PartUnavailable(f"ecj {ECJ_VERSION} has sha256 {found}, expected {_ECJ_SHA256}")
            jar.rename(target)
    return target


def _from_maven(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise PartUnavailable("mvn is not installed")
    artifact = f"org.eclipse.jdt:ecj:{ECJ_VERSION}"
    command = [maven, "-B", "-q", "--strict-checksums", "dependency:copy", f"-Dartifact={artifact}"]
    run([*command, f"-DoutputDirectory={folder}"], timeout_seconds=300, cwd=folder)
