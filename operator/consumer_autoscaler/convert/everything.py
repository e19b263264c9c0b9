"""All that can be converted of what is given, in its order."""

from __future__ import annotations

from consumer_autoscaler.convert import hpa, scaled_object
from consumer_autoscaler.convert.documents import Documents
from consumer_autoscaler.convert.hpa import Stream
from consumer_autoscaler.convert.notes import Converted, Kind, Note

_BESIDE = frozenset(
    {
        *("TriggerAuthentication", "ClusterTriggerAuthentication", "Secret", "Deployment", "StatefulSet"),
        *("Namespace", "Service", "ConfigMap", "ServiceAccount"),
    }
)


def convert_all(documents: Documents, stream: Stream, *, mode: str = "Observe") -> list[Converted]:
    """One for each ScaledObject and HPA, and a refusal for each object of a kind that is not known.

    An HPA that KEDA made is passed over where its ScaledObject is there. `mode` is that of the results.
    """
    found: list[Converted] = []
    for body in documents.all:
        kind, where = str(body.get("kind")), documents.namespace_of(body)
        name = str((body.get("metadata") or {}).get("name"))
        match kind:
            case scaled_object.KIND:
                found.append(scaled_object.convert(body, documents, mode=mode))
            case hpa.KIND if (owner := hpa.scaled_object_behind(body)) is not None:
                if documents.find(scaled_object.KIND, owner, where) is None:
                    said = f"KEDA made it for the ScaledObject {owner}: convert that"
                    found.append(_refusal(kind, where, name, said))
            case hpa.KIND:
                found.append(hpa.convert(body, documents, stream, mode=mode))
            case "ScaledJob":
                said = "starts a Job for each piece of work, which has no replicas to scale"
                found.append(_refusal(kind, where, name, said))
            case _:
                if kind not in _BESIDE:
                    found.append(_refusal(kind, where, name, "neither a ScaledObject nor an HPA"))
    return found


def _refusal(kind: str, namespace: str, name: str, why: str) -> Converted:
    return Converted(f"{kind} {namespace}/{name}", None, (Note(Kind.REFUSED, "kind", why),))
