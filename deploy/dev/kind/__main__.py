"""python -m kind up | down: the suite's cluster with images and a broker, without the tests; and its end."""

from __future__ import annotations

import sys

from bed.fetch import PartUnavailable
from kind.cluster import ClusterFailed
from kind.engine import DockerFailed
from kind.lifecycle import down, up


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["up"]:
            print(f"export KUBECONFIG={up().kubeconfig}")
        elif arguments == ["down"]:
            down()
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except (PartUnavailable, DockerFailed, ClusterFailed) as problem:
        print(f"kind: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
