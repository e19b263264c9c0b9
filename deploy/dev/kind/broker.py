"""The broker in the cluster: pods reach it as `kafka.kafka.svc:9092`, this machine at a port of its loopback."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from bed import kafka_admin
from bed.fetch import progress
from kind.cluster import Cluster, ClusterFailed

INSIDE = "kafka.kafka.svc:9092"
NODE_PORT = 30094
_SECONDS = 180.0


def outside(cluster: Cluster) -> str:
    """The broker's address for programs of this machine."""
    return f"127.0.0.1:{cluster.broker_port}"


def start(cluster: Cluster, image: str) -> None:
    """Installs it or leaves it as it is; returns when it serves this machine."""
    address = outside(cluster)
    text = (Path(__file__).parent / "kafka.yaml").read_text()
    with progress("a broker in the cluster"):
        cluster.kubectl(
            "apply", "-f", "-",
            input=text.replace("OUTSIDE_PORT", str(cluster.broker_port)).replace("KAFKA_IMAGE", json.dumps(image)),
        )  # fmt: skip
        wait = ("rollout", "status", "--namespace", "kafka", "deployment/kafka", f"--timeout={_SECONDS:.0f}s")
        cluster.kubectl(*wait, timeout_seconds=_SECONDS + 20)
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that the port is not served yet needs no telling
        end = time.monotonic() + 60
        while not kafka_admin.run(kafka_admin.brokers_known_to(address)):
            if time.monotonic() > end:
                raise ClusterFailed(f"the broker is Ready but does not answer at {address}")
            time.sleep(0.5)
