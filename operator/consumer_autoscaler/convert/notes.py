"""What a conversion says beside its result: one note for each part that is not simply the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class Kind(StrEnum):
    """REFUSED: cannot be converted. CHANGED: does something else than before. LEFT_OUT: needed no more. ADVICE."""

    REFUSED = "refused"
    CHANGED = "changed"
    LEFT_OUT = "left out"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True)
class Note:
    kind: Kind
    where: str  # the field, as a path
    text: str


class Refused(Exception):
    """A part without which the rest would be wrong: nothing is made of the object."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(f"{where}: {text}")
        self.where, self.text = where, text


@dataclass(slots=True)
class Notes:
    """Gathers the notes of one object."""

    found: list[Note] = field(default_factory=list)

    def refused(self, where: str, text: str) -> None:
        self.found.append(Note(Kind.REFUSED, where, text))

    def changed(self, where: str, text: str) -> None:
        self.found.append(Note(Kind.CHANGED, where, text))

    def left_out(self, where: str, text: str) -> None:
        self.found.append(Note(Kind.LEFT_OUT, where, text))

    def advice(self, where: str, text: str) -> None:
        self.found.append(Note(Kind.ADVICE, where, text))


@dataclass(frozen=True, slots=True)
class Converted:
    """One object: `body` is the ConsumerAutoscaler, None when it was refused as a whole."""

    origin: str  # kind namespace/name
    body: Json | None
    notes: tuple[Note, ...]

    @property
    def refused(self) -> bool:
        """Whether it, or a part of it, could not be converted."""
        return self.body is None or any(note.kind is Kind.REFUSED for note in self.notes)


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """An object, the empty one when there is none."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refused(where, "must be an object")
    return value


def members(value: Any, where: str) -> list[Mapping[str, Any]]:
    """A list of objects, the empty one when there is none."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused(where, "must be a list")
    return [mapping(one, f"{where}[{number}]") for number, one in enumerate(value)]


def whole(value: Any, where: str, *, least: int = 0) -> int:
    """A whole number, from a number or from KEDA's strings."""
    try:
        number = int(str(value).strip())
    except ValueError:
        raise Refused(where, f"{str(value)[:40]!r} is not a whole number") from None
    if number < least or isinstance(value, bool):
        raise Refused(where, f"must be at least {least}")
    return number


def switch(value: Any, where: str) -> bool:
    """A boolean, as Go's ParseBool reads strings."""
    text = str(value).strip()
    if text in ("1", "t", "T", "true", "True", "TRUE"):
        return True
    if text in ("0", "f", "F", "false", "False", "FALSE"):
        return False
    raise Refused(where, f"{text[:40]!r} is neither true nor false")
