"""Other readers of consumer groups' lag, to measure against: built from their published Go modules, kept in the cache.

They are not part of the bed: nothing but `bench lag --peers` asks for them.

    python -m bed.peers [NAME …]
"""

from __future__ import annotations

import sys
from pathlib import Path

from bed.fetch import PartUnavailable, locked
from bed.gomodules import GoProgram, build
from bed.paths import cache

KMINION_VERSION = "2.3.5"
KAFKA_EXPORTER_VERSION = "1.9.0"

PROGRAMS = {
    "kminion": GoProgram("github.com/cloudhut/kminion/v2", KMINION_VERSION, "github.com/cloudhut/kminion/v2"),
    "kafka_exporter": GoProgram(
        "github.com/danielqsj/kafka_exporter", KAFKA_EXPORTER_VERSION, "github.com/danielqsj/kafka_exporter"
    ),
}


def program(name: str) -> Path:
    """The path of one of PROGRAMS, built when it is not here yet; raises PartUnavailable."""
    part = PROGRAMS[name]
    target = cache() / f"{name}-{part.version}" / name
    if not target.exists():
        with locked(target.parent):
            if not target.exists():
                target.parent.mkdir(exist_ok=True)
                build(part, target)
                target.chmod(0o755)
    return target


def main(names: list[str]) -> int:
    for name in names or list(PROGRAMS):
        try:
            print(f"{name:16} {program(name)}")
        except PartUnavailable as error:
            print(f"{name:16} {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
