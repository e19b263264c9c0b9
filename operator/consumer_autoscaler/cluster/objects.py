"""What is cut out of the API's JSON for the rest of the operator: targets, their scale, pods, users and rights."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consumer_autoscaler.cluster.errors import KubeUnreachable
from consumer_autoscaler.cluster.transport import Json

FIELD_MANAGER = "consumer-autoscaler"
POD_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

TARGET_PLURALS: dict[str, str] = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


@dataclass(frozen=True, slots=True, order=True)
class TargetKey:
    """What is scaled: a Deployment or a StatefulSet of a namespace."""

    namespace: str
    kind: str
    name: str

    @property
    def text(self) -> str:
        """For log lines and messages: `deployment/shop/payments`."""
        return f"{self.kind.lower()}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class FreshScale:
    """The `/scale` of a target as just read or written."""

    replicas: int  # spec.replicas; the API leaves a zero out
    resource_version: str
    uid: str


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    ip: str | None
    ready: bool
    deletion_cost: str | None = None  # the annotation as it is


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Whom a token belongs to, as a TokenReview says it."""

    name: str
    uid: str
    groups: tuple[str, ...]
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessQuestion:
    """One right: may somebody do `verb` on this? An empty namespace means all of them."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        """For messages: `patch deployments/scale.apps in all namespaces`."""
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        return f"{self.verb} {what}{'.' + self.group if self.group else ''} in {where}"

    def attributes(self) -> Json:
        fields = ("verb", "group", "resource", "subresource", "namespace", "name")
        return {field: value for field in fields if (value := getattr(self, field))}


def fresh_scale(body: Json) -> FreshScale:
    metadata = body.get("metadata") or {}
    replicas = (body.get("spec") or {}).get("replicas", 0)  # a zero is left out of the JSON
    if not isinstance(replicas, int) or not metadata.get("resourceVersion"):
        raise KubeUnreachable("BadAnswer", "the answer is not a Scale")
    return FreshScale(replicas, str(metadata["resourceVersion"]), str(metadata.get("uid") or ""))


def managed_scale_time(target: Json, field_manager: str = FIELD_MANAGER) -> float | None:
    """A time not before our last scaling (seconds since the epoch); None when the present count is not ours.

    Read from managedFields: our entry for `/scale` is there until somebody else sets another count. The API server
    (seen with 1.36) writes no time into entries for `/scale`, so the time is that of the last change of the
    target's status: its controller answers a scaling at once, and later changes only make a cooldown longer.
    """
    entries = (target.get("metadata") or {}).get("managedFields") or ()
    ours = [e for e in entries if e.get("manager") == field_manager and e.get("subresource") == "scale"]
    if not ours:
        return None
    times = [e["time"] for e in ours if e.get("time")]
    times = times or [e["time"] for e in entries if e.get("subresource") == "status" and e.get("time")]
    return max((datetime.fromisoformat(time).timestamp() for time in times), default=None)


def living(pod: Json) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and not (pod.get("metadata") or {}).get("deletionTimestamp")


def pod_of(item: Json) -> Pod:
    status: dict[str, Any] = item.get("status") or {}
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())
    cost = (item["metadata"].get("annotations") or {}).get(POD_DELETION_COST)
    return Pod(str(item["metadata"]["name"]), status.get("podIP") or None, ready, cost)
