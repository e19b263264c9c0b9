"""python -m kind up | down | ready: the suite's cluster with images and a broker, without the tests; and its end.

`ready` ends with status 1, and says why, where `up` would have to build or pull images first or cannot run at all.
"""

from __future__ import annotations

import sys

from bed.fetch import PartUnavailable
from kind.cluster import ClusterFailed
from kind.engine import DockerFailed
from kind.lifecycle import down, not_ready, up


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["up"]:
            print(f"export KUBECONFIG={up().kubeconfig}")
        elif arguments == ["down"]:
            down()
        elif arguments == ["ready"]:
            reason = not_ready()
            print(reason or "ready")
            return 1 if reason else 0
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except (PartUnavailable, DockerFailed, ClusterFailed) as problem:
        print(f"kind: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
