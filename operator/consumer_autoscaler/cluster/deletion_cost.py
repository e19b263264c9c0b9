"""Which pods go first when a Deployment shrinks: the annotation that its ReplicaSet's controller looks at.

Of pods that are Ready the controller deletes those with the lower `controller.kubernetes.io/pod-deletion-cost` first.
Only pods whose cost has to change are written: those that shall go get ours, and pods that have kept ours from an
earlier down lose it. A cost that somebody else has set is left alone, unless its pod shall go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress

from consumer_autoscaler.cluster.errors import NotFound
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.objects import Pod

GOES_FIRST = "-1000"
MOST_PATCHES = 50  # for one down; of more pods the controller chooses by its own rules
_AT_ONCE = 10


async def send_first(kube: Kube, namespace: str, pods: Sequence[Pod], first: Collection[str]) -> int:
    """Makes the pods named in `first` the ones to go; returns how many pods were written. Raises KubeError."""
    wanted: dict[str, str | None] = {}
    wanted |= {pod.name: GOES_FIRST for pod in pods if pod.name in first and pod.deletion_cost != GOES_FIRST}
    wanted |= {pod.name: None for pod in pods if pod.name not in first and pod.deletion_cost == GOES_FIRST}
    gate = asyncio.Semaphore(_AT_ONCE)

    async def write(name: str, cost: str | None) -> None:
        async with gate:
            with suppress(NotFound):  # gone by itself
                await kube.set_deletion_cost(namespace, name, cost)

    try:
        async with asyncio.TaskGroup() as group:
            for name, cost in list(wanted.items())[:MOST_PATCHES]:
                group.create_task(write(name, cost))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return min(len(wanted), MOST_PATCHES)
