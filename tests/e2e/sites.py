"""Sites of the operator's other tests, with real pods and the broker in the cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.integration.site import Site, deployment
from tests.integration.support import Bed, Json

from kind import broker, images
from kind.cluster import Cluster

_PYTHON = "/opt/consumer-autoscaler/bin/python"


def idle_pod() -> Json:
    """A pod that runs and does nothing, so that the lag is what a test makes it."""
    wait = "import signal; signal.pause()"
    container = {"name": "consumer", "image": images.WORKLOAD, "imagePullPolicy": "IfNotPresent"}
    return {
        "nodeSelector": {},
        "terminationGracePeriodSeconds": 0,
        "containers": [{**container, "command": [_PYTHON, "-c", wait]}],
    }


def consumer_pod(group: str, rate: float) -> Json:
    """A consumer that does so many records a second."""
    arguments = ["consume", "--bootstrap", broker.INSIDE, "--group", group, "--topic", group, "--rate", str(rate)]
    container = {
        "name": "consumer",
        "image": images.WORKLOAD,
        "imagePullPolicy": "IfNotPresent",
        "args": [*arguments, "--batch", "10"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 9100}, "periodSeconds": 1},
    }
    return {"nodeSelector": {}, "terminationGracePeriodSeconds": 5, "containers": [container]}


async def open_site(bed: Bed, label: str, *, kafka: Mapping[str, Any] | None = None, **more: Any) -> Site:
    """A site whose operator reaches the broker inside of the cluster; its pods are idle unless `pod` is given."""
    more.setdefault("pod", idle_pod())
    return await Site.open(bed, label, kafka={"bootstrapServers": broker.INSIDE, **(kafka or {})}, **more)


def delete(cluster: Cluster, site: Site) -> None:
    """Its namespace with all that is in it, in the background."""
    cluster.kubectl("delete", "namespace", site.name, "--wait=false")


def produce(cluster: Cluster, site: Site, partitions: int, records_per_second: float) -> None:
    """From now on so many records a second come in, evenly over the partitions; 0 ends it."""
    arguments = ["produce", "--bootstrap", broker.INSIDE, "--topic", site.name, "--partitions", str(partitions)]
    container = {
        "name": "producer",
        "image": images.WORKLOAD,
        "imagePullPolicy": "IfNotPresent",
        "args": [*arguments, "--profile", str(records_per_second)],
    }
    pod = {"nodeSelector": {}, "terminationGracePeriodSeconds": 2, "containers": [container]}
    body = deployment(1 if records_per_second else 0, name="producer", pod=pod)
    body["kind"] = "StatefulSet"  # the namespace's only Deployment is the target, whose counts are watched
    body["spec"]["serviceName"] = "producer"
    cluster.kubectl("apply", "-n", site.name, "-f", "-", input=json.dumps(body))
