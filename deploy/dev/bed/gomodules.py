"""Builds a Go program from published modules, for machines that reach the module proxy but no release page.

A program is built inside a small module of our own that requires the program's module. `go install` would
refuse the modules that carry `replace` lines (Kubernetes, etcd). In a dependency Go ignores such lines, so
those that matter, Kubernetes' staging modules and forks under another name, are written into our own file with their
published versions.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from bed.fetch import PartUnavailable, progress, run, scratch

_BUILD_SECONDS = 3600.0  # a cold kube-apiserver took 210 s on two cores


@dataclass(frozen=True, slots=True)
class GoProgram:
    """One main package of a published module; `defines` are linker values (`-X`), such as a version.

    `module_version` is the module's, where that is not the program's; `tags` are build tags.
    """

    module: str
    version: str
    package: str
    defines: tuple[str, ...] = ()
    module_version: str = ""
    tags: tuple[str, ...] = ()


def build(program: GoProgram, target: Path) -> None:
    """Builds into `target`; raises PartUnavailable. GOFLAGS, GOPROXY and the like count as they are set."""
    go = shutil.which("go")
    if go is None:
        raise PartUnavailable(
            "Go is not installed, so nothing can be built from modules: see https://go.dev/doc/install"
        )
    with scratch(target) as folder:
        with progress(f"{target.name} {program.version}: Go modules"):
            (folder / "go.mod").write_text(_module_file(go, program, folder))
        ldflags = " ".join(("-s -w", *(f"-X {define}" for define in program.defines)))
        with progress(f"{target.name} {program.version}: build from Go modules (can take minutes)"):
            run(
                # -mod=mod lets Go complete go.mod and go.sum; without the checkout there is no VCS to stamp.
                [
                    *(go, "build", "-mod=mod", "-buildvcs=false", "-trimpath", "-ldflags", ldflags),
                    *("-tags", ",".join(program.tags)),
                    *("-o", folder / "program", program.package),
                ],
                timeout_seconds=_BUILD_SECONDS,
                cwd=folder,
                env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            )
        (folder / "program").rename(target)


def _module_file(go: str, program: GoProgram, folder: Path) -> str:
    version = program.module_version or program.version
    said = run(
        [go, "mod", "download", "-json", f"{program.module}@v{version}"],
        timeout_seconds=1200,
        cwd=folder,
    )
    theirs = Path(json.loads(said)["GoMod"]).read_text()
    language = re.search(r"^go (\S+)", theirs, re.MULTILINE)
    lines = ["module bed", f"go {language.group(1) if language else '1.26'}"]
    lines.append(f"require {program.module} v{version}")
    # Kubernetes 1.36.3 publishes the folders under staging/ as k8s.io/NAME v0.36.3.
    staging = re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", theirs, re.MULTILINE)
    staged_version = f"v0.{program.version.partition('.')[2]}"
    lines += [f"replace {name} => {name} {staged_version}" for name in staging]
    # A fork that is published under a name of its own can be taken as it is.
    lines += [
        "replace " + fork
        for fork in re.findall(r"^(?:replace |\t)(\S+(?: v\S+)? => [^.\s]\S* v\S+)", theirs, re.MULTILINE)
    ]
    return "\n".join(lines) + "\n"
