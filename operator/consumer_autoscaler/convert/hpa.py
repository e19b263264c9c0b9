"""A HorizontalPodAutoscaler on an external lag metric as a ConsumerAutoscaler.

An HPA knows a number and not where it comes from: the brokers must be said beside it, and the group where no label of
the metric names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer_autoscaler.convert.behavior import DOWN_WINDOW_SECONDS, scaling_of
from consumer_autoscaler.convert.documents import Documents
from consumer_autoscaler.convert.notes import Converted, Notes, Refused, mapping, members, whole
from consumer_autoscaler.convert.resource import HPA_SYNC_SECONDS, Draft, written

KIND = "HorizontalPodAutoscaler"
_GROUP_LABELS = ("consumergroup", "consumer_group", "group", "groupId", "group_id")
_TOPIC_LABELS = ("topic", "topic_name")
_UNITS = {"": 1, "k": 1000, "M": 1_000_000, "G": 1_000_000_000, "Ki": 1024, "Mi": 1024**2}


@dataclass(frozen=True, slots=True)
class Stream:
    """What an HPA does not know: where the brokers are, and the group where its metric does not name it."""

    bootstrap_servers: str = ""
    consumer_group: str = ""


def convert(body: Mapping[str, Any], documents: Documents, stream: Stream, *, mode: str) -> Converted:
    """Never raises for what it is given: what cannot be converted is said in the notes."""
    notes, namespace = Notes(), documents.namespace_of(body)
    origin = f"{KIND} {namespace}/{documents.name_of(body)}"
    try:
        return Converted(origin, written(_draft(body, namespace, stream, notes, mode), notes), tuple(notes.found))
    except Refused as problem:
        notes.refused(problem.where, problem.text)
        return Converted(origin, None, tuple(notes.found))


def scaled_object_behind(body: Mapping[str, Any]) -> str | None:
    """The name of the ScaledObject that KEDA made an HPA for, None when it is somebody's own."""
    owners = (body.get("metadata") or {}).get("ownerReferences")
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, Mapping) and owner.get("kind") == "ScaledObject":
            return str(owner.get("name"))
    return None


def _draft(body: Mapping[str, Any], namespace: str, stream: Stream, notes: Notes, mode: str) -> Draft:
    metadata, spec = mapping(body.get("metadata"), "metadata"), mapping(body.get("spec"), "spec")
    reference = mapping(spec.get("scaleTargetRef"), "spec.scaleTargetRef")
    kind, api = str(reference.get("kind")), str(reference.get("apiVersion") or "apps/v1")
    if kind not in ("Deployment", "StatefulSet") or api != "apps/v1":
        raise Refused("spec.scaleTargetRef", f"a {kind} of {api} cannot be scaled; a Deployment or StatefulSet can")
    number, metric = _metric(spec, notes)
    where = f"spec.metrics[{number}].external"
    labels = mapping(mapping(metric["metric"].get("selector"), where).get("matchLabels"), where)
    group = stream.consumer_group or next((str(labels[n]) for n in _GROUP_LABELS if labels.get(n)), "")
    if not group:
        raise Refused(f"{where}.metric", "no label names the consumer group: say it with --group")
    if not stream.bootstrap_servers:
        raise Refused(f"{where}.metric", "an HPA does not know the brokers: say them with --bootstrap-servers")
    kafka: dict[str, Any] = {"bootstrapServers": stream.bootstrap_servers, "consumerGroup": group}
    topic = next((str(labels[name]) for name in _TOPIC_LABELS if labels.get(name)), "")
    if topic:
        kafka["topics"] = [topic]
    notes.changed(
        f"{where}.metric",
        f"{metric['metric'].get('name')} is read from the brokers instead: the group {group!r}. Set"
        " `offsetReset` as the consumers have it",
    )
    behavior, annotations = scaling_of(spec.get("behavior"), "spec.behavior", notes)
    behavior.setdefault("scaleDown", {}).setdefault("cooldownSeconds", DOWN_WINDOW_SECONDS)
    low = whole(spec.get("minReplicas", 1), "spec.minReplicas")
    if low == 0:
        notes.advice("spec.minReplicas", "to zero after `scaling.idleSeconds`, 300 when not set")
    return Draft(
        name=str(metadata.get("name") or ""),
        namespace=namespace,
        labels=mapping(metadata.get("labels"), "metadata.labels"),
        annotations=annotations,
        target_kind=kind,
        target_name=str(reference.get("name") or ""),
        low=low,
        high=whole(spec.get("maxReplicas"), "spec.maxReplicas", least=1),
        mode=mode,
        kafka=kafka,
        threshold=_threshold(mapping(metric.get("target"), f"{where}.target"), f"{where}.target", notes),
        scaling={"pollIntervalSeconds": HPA_SYNC_SECONDS, "replicaSteps": "Any", **behavior},
    )


def _metric(spec: Mapping[str, Any], notes: Notes) -> tuple[int, Mapping[str, Any]]:
    """The one external metric; others beside it are refused parts. Raises Refused."""
    found: list[tuple[int, Mapping[str, Any]]] = []
    for number, one in enumerate(members(spec.get("metrics"), "spec.metrics")):
        kind = str(one.get("type"))
        if kind == "External":
            found.append((number, mapping(one.get("external"), f"spec.metrics[{number}].external")))
        else:
            notes.refused(
                f"spec.metrics[{number}]",
                f"a metric of type {kind} has no counterpart: scaling is by a consumer group only",
            )
    if not found:
        raise Refused("spec.metrics", "none is an external metric, such as the lag of a consumer group")
    if len(found) > 1:
        raise Refused("spec.metrics", "several external metrics: a resource reads one consumer group")
    number, external = found[0]
    name = str(mapping(external.get("metric"), f"spec.metrics[{number}].external.metric").get("name"))
    if "lag" not in name.lower():
        raise Refused(f"spec.metrics[{number}].external.metric", f"{name!r} does not look like the lag of a group")
    return number, external


def _threshold(target: Mapping[str, Any], where: str, notes: Notes) -> int:
    kind = str(target.get("type"))
    if kind == "Value":
        notes.changed(where, "Value divides by the ready pods and multiplies again; taken as lag per replica")
        return _quantity(target.get("value"), where)
    return _quantity(target.get("averageValue"), where)


def _quantity(value: Any, where: str) -> int:
    """A quantity of Kubernetes as a whole number, rounded up."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m|k|M|G|Ki|Mi|)", str(value))
    if match is None:
        raise Refused(where, f"{str(value)[:40]!r} is not a number that is understood")
    number = float(match[1]) / 1000 if match[2] == "m" else float(match[1]) * _UNITS[match[2]]
    return max(1, int(-(-number // 1)))
