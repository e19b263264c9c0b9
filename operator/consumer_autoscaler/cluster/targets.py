"""What the targets look like now: an own LIST and WATCH of Deployments and StatefulSets, a few numbers of
each.

A cycle reads its target here for free; only the moment before a write takes a fresh read. The view follows
the API server through restarts, expired versions and dead streams, and forgets what was deleted in a gap. It
never guesses: before a kind was listed once, asking for one of its objects raises what stood in the way.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from consumer_autoscaler.cluster.kube import (
    Expired,
    Json,
    Kube,
    KubeError,
    KubeUnreachable,
    TargetKey,
    managed_scale_time,
)

log = logging.getLogger(__name__)

KINDS = ("Deployment", "StatefulSet")
LONGEST_BACKOFF_SECONDS = 30.0


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
            _Stream(kube, kind, namespace, self._changed, first_backoff_seconds)
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


class _Stream:
    """LIST and WATCH of one kind in one namespace (None: all)."""

    def __init__(
        self,
        kube: Kube,
        kind: str,
        namespace: str | None,
        on_change: Callable[[TargetKey], None],
        first_backoff_seconds: float,
    ) -> None:
        self._kube = kube
        self.kind = kind
        self.namespace = namespace
        self._on_change = on_change
        self._first_backoff_seconds = first_backoff_seconds
        self.views: dict[TargetKey, TargetView] = {}
        self.synced = asyncio.Event()
        self._error: KubeError = KubeUnreachable("NotListedYet", f"no {kind} was listed yet")
        self._version: str | None = None
        self._alive_at = time.monotonic()
        self._watched = False  # whether the present watch was of use: it told something, or lasted
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name=f"targets {self.kind} {self.namespace or '*'}")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._alive_at

    def get(self, key: TargetKey) -> TargetView | None:
        if not self.synced.is_set():
            raise self._error
        return self.views.get(key)

    async def _follow(self) -> None:
        """For ever: list when there is nothing to continue from, then watch; back off while it fails."""
        failures = 0
        while True:
            self._watched = False
            try:
                if self._version is None:
                    await self._list()
                await self._watch(self._version or "")
            except Expired as error:
                log.info("targets=relist kind=%s namespace=%s error=%s", self.kind, self.namespace or "*", error)
                self._version = None
            except KubeError as error:
                self._failed(error, first=failures == 0)
            except Exception:
                # An object of a shape we did not expect must not end the view for all others.
                log.exception("targets=failed kind=%s namespace=%s", self.kind, self.namespace or "*")
                self._version = None
            failures = 0 if self._watched else failures + 1
            if failures:
                await asyncio.sleep(self._backoff(failures))

    def _failed(self, error: KubeError, *, first: bool) -> None:
        self._error = error
        if first:
            log.warning("targets=unreachable kind=%s namespace=%s error=%s", self.kind, self.namespace or "*", error)
        if error.reason not in ("ConnectionFailed", "WatchEnded", "Timeout"):
            # The server itself refused to continue, for instance since its store was restored from a backup
            # and does not know our version: continuing from it would fail for ever.
            self._version = None

    def _backoff(self, failures: int) -> float:
        longest = min(self._first_backoff_seconds * 2.0 ** min(failures - 1, 10), LONGEST_BACKOFF_SECONDS)
        return longest * random.uniform(0.5, 1.0)

    async def _list(self) -> None:
        items, version = await self._kube.list_targets(self.kind, self.namespace)
        seen = {}
        for item in items:
            key, view = self._cut(item)
            seen[key] = view
        before, self.views = self.views, seen
        self._version = version
        self._alive_at = time.monotonic()
        if not self.synced.is_set():
            self.synced.set()
            log.info("targets=listed kind=%s namespace=%s count=%d", self.kind, self.namespace or "*", len(seen))
        for key in before.keys() | seen.keys():
            if before.get(key) != seen.get(key):
                self._on_change(key)

    async def _watch(self, version: str) -> None:
        started = time.monotonic()
        async for event in self._kube.watch_targets(self.kind, self.namespace, version):
            self._watched = True
            self._alive_at = time.monotonic()
            item: Json = event["object"]
            if event["type"] != "BOOKMARK":
                self._apply(item, deleted=event["type"] == "DELETED")
            self._version = str(item["metadata"]["resourceVersion"])
        self._alive_at = time.monotonic()  # the server ended it, as it does every few minutes
        self._watched = self._watched or self._alive_at - started > self._first_backoff_seconds

    def _apply(self, item: Json, *, deleted: bool) -> None:
        key, view = self._cut(item)
        before = self.views.get(key)
        if deleted:
            self.views.pop(key, None)
        else:
            self.views[key] = view
        if deleted or before != view:
            self._on_change(key)

    def _cut(self, item: Json) -> tuple[TargetKey, TargetView]:
        metadata = item["metadata"]
        return TargetKey(metadata["namespace"], self.kind, metadata["name"]), target_view(self.kind, item)


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
