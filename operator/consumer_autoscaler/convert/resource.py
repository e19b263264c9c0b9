"""The ConsumerAutoscaler that a conversion writes, checked as the operator checks it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer_autoscaler.convert.notes import Json, Notes, Refused
from consumer_autoscaler.resource.spec import GROUP, KIND, VERSION, InvalidSpec, parse
from consumer_autoscaler.resource.spec_schema import POLL_INTERVALS_SECONDS

HPA_SYNC_SECONDS = 15
_OTHERS_LABELS = ("scaledobject.keda.sh/", "app.kubernetes.io/managed-by", "helm.sh/", "argocd.argoproj.io/")
# A pod's start, a rebalance and a commit, as long as nothing else is known: the operator's own defaults.
_REACTION_SECONDS = 30 + 10 + 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """All that goes into a resource."""

    name: str
    namespace: str
    labels: Mapping[str, Any]
    annotations: Mapping[str, str]
    target_kind: str
    target_name: str
    low: int
    high: int
    mode: str
    kafka: Json
    threshold: int
    scaling: Json


def poll_seconds(wanted: int) -> int:
    """The longest interval that is offered and not longer than this many seconds."""
    return max(each for each in POLL_INTERVALS_SECONDS if each <= max(1, wanted))


def written(draft: Draft, notes: Notes) -> Json:
    """The object. Raises Refused when the operator would not take it."""
    labels = {k: str(v) for k, v in draft.labels.items() if not k.startswith(_OTHERS_LABELS)}
    metadata: Json = {"name": draft.name, "namespace": draft.namespace}
    if labels:
        metadata["labels"] = labels
    if draft.annotations:
        metadata["annotations"] = dict(draft.annotations)
    body: Json = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": metadata,
        "spec": {
            "targetRef": {"kind": draft.target_kind, "name": draft.target_name},
            "minReplicas": draft.low,
            "maxReplicas": draft.high,
            "mode": draft.mode,
            "sources": [{"name": "main", "kafka": draft.kafka}],
            "objective": {"lagPerReplica": draft.threshold},
            "scaling": draft.scaling,
        },
    }
    try:
        parse({**body, "metadata": {**metadata, "uid": "none"}})
    except InvalidSpec as problem:
        raise Refused("the result", str(problem)) from None
    promise = suggested_promise_seconds(int(draft.scaling["pollIntervalSeconds"]))
    notes.advice(
        "objective",
        f"lagPerReplica: {draft.threshold} scales as before. A promise in its place, for instance maxDelaySeconds:"
        f" {promise}, needs fewer scalings and says how long a message waits; {promise} s are twice what a poll, a"
        " pod's start and a rebalance take at first",
    )
    return body


def suggested_promise_seconds(poll_interval_seconds: int) -> int:
    """Twice the time of a reaction, in whole half minutes."""
    return math.ceil(2 * (poll_interval_seconds + _REACTION_SECONDS) / 30) * 30
