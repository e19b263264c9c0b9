"""Who else scales the same targets: HorizontalPodAutoscalers, and KEDA's ScaledObjects where their CRD is installed.

With a label selector also ConsumerAutoscalers, since the older one of the same target may be another operator's.

Two that scale one target undo each other's work. What is not served or may not be listed is no rival that can be
seen: that is said once in the log, and looked for again now and then, as KEDA may be installed later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from consumer_autoscaler.cluster.errors import Forbidden, KubeError, NotFound
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.objects import TargetKey
from consumer_autoscaler.cluster.stream import Stream
from consumer_autoscaler.cluster.transport import Json
from consumer_autoscaler.resource.spec import GROUP, KIND, PLURAL, VERSION

log = logging.getLogger(__name__)

HPA, SCALED_OBJECT = "HorizontalPodAutoscaler", "ScaledObject"
_TYPES = {
    HPA: ("autoscaling", "v2", "horizontalpodautoscalers"),
    SCALED_OBJECT: ("keda.sh", "v1alpha1", "scaledobjects"),
    KIND: (GROUP, VERSION, PLURAL),
}
_KEDA_PAUSED, _KEDA_PAUSED_REPLICAS = "autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas"
_FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})  # what KEDA reads as false; all else is true to it
LOOK_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True, order=True)
class Rival:
    """Another object that scales a target, by its kind, namespace and name."""

    kind: str
    namespace: str
    name: str

    @property
    def text(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def remedy(self) -> str:
        """What a person does about it, as a command."""
        if self.kind == SCALED_OBJECT:
            return f"kubectl annotate scaledobject {self.name} -n {self.namespace} {_KEDA_PAUSED}=true"
        return f"kubectl delete {'cas' if self.kind == KIND else 'hpa'} {self.name} -n {self.namespace}"


@dataclass(frozen=True, slots=True)
class _Holding:
    """Whom an object scales, and under whose name it is told. No target: it scales nothing now."""

    target: TargetKey | None
    rival: Rival
    since: tuple[str, str] = ("", "")  # of a ConsumerAutoscaler: when it was created, and its uid


class Rivals:
    """`async with Rivals(kube)` keeps the view; `wait_looked()` returns when each type was listed or cannot be."""

    def __init__(
        self,
        kube: Kube,
        *,
        first_backoff_seconds: float = 1.0,
        look_again_seconds: float = LOOK_AGAIN_SECONDS,
    ) -> None:
        self._by_target: dict[TargetKey, set[tuple[str, str, str]]] = {}
        self._holdings: dict[tuple[str, str, str], _Holding] = {}
        self._streams = [
            _RivalStream(kube, kind, namespace, self._changed, first_backoff_seconds, look_again_seconds)
            for kind in _TYPES
            if kind != KIND or kube.label_selector
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

    async def wait_looked(self) -> None:
        """Until it is known of each type what there is, or that it cannot be seen."""
        await asyncio.gather(*(stream.looked.wait() for stream in self._streams))

    def of(self, target: TargetKey, uid: str) -> Rival | None:
        """Who else scales the target of the resource with this uid, None when nobody that can be seen does.

        A ScaledObject comes before its HPA. Of several ConsumerAutoscalers the oldest is everybody else's rival.
        """
        held = [self._holdings[key] for key in self._by_target.get(target, ())]
        found = [holding.rival for holding in held if holding.rival.kind != KIND]
        oldest = min((h for h in held if h.rival.kind == KIND), key=lambda holding: holding.since, default=None)
        if oldest is not None and oldest.since[1] != uid:
            found.append(oldest.rival)
        return max(found, key=lambda rival: (rival.kind == SCALED_OBJECT, rival.name), default=None)

    def _changed(self, key: tuple[str, str, str]) -> None:
        old = self._holdings.pop(key, None)
        if old is not None and old.target is not None:
            held = self._by_target[old.target]
            held.discard(key)
            if not held:
                del self._by_target[old.target]
        new = next((view for stream in self._streams if (view := stream.views.get(key)) is not None), None)
        if new is not None:
            self._holdings[key] = new
            if new.target is not None:
                self._by_target.setdefault(new.target, set()).add(key)


class _RivalStream(Stream[tuple[str, str, str], _Holding]):
    """A stream that a missing type or right makes quiet instead of loud."""

    def __init__(
        self,
        kube: Kube,
        kind: str,
        namespace: str | None,
        on_change: Any,
        first_backoff_seconds: float,
        look_again_seconds: float,
    ) -> None:
        super().__init__(
            what="rivals",
            kind=kind,
            namespace=namespace,
            list_all=partial(kube.list_objects, *_TYPES[kind], namespace),
            watch_from=partial(kube.watch_objects, *_TYPES[kind], namespace),
            cut=partial(_cut, kind),
            on_change=on_change,
            first_backoff_seconds=first_backoff_seconds,
        )
        self.looked = asyncio.Event()
        self._look_again_seconds = look_again_seconds
        self._unseen = ""  # why the type cannot be seen

    def listed(self) -> None:
        self._unseen = ""
        self.looked.set()

    def failed(self, error: KubeError, *, first: bool) -> None:
        if not isinstance(error, (NotFound, Forbidden)):
            super().failed(error, first=first)
            return
        why = "not installed" if isinstance(error, NotFound) else "no right to list and watch them"
        if why != self._unseen:
            log.info("rivals=unseen kind=%s namespace=%s why=%r", self.kind, self.namespace or "*", why)
        self._unseen = why
        self.restart()
        self.looked.set()

    def pause_seconds(self, failures: int) -> float:
        return self._look_again_seconds if self._unseen else super().pause_seconds(failures)


def _cut(kind: str, item: Json) -> tuple[tuple[str, str, str], _Holding]:
    metadata, spec = item["metadata"], item.get("spec") or {}
    namespace, name = str(metadata["namespace"]), str(metadata["name"])
    if kind == KIND:
        return (kind, namespace, name), _cut_ours(namespace, name, metadata, spec.get("targetRef") or {})
    reference = spec.get("scaleTargetRef") or {}
    api, target_kind = str(reference.get("apiVersion") or "apps/v1"), str(reference.get("kind") or "Deployment")
    target: TargetKey | None = None
    if api.startswith("apps/") and not (kind == SCALED_OBJECT and _keda_paused(metadata)):
        target = TargetKey(namespace, target_kind, str(reference.get("name") or ""))
    owner = next((o for o in _owners(metadata) if o.get("kind") == SCALED_OBJECT), None) if kind == HPA else None
    rival = Rival(SCALED_OBJECT, namespace, str(owner["name"])) if owner else Rival(kind, namespace, name)
    return (kind, namespace, name), _Holding(target, rival)


def _cut_ours(namespace: str, name: str, metadata: Json, reference: Json) -> _Holding:
    target = TargetKey(namespace, str(reference.get("kind") or "Deployment"), str(reference.get("name") or ""))
    since = str(metadata["creationTimestamp"]), str(metadata["uid"])
    return _Holding(None if metadata.get("deletionTimestamp") else target, Rival(KIND, namespace, name), since)


def _owners(metadata: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from metadata.get("ownerReferences") or ()


def _keda_paused(metadata: Mapping[str, Any]) -> bool:
    """As KEDA reads its own annotations: a paused ScaledObject scales nothing and has no HPA."""
    annotations = metadata.get("annotations") or {}
    if _KEDA_PAUSED in annotations:
        return str(annotations[_KEDA_PAUSED]) not in _FALSE
    return _KEDA_PAUSED_REPLICAS in annotations
