"""What the targets look like now: an own LIST and WATCH of Deployments and StatefulSets, a few numbers of
each.

A cycle reads its target here for free; only the moment before a write takes a fresh read. The view follows
the API server through restarts, expired versions and dead streams, and forgets what was deleted in a gap. It
never guesses: before a kind was listed once, asking for one of its objects raises what stood in the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from consumer_autoscaler.cluster.errors import KubeUnreachable
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.objects import TargetKey, managed_scale_time
from consumer_autoscaler.cluster.stream import Stream
from consumer_autoscaler.cluster.transport import Json

KINDS = ("Deployment", "StatefulSet")


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target as the API server last told."""

    uid: str
    replicas: int  # spec.replicas, 1 when there is none
    ready: int  # pods that are ready, those of an older template included
    rolling: bool  # pods of an older template are being replaced: surge pods are not capacity
    selector: str  # as a label query, for finding the pods
    scaled_at: float | None  # not before we set the present count (epoch seconds); None: it is not ours


class Targets:
    """`async with Targets(kube)` keeps the view; `wait_synced()` returns when every stream has listed once.

    `on_change(key)` is called for a target that appeared, changed in one of its numbers, or went away. It
    runs between two events of a stream, so it must be quick and must not raise.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        on_change: Callable[[TargetKey], None] | None = None,
        first_backoff_seconds: float = 1.0,
    ) -> None:
        self._on_change = on_change
        self._streams = [
            _stream(kube, kind, namespace, self._changed, first_backoff_seconds)
            for kind in KINDS
            for namespace in kube.scopes
        ]

    async def __aenter__(self) -> Self:
        for stream in self._streams:
            stream.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all streams. May be called twice."""
        await asyncio.gather(*(stream.aclose() for stream in self._streams))

    def get(self, key: TargetKey) -> TargetView | None:
        """The target, or None when there is none of that name. Raises KubeError while that is not known."""
        for stream in self._streams:
            if stream.kind == key.kind and stream.namespace in (None, key.namespace):
                return stream.get(key)
        raise KubeUnreachable("NotWatched", f"{key.text} is not among what is watched")

    async def wait_synced(self) -> None:
        """Until every stream has listed once; for ever while a right is missing, so give it a timeout."""
        await asyncio.gather(*(stream.synced.wait() for stream in self._streams))

    @property
    def age_seconds(self) -> float:
        """How long ago the most silent stream last showed life (an event, a bookmark, a list)."""
        return max(stream.age_seconds for stream in self._streams)

    def __len__(self) -> int:
        return sum(len(stream.views) for stream in self._streams)

    def _changed(self, key: TargetKey) -> None:
        if self._on_change is not None:
            self._on_change(key)


def _stream(
    kube: Kube, kind: str, namespace: str | None, on_change: Callable[[TargetKey], None], first_backoff_seconds: float
) -> Stream[TargetKey, TargetView]:
    def cut(item: Json) -> tuple[TargetKey, TargetView]:
        metadata = item["metadata"]
        return TargetKey(metadata["namespace"], kind, metadata["name"]), target_view(kind, item)

    return Stream(
        what="targets",
        kind=kind,
        namespace=namespace,
        list_all=partial(kube.list_targets, kind, namespace),
        watch_from=partial(kube.watch_targets, kind, namespace),
        cut=cut,
        on_change=on_change,
        first_backoff_seconds=first_backoff_seconds,
    )


def target_view(kind: str, item: Json) -> TargetView:
    """The few numbers of a Deployment or StatefulSet that a decision needs."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    replicas = spec.get("replicas")
    rolling = _deployment_is_rolling(status) if kind == "Deployment" else _statefulset_is_rolling(spec, status)
    return TargetView(
        uid=str(item["metadata"]["uid"]),
        replicas=1 if replicas is None else int(replicas),
        ready=int(status.get("readyReplicas") or 0),
        rolling=rolling,
        selector=_label_query(spec.get("selector") or {}),
        scaled_at=managed_scale_time(item),
    )


def _deployment_is_rolling(status: Json) -> bool:
    """Whether pods of an older template still exist. A change of the count alone never makes it true."""
    return int(status.get("replicas") or 0) > int(status.get("updatedReplicas") or 0)


def _statefulset_is_rolling(spec: Json, status: Json) -> bool:
    """Whether the controller is replacing pods: not when that waits for a person (OnDelete, or a
    partition).
    """
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return False
    if status.get("updateRevision") == status.get("currentRevision"):
        return False
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    wanted = int(status.get("replicas") or 0) - partition
    return int(status.get("updatedReplicas") or 0) < wanted


def _label_query(selector: Json) -> str:
    """A label selector in the form of the `labelSelector` parameter."""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or ():
        terms.append(_EXPRESSIONS[rule["operator"]].format(rule["key"], ",".join(rule.get("values") or ())))
    return ",".join(terms)


_EXPRESSIONS = {"In": "{} in ({})", "NotIn": "{} notin ({})", "Exists": "{}", "DoesNotExist": "!{}"}
