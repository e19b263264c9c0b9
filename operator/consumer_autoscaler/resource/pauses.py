"""The annotations that pause a resource, for hands that shall not touch its spec (which GitOps tools put back)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "consumerautoscaler.dev/"
PAUSED = f"{PREFIX}paused"
PAUSED_REPLICAS = f"{PREFIX}paused-replicas"
PAUSED_SCALE_IN = f"{PREFIX}paused-scale-in"
PAUSED_SCALE_OUT = f"{PREFIX}paused-scale-out"
ANNOTATIONS = (PAUSED, PAUSED_REPLICAS, PAUSED_SCALE_IN, PAUSED_SCALE_OUT)

_MOST_REPLICAS = 10_000
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """What the annotations say. `problems` names each that says nothing, with the remedy."""

    paused: bool = False
    replicas: int | None = None
    scale_in: bool = False
    scale_out: bool = False
    problems: tuple[str, ...] = ()


def annotated(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Those of the annotations that pause, as they stand: what has to be compared to see a change."""
    annotations = metadata.get("annotations")
    if not isinstance(annotations, Mapping):
        return {}
    return {name: str(annotations[name]) for name in ANNOTATIONS if name in annotations}


def pauses(metadata: Mapping[str, Any]) -> Pauses:
    """Reads them; never raises. A value that is neither true nor false counts as neither and is a problem."""
    given = annotated(metadata)
    problems: list[str] = []

    def switch(name: str) -> bool:
        value = given.get(name, "false")
        if value.lower() not in _BOOLEANS:
            problems.append(f"{_where(name)}: must be 'true' or 'false', not {value[:40]!r}: correct or remove it")
        return _BOOLEANS.get(value.lower(), False)

    replicas = given.get(PAUSED_REPLICAS)
    count = _number(replicas) if replicas is not None else None
    if replicas is not None and count is None:
        problems.append(
            f"{_where(PAUSED_REPLICAS)}: must be a number from 0 to {_MOST_REPLICAS}, not {replicas[:40]!r}:"
            " correct or remove it"
        )
    return Pauses(
        paused=switch(PAUSED),
        replicas=count,
        scale_in=switch(PAUSED_SCALE_IN),
        scale_out=switch(PAUSED_SCALE_OUT),
        problems=tuple(problems),
    )


def _number(text: str) -> int | None:
    """Digits only, and not many: Python refuses to read thousands of them."""
    if not (text.isascii() and text.isdigit() and len(text.lstrip("0")) <= len(str(_MOST_REPLICAS))):
        return None
    number = int(text.lstrip("0") or "0")
    return number if number <= _MOST_REPLICAS else None


def _where(name: str) -> str:
    return f"metadata.annotations[{name}]"
