"""A ScaledObject of KEDA as a ConsumerAutoscaler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consumer_autoscaler.convert.authentication import Target
from consumer_autoscaler.convert.behavior import DOWN_WINDOW_SECONDS, scaling_of
from consumer_autoscaler.convert.documents import Documents
from consumer_autoscaler.convert.notes import Converted, Json, Notes, Refused, mapping, whole
from consumer_autoscaler.convert.resource import HPA_SYNC_SECONDS, Draft, poll_seconds, written
from consumer_autoscaler.convert.trigger import KAFKA_TYPES, Trigger, trigger_of
from consumer_autoscaler.resource.pauses import PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT

KIND = "ScaledObject"
_KEDA = "autoscaling.keda.sh/"
_FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})


def convert(body: Mapping[str, Any], documents: Documents, *, mode: str) -> Converted:
    """Never raises for what it is given: what cannot be converted is said in the notes."""
    notes, namespace = Notes(), documents.namespace_of(body)
    origin = f"{KIND} {namespace}/{documents.name_of(body)}"
    try:
        return Converted(origin, written(_draft(body, namespace, documents, notes, mode), notes), tuple(notes.found))
    except Refused as problem:
        notes.refused(problem.where, problem.text)
        return Converted(origin, None, tuple(notes.found))


def _draft(body: Mapping[str, Any], namespace: str, documents: Documents, notes: Notes, mode: str) -> Draft:
    metadata, spec = mapping(body.get("metadata"), "metadata"), mapping(body.get("spec"), "spec")
    advanced = mapping(spec.get("advanced"), "spec.advanced")
    target = _target(spec, namespace)
    if advanced.get("scalingModifiers"):
        raise Refused("spec.advanced.scalingModifiers", "a formula over triggers has no counterpart")
    triggers = _triggers(spec, target, documents, notes)
    first = triggers[0]
    polling = whole(spec.get("pollingInterval", 30), "spec.pollingInterval", least=1)
    low, high = _bounds(spec, notes)
    behavior, annotations = scaling_of(
        mapping(advanced.get("horizontalPodAutoscalerConfig"), "spec.advanced.horizontalPodAutoscalerConfig").get(
            "behavior"
        ),
        "spec.advanced.horizontalPodAutoscalerConfig.behavior",
        notes,
    )
    scaling: Json = {
        "pollIntervalSeconds": poll_seconds(polling if first.cached else min(polling, HPA_SYNC_SECONDS)),
        "replicaSteps": "Useful" if first.even else "Any",
        **behavior,
    }
    scaling.setdefault("scaleDown", {}).setdefault("cooldownSeconds", DOWN_WINDOW_SECONDS)
    if low == 0:
        scaling["idleSeconds"] = whole(spec.get("cooldownPeriod", 300), "spec.cooldownPeriod")
        if first.activation:
            scaling["activationLagMessages"] = first.activation
    _fallback(spec, polling, scaling, notes)
    _rest(spec, advanced, low, notes)
    annotations |= _annotations(metadata, notes)
    _defects(first, notes)
    return Draft(
        name=str(metadata.get("name") or ""),
        namespace=namespace,
        labels=mapping(metadata.get("labels"), "metadata.labels"),
        annotations=annotations,
        target_kind=target.kind,
        target_name=target.name,
        low=low,
        high=high,
        mode=mode,
        kafka=first.kafka,
        threshold=first.threshold,
        scaling=scaling,
    )


def _target(spec: Mapping[str, Any], namespace: str) -> Target:
    reference = mapping(spec.get("scaleTargetRef"), "spec.scaleTargetRef")
    kind, api = str(reference.get("kind") or "Deployment"), str(reference.get("apiVersion") or "apps/v1")
    if kind not in ("Deployment", "StatefulSet") or api != "apps/v1":
        raise Refused("spec.scaleTargetRef", f"a {kind} of {api} cannot be scaled; a Deployment or StatefulSet can")
    if not reference.get("name"):
        raise Refused("spec.scaleTargetRef.name", "is needed")
    return Target(namespace, kind, str(reference["name"]), str(reference.get("envSourceContainerName") or ""))


def _triggers(spec: Mapping[str, Any], target: Target, documents: Documents, notes: Notes) -> list[Trigger]:
    """Those of Kafka, made one. Raises Refused when there is none, or they are of more than one group."""
    given = spec.get("triggers")
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise Refused("spec.triggers", "there is none")
    found: list[Trigger] = []
    for number, one in enumerate(given):
        where = f"spec.triggers[{number}]"
        kind = str(mapping(one, where).get("type"))
        if kind in KAFKA_TYPES:
            found.append(trigger_of(one, where, target, documents, notes))
        else:
            notes.refused(where, f"a trigger of type {kind} has no counterpart: scaling is by a consumer group only")
    if not found:
        raise Refused("spec.triggers", "none is of type kafka or apache-kafka")
    first = found[0]
    topics: list[str] = []
    for other in found:
        for name in ("bootstrapServers", "consumerGroup"):
            if other.kafka[name] != first.kafka[name]:
                raise Refused(other.where, f"another {name} than {first.where}: a resource reads one consumer group")
        if other.threshold != first.threshold:
            raise Refused(other.where, f"another lagThreshold than {first.where}: a resource has one")
        if any(other.kafka.get(key) != first.kafka.get(key) for key in ("tls", "sasl", "offsetReset")):
            raise Refused(other.where, f"another access or offset reset than {first.where}: a resource has one")
        topics += other.kafka.get("topics", [])
    if len(found) > 1:
        if all("topics" in other.kafka for other in found):
            first.kafka["topics"] = list(dict.fromkeys(topics))
        else:
            first.kafka.pop("topics", None)
        notes.changed("spec.triggers", "KEDA takes the highest demand of several triggers; here their lag is summed")
    return found


def _bounds(spec: Mapping[str, Any], notes: Notes) -> tuple[int, int]:
    low = whole(spec.get("minReplicaCount", 0), "spec.minReplicaCount")
    high = whole(spec.get("maxReplicaCount", 100), "spec.maxReplicaCount", least=1)
    if spec.get("idleReplicaCount") is not None:
        idle = whole(spec["idleReplicaCount"], "spec.idleReplicaCount")
        if idle != 0:
            raise Refused("spec.idleReplicaCount", "another number than 0 has no counterpart")
        notes.changed(
            "spec.idleReplicaCount", f"minReplicas is 0, and a start goes to what the lag needs instead of {low}"
        )
        low = 0
    if low > high:
        raise Refused("spec.minReplicaCount", "is greater than maxReplicaCount")
    return low, high


def _fallback(spec: Mapping[str, Any], polling: int, scaling: Json, notes: Notes) -> None:
    fallback = mapping(spec.get("fallback"), "spec.fallback")
    if not fallback:
        notes.advice("spec.fallback", "none: as with KEDA, replicas stay as they are while nothing can be read")
        return
    kind = str(fallback.get("behavior") or "static")
    replicas = whole(fallback.get("replicas", 0), "spec.fallback.replicas")
    failures = whole(fallback.get("failureThreshold", 0), "spec.fallback.failureThreshold")
    if kind == "currentReplicas" or replicas == 0:
        notes.changed("spec.fallback", "replicas stay as they are while nothing can be read; they never go down for it")
    elif kind in ("static", "currentReplicasIfHigher"):
        scaling["unavailable"] = {"afterSeconds": max(1, failures * polling), "atLeastReplicas": replicas}
        notes.changed("spec.fallback", f"after {max(1, failures * polling)} s at least {replicas}; it never lowers")
    else:
        notes.refused("spec.fallback", f"the behavior {kind} would lower replicas without a reading: left out")


def _rest(spec: Mapping[str, Any], advanced: Mapping[str, Any], low: int, notes: Notes) -> None:
    if low > 0 and spec.get("cooldownPeriod") is not None:
        notes.left_out("spec.cooldownPeriod", "it concerns the step to zero only, and minReplicaCount is above it")
    if whole(spec.get("initialCooldownPeriod", 0), "spec.initialCooldownPeriod"):
        notes.changed(
            "spec.initialCooldownPeriod", "no counterpart: the first down comes after five minutes of readings"
        )
    if str(advanced.get("restoreToOriginalReplicaCount", "false")).lower() == "true":
        notes.changed(
            "spec.advanced.restoreToOriginalReplicaCount",
            "deleting a ConsumerAutoscaler leaves the replicas as they are. Set it to false before the ScaledObject"
            " goes",
        )
    name = mapping(advanced.get("horizontalPodAutoscalerConfig"), "spec.advanced").get("name")
    if name:
        notes.left_out("spec.advanced.horizontalPodAutoscalerConfig.name", "there is no HPA")


def _annotations(metadata: Mapping[str, Any], notes: Notes) -> dict[str, str]:
    given = mapping(metadata.get("annotations"), "metadata.annotations")
    found: dict[str, str] = {}
    names = (("paused", PAUSED), ("paused-scale-in", PAUSED_SCALE_IN), ("paused-scale-out", PAUSED_SCALE_OUT))
    for theirs, ours in names:
        value = given.get(f"{_KEDA}{theirs}")
        if value is not None and str(value) not in _FALSE:
            found[ours] = "true"
            if str(value).lower() != "true":
                notes.changed(f"metadata.annotations[{_KEDA}{theirs}]", f"{str(value)[:40]!r} is true to KEDA")
    if given.get(f"{_KEDA}paused-replicas") is not None:
        where = f"metadata.annotations[{_KEDA}paused-replicas]"
        found[PAUSED_REPLICAS] = str(whole(given[f"{_KEDA}paused-replicas"], where))
    for name in given:
        if name.startswith(("autoscaling.keda.sh/force-activation", "scaledobject.keda.sh/", "validations.keda.sh/")):
            notes.left_out(f"metadata.annotations[{name}]", "no counterpart")
    return found


def _defects(trigger: Trigger, notes: Notes) -> None:
    """What KEDA does wrong and somebody may have set his numbers by."""
    where = trigger.where
    notes.advice(
        f"{where}.metadata.lagThreshold",
        "with the HPA's tolerance of 10 % a group may have stayed up to 9 % below its partitions, and one above them by"
        " KEDA's rounding: here the count is exact, and the partitions are the most",
    )
    if "topics" in trigger.kafka and trigger.kafka["offsetReset"] == "Latest":
        notes.advice(
            f"{where}.metadata.offsetResetPolicy",
            "KEDA sees no work in a group that commits before it has finished, and ends it; so does this one: commit"
            " after the work",
        )
