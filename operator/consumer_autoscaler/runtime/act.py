"""Writing a decision: fresh reads just before the write, one outcome as a value.

Nothing is written unless this process still holds the Lease, the resource is still of the generation that was decided
for, and the target still has the count that was decided upon. A conflict on anything else is tried again, three times
at most; a write without an answer has an unknown outcome and is not repeated: the next cycle reads first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from consumer_autoscaler.cluster.errors import Conflict, Forbidden, KubeError, KubeUnreachable, NotFound
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.objects import TargetKey
from consumer_autoscaler.decision.reasons import ScaleReason
from consumer_autoscaler.resource.pauses import annotated
from consumer_autoscaler.resource.spec import Resource

ATTEMPTS = 3


class Outcome(StrEnum):
    WRITTEN = "written"
    DROPPED = "dropped"  # the world has moved on: decide anew
    GONE = "gone"  # the resource was deleted
    FAILED = "failed"
    UNANSWERED = "unanswered"  # done or not: the target will tell


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a decision; `reason` and `message` say why it was not WRITTEN."""

    outcome: Outcome
    message: str = ""
    reason: ScaleReason = ScaleReason.READY_FOR_NEW_SCALE


async def scale(
    kube: Kube,
    resource: Resource,
    key: TargetKey,
    *,
    decided_upon: int,
    desired: int,
    may_write: Callable[[], bool],
    prepare: Callable[[], Awaitable[None]] | None = None,
) -> Written:
    """Changes the target from `decided_upon` to `desired` replicas, or says why not. Never raises a KubeError.

    `prepare` is done once, when all speaks for the write, right before it; it must not raise.
    """
    try:
        body = await kube.get_resource(resource.namespace, resource.name)
        metadata = body.get("metadata") or {}
        if metadata.get("uid") != resource.uid or metadata.get("deletionTimestamp"):
            return Written(Outcome.GONE)
        if metadata.get("generation") != resource.generation or annotated(metadata) != dict(resource.annotated):
            return Written(Outcome.DROPPED, "the resource was changed meanwhile")
    except NotFound:
        return Written(Outcome.GONE)
    except KubeError as error:
        return _failed(error, ScaleReason.FAILED_GET_SCALE)

    for _ in range(ATTEMPTS):
        try:
            fresh = await kube.get_scale(key)
        except KubeError as error:
            return _failed(error, ScaleReason.FAILED_GET_SCALE)
        if fresh.replicas != decided_upon:
            return Written(Outcome.DROPPED, f"the target has {fresh.replicas} replicas, not {decided_upon}")
        if not may_write():
            return Written(Outcome.DROPPED, "this process may not write any more")
        if prepare is not None:
            await prepare()
            prepare = None
            if not may_write():
                return Written(Outcome.DROPPED, "this process may not write any more")
        try:
            await kube.set_replicas(key, desired, fresh.resource_version)
        except Conflict:
            continue  # its status moved, or somebody scaled it: the fresh read tells
        except KubeUnreachable as error:
            return Written(Outcome.UNANSWERED, str(error), ScaleReason.FAILED_UPDATE_SCALE)
        except KubeError as error:
            return _failed(error, ScaleReason.FAILED_UPDATE_SCALE)
        return Written(Outcome.WRITTEN)
    return Written(Outcome.FAILED, f"{ATTEMPTS} conflicts in a row", ScaleReason.FAILED_UPDATE_SCALE)


def _failed(error: KubeError, reason: ScaleReason) -> Written:
    return Written(Outcome.FAILED, str(error), ScaleReason.FORBIDDEN if isinstance(error, Forbidden) else reason)
