"""Before a down: the pods whose consumers have the least to do are marked, so that they are the ones that go.

Members of the group are found in pods by their address; where that names no single pod (host networks, a proxy, a
broker that sees another address), by a `group.instance.id` or `client.id` that is the pod's name, alone or with
something before or after it. Where a member with partitions is in no pod that is known, nothing is marked: a pod that
seems to be idle might be the busiest.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from consumer_autoscaler.cluster.deletion_cost import send_first
from consumer_autoscaler.cluster.errors import Forbidden, KubeError
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.objects import Pod
from consumer_autoscaler.decision.values import GroupReading
from consumer_autoscaler.sources.kafka.inspection.owners import Owner, Owners
from consumer_autoscaler.sources.protocol import Subscription

PATIENCE_SECONDS = 5.0  # a down waits so long for this, and then goes on without
_RIGHT = "the operator may not patch pods: kubectl apply -k deploy/deletion-cost"


async def mark(
    kube: Kube, subscription: Subscription, *, namespace: str, selector: str, group: GroupReading, leaving: int
) -> str:
    """Marks the pods that shall go when `leaving` of them do. Returns what stood in the way, empty when all is well."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            pods = await kube.pods(namespace, selector)
            owners = await subscription.owners()
            order = least_work_first(pods, owners, group)
            if order is None:
                return "the members of the group cannot be told apart by pod: see docs/operating.md"
            await send_first(kube, namespace, pods, {pod.name for pod in order[:leaving] if pod.ready})
    except Forbidden:
        return _RIGHT
    except KubeError as error:
        return f"the pods could not be marked: {error}"
    except TimeoutError:
        return f"the pods could not be marked within {PATIENCE_SECONDS:.0f} s"
    return ""


def least_work_first(pods: Sequence[Pod], owners: Owners, group: GroupReading) -> list[Pod] | None:
    """The pods in the order in which they can best be spared; None when it is not known who works in which.

    Those that are not ready come first, as the controller deletes them first anyway; then those without a partition,
    then by the lag of their partitions, then by their number.
    """
    lags = {(p.topic, p.partition): p.lag_messages or 0 for p in group.partitions}
    work: dict[str, tuple[int, int]] = {pod.name: (0, 0) for pod in pods}
    if not owners:
        return None
    for place, owner in owners.items():
        pod = pod_of(owner, pods)
        if pod is None:
            return None
        lag, count = work[pod.name]
        work[pod.name] = (lag + lags.get(place, 0), count + 1)

    def spared(pod: Pod) -> tuple[bool, bool, int, int, str]:
        lag, count = work[pod.name]
        return pod.ready, count > 0, lag, count, pod.name

    return sorted(pods, key=spared)


def pod_of(owner: Owner, pods: Sequence[Pod]) -> Pod | None:
    """The pod in which a member of the group runs, None when no pod or more than one could be it."""
    address = owner.host.removeprefix("/")
    here = [pod for pod in pods if pod.ip and pod.ip == address]
    if len(here) == 1:
        return here[0]
    named = [pod for pod in pods if _names(pod.name, owner)]
    longest = max((len(pod.name) for pod in named), default=0)
    best = [pod for pod in named if len(pod.name) == longest]
    return best[0] if len(best) == 1 else None


def _names(pod: str, owner: Owner) -> bool:
    """Whole words only: `worker-1` is not in `worker-10`."""
    whole = re.compile(rf"(?<![A-Za-z0-9]){re.escape(pod)}(?![A-Za-z0-9])")
    return any(whole.search(text) for text in (owner.instance_id, owner.client_id))
