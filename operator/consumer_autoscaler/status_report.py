"""`status`: many resources as a table, with the one word that matters most of each; one of them as a screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

Body = Mapping[str, Any]
Paint = Callable[[str, str], str]

_COLUMNS = ("NAME", "TARGET", "MODE", "REPLICAS", "LAG", "DELAY", "PROMISE", "REASON")
_WIDE = ("MIN", "MAX", "READY", "PARTITIONS", "ARRIVAL/MIN", "PER-REPLICA/MIN", "SCALED", "ALERTS", "MESSAGE")
_EVENTS_SHOWN = 10
_MESSAGE_SHOWN = 120


def as_table(bodies: Sequence[Body], *, namespaces: bool, wide: bool, now: float, paint: Paint) -> str:
    """A row for each resource. Unknown is `-`, never 0."""
    columns = [*(("NAMESPACE",) if namespaces else ()), *_COLUMNS, *(_WIDE if wide else ())]
    rows = [_cells(body, now) for body in bodies]
    table = [columns, *([row[column] for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    lines = []
    for number, line in enumerate(table):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        if number:
            place = columns.index("REASON")
            cells[place] = paint(cells[place], _colour(bodies[number - 1]))
        lines.append("   ".join(cells).rstrip())
    return "\n".join(lines)


def events_of(events: Sequence[Body], now: float, paint: Paint) -> Iterator[str]:
    """The last Events of a resource, the newest last."""
    yield "Events"
    ordered = sorted(events, key=_seen_at)[-_EVENTS_SHOWN:]
    if not ordered:
        yield "  none in the last hour (or as long as this cluster keeps them)"
    for event in ordered:
        count = int((event.get("series") or {}).get("count") or event.get("count") or 1)
        again = f" (x{count})" if count > 1 else ""
        reason = str(event.get("reason"))
        shown = paint(f"{reason:<22}", "yellow") if event.get("type") == "Warning" else f"{reason:<22}"
        yield f"  {_age(now - _seen_at(event)):>5}  {shown} {event.get('message', '')}{again}"


def condition(body: Body, type_: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition; three empty strings without one."""
    for one in (body.get("status") or {}).get("conditions") or ():
        if one.get("type") == type_:
            return str(one.get("status")), str(one.get("reason")), str(one.get("message") or "")
    return "", "", ""


def is_up_to_date(body: Body, type_: str) -> bool:
    """Whether a condition is about the spec as it is now."""
    generation = int((body.get("metadata") or {}).get("generation") or 0)
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == type_ and int(c.get("observedGeneration") or 0) >= generation for c in conditions)


def story(body: Body) -> tuple[str, str]:
    """The one word that matters most, and its sentence: what is broken, else why it is behind, else the decision."""
    status = body.get("status") or {}
    if not status:
        return "NoStatus", "is the operator running?"
    for type_, good in (("Ready", "True"), ("SourceHealthy", "True"), ("AbleToScale", "True")):
        is_status, reason, message = condition(body, type_)
        if is_status and is_status != good:
            return reason, message
    _, ready, message = condition(body, "Ready")
    if ready in ("Paused", "PartlyPaused"):
        return ready, message
    for type_, bad in (("Backpressured", "True"), ("PromiseKept", "False"), ("AlertFiring", "True")):
        is_status, reason, message = condition(body, type_)
        if is_status == bad:
            return reason, message
    decision = status.get("decision") or {}
    return str(decision.get("reason") or "-"), str(decision.get("message") or "")


def _cells(body: Body, now: float) -> dict[str, str]:
    metadata, spec, status = (body.get(part) or {} for part in ("metadata", "spec", "status"))
    replicas, lag, rates = (status.get(part) or {} for part in ("replicas", "lag", "rates"))
    objective, target = spec.get("objective") or {}, spec.get("targetRef") or {}
    current, desired = _known(replicas, "current"), _known(replicas, "desired")
    reason, message = story(body)
    promise = objective.get("maxDelaySeconds")
    scaled = _time(status.get("lastScaleTime"))
    return {
        "NAMESPACE": str(metadata.get("namespace") or ""),
        "NAME": str(metadata.get("name") or ""),
        "TARGET": f"{target.get('kind', 'Deployment').lower()}/{target.get('name')}",
        "MODE": str(spec.get("mode") or "Active"),
        "REPLICAS": current if desired in ("-", current) else f"{current}→{desired}",
        "LAG": _known(lag, "messages"),
        "DELAY": _known(lag, "delaySeconds", "s"),
        "PROMISE": f"{promise}s" if promise is not None else f"{objective.get('lagPerReplica')}/replica",
        "REASON": reason,
        "MIN": str(spec.get("minReplicas", 1)),
        "MAX": str(spec.get("maxReplicas")),
        "READY": _known(replicas, "ready"),
        "PARTITIONS": _known(lag, "partitions"),
        "ARRIVAL/MIN": _known(rates, "arrivalPerMinute"),
        "PER-REPLICA/MIN": _known(rates, "capacityPerReplicaPerMinute"),
        "ALERTS": ",".join(str(alert.get("name")) for alert in status.get("alerts") or ()) or "-",
        "SCALED": "-" if scaled is None else f"{_age(now - scaled)} ago",
        "MESSAGE": message if len(message) <= _MESSAGE_SHOWN else f"{message[: _MESSAGE_SHOWN - 1]}…",
    }


def _colour(body: Body) -> str:
    broken = any(condition(body, type_)[0] == "False" for type_ in ("Ready", "SourceHealthy", "AbleToScale"))
    behind = condition(body, "Backpressured")[0] == "True" or condition(body, "PromiseKept")[0] == "False"
    behind = behind or condition(body, "AlertFiring")[0] == "True"
    return "red" if broken or not body.get("status") else "yellow" if behind else "green"


def _known(part: Mapping[str, Any], key: str, unit: str = "") -> str:
    value = part.get(key)
    return "-" if value is None else f"{value}{unit}"


def _seen_at(event: Body) -> float:
    series = event.get("series") or {}
    for text in (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime")):
        if (at := _time(text)) is not None:
            return at
    return _time((event.get("metadata") or {}).get("creationTimestamp")) or 0.0


def _time(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None


def _age(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
