"""Policy, observation, history and time as JSON and back: a bug report that is a test case by paste."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any

from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.values import Observation, Policy


class BadBundle(ValueError):
    """The JSON is not a bundle; the message names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """All that decide() was given."""

    policy: Policy
    observation: Observation
    history: History
    now: float


def dump(bundle: Bundle) -> dict[str, Any]:
    """Plain lists, dicts, strings and numbers. A dataclass inside a union is marked with its name under `is`."""
    return typing.cast(dict[str, Any], _dump(bundle, marked=False))


def load(data: object) -> Bundle:
    """The bundle that dump() wrote. Raises BadBundle."""
    return typing.cast(Bundle, _load(Bundle, data, "bundle"))


def _dump(value: Any, *, marked: bool) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        body = {f.name: _dump(getattr(value, f.name), marked=_is_union(hints[f.name])) for f in fields(value)}
        return {"is": type(value).__name__, **body} if marked else body
    if isinstance(value, tuple):
        return [_dump(item, marked=False) for item in value]
    return value.value if isinstance(value, Enum) else value


def _load(kind: Any, data: Any, where: str) -> Any:
    if _is_union(kind):
        return _load_union(kind, data, where)
    if typing.get_origin(kind) is tuple:
        return _load_tuple(typing.get_args(kind), data, where)
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(data, dict):
            raise BadBundle(f"{where} must be an object")
        hints = _hints(kind)
        known = {name: _load(hints[name], data[name], f"{where}.{name}") for name in hints if name in data}
        try:
            return kind(**known)
        except TypeError as error:
            raise BadBundle(f"{where}: {error}") from error
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(data)
        except ValueError as error:
            raise BadBundle(f"{where}: {error}") from error
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError as error:
            raise BadBundle(f"{where}: {error}") from error
    if isinstance(kind, type) and (type(data) is kind):
        return data
    raise BadBundle(f"{where} must be {getattr(kind, '__name__', kind)}")


def _load_union(kind: Any, data: Any, where: str) -> Any:
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if data is None:
        return None
    if isinstance(data, dict):
        for option in options:
            if getattr(option, "__name__", "") == data.get("is"):
                return _load(option, data, where)
    for option in options:
        try:
            return _load(option, data, where)
        except BadBundle:
            continue
    raise BadBundle(f"{where} fits none of its kinds")


def _load_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise BadBundle(f"{where} must be a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_load(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(kinds) != len(data):
        raise BadBundle(f"{where} must have {len(kinds)} items")
    return tuple(_load(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, data, strict=True)))


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
