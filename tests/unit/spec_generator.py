"""Specs made by walking the CRD's schema: good ones, and every way of spoiling a field of one.

`good` makes a spec that the schema and its rules accept, `spoilt` changes one field of a spec into something that a
person, a template or an attacker might write there; often it is still good. All by a seeded generator, so that a
number is enough to see an input again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from tests.unit.spec_oracle import keeps_rules

Json = Any
Path = tuple[str | int, ...]

_HUGE = (2**31, 2**63, 2**64, 10**30, -1, -(2**63), -(10**30), 1e308)
_OTHER_TYPES: tuple[Json, ...] = (True, False, 5, 2.5, "text", "5", "true", [], {}, [5], [{}], {"name": "a"}, "")
_ODD = (
    "",
    " ",
    "a",
    "A",
    "0",
    "-",
    ".",
    "..",
    "_",
    "/",
    ":",
    "@",
    "%",
    "[",
    "]",
    "\n",
    "\t",
    "\x00",
    "\x7f",
    "é",
    "😀",
)
_ODD += (
    "\u2028",
    "\ufeff",
    "~",
    "'",
    '"',
    "\\",
    "$",
    "{",
    "}",
    ",",
    "http://",
    "https://",
    "localhost",
    ":9092",
    "%00",
)

# By the field's name; where none stands any name of letters will do.
_TEXTS: Mapping[str, Sequence[str]] = {
    "bootstrapServers": ("kafka:9092", "a.invalid:1, b.invalid:65535", "[::1]:9092", ",".join(["a:1"] * 16)),
    "address": ("http://prometheus.invalid:9090", "https://p.invalid/prometheus", "http://[::1]:9090", "https://[[:x"),
    "tokenEndpoint": ("https://id.invalid/realms/x/token", "http://id.invalid:8080", "https://[", "https://::/%"),
    "path": ("/", "/metrics", "/actuator/prometheus", "/%zz", "/" + "a" * 255),
    "query": ("up", 'sum(rate(x_sum{a="b"}[1m]))\n/ 2', "☃", "a" * 4096),
    "consumerGroup": ("payments", "group of é 😀", "..", "a" * 255),
    "scope": ("kafka", "a b", "é"),
    "value": ("mail", "é 😀", '"} or vector(1) #', "a" * 256),
    "apiVersion": ("apps/v1",),
}


def good(schema: Mapping[str, Any], rng: Random, name: str = "", *, optional: float = 0.4) -> Json:
    """A value that the schema accepts with all its rules; fields that need not be there are, with about this chance."""
    value = _any_good(schema, rng, name, optional)
    while not keeps_rules(schema, value):
        value = _any_good(schema, rng, name, 0.4)
    return value


def _any_good(schema: Mapping[str, Any], rng: Random, name: str, optional: float) -> Json:
    if "enum" in schema:
        return rng.choice(schema["enum"])
    match schema["type"]:
        case "integer":
            least, most = schema["minimum"], schema["maximum"]
            wide = int(least + (most - least) * rng.random() ** 8)  # small ones more often
            return rng.choice((least, most, min(most, least + 1), max(least, most - 1), wide, wide))
        case "string":
            return rng.choice(_TEXTS.get(name) or ("a", "b2", "payments", "a" * min(schema["maxLength"], 300)))
        case "array":
            count = rng.randint(schema.get("minItems", 0), min(schema["maxItems"], 3))
            return _apart(schema, [good(schema["items"], rng, optional=optional) for _ in range(count)])
    needed = schema.get("required", ())
    return {
        name: good(part, rng, name, optional=optional)
        for name, part in schema["properties"].items()
        if name in needed or rng.random() < optional
    }


def _apart(schema: Mapping[str, Any], items: list[Json]) -> list[Json]:
    """Entries of a set, or of a map by its key, differ."""
    if schema["x-kubernetes-list-type"] == "set":
        return list(dict.fromkeys(items))
    for number, item in enumerate(items):
        for key in schema.get("x-kubernetes-list-map-keys", ()):
            item[key] = f"n{number}"
    return items


def fields(schema: Mapping[str, Any], value: Json, path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any], Json]]:
    """Every field that the schema has where `value` goes: path, schema and value, which is None when not set."""
    if path:
        yield path, schema, value
    if schema["type"] == "object" and isinstance(value, dict):
        for name, part in schema["properties"].items():
            yield from fields(part, value.get(name), (*path, name))
    elif schema["type"] == "array" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from fields(schema["items"], item, (*path, index))


def spoilers(schema: Mapping[str, Any], rng: Random) -> Iterator[Json]:
    """Values for one field: other types, just inside and outside of its bounds, empty, huge, odd, of the wrong case."""
    yield from _OTHER_TYPES
    yield None
    yield from _HUGE
    if "enum" in schema:
        for choice in schema["enum"]:
            yield from (choice, *((choice.lower(), choice.upper(), f"{choice} ") if isinstance(choice, str) else ()))
        yield from ("Other", 7)
    if "minimum" in schema:
        for bound in (schema["minimum"], schema["maximum"]):
            yield from (bound - 1, bound, bound + 1, bound + 0.5)
    if schema["type"] == "string":
        for length in (schema.get("minLength", 0), schema.get("maxLength", 1), 100_000):
            yield from ("a" * length, "é" * (length + 1))
        for _ in range(4):
            yield "".join(rng.choices(_ODD, k=rng.randint(1, 12)))
    if schema["type"] == "array":
        item = good(schema["items"], rng)
        yield from ([], [None], [item], [item, item], [item] * (schema["maxItems"] + 1), [[item]])
    if schema["type"] == "object":
        yield from ({"unknown": 1}, {"unknown": {"a": [{}] * 50}})


def spoilt(schema: Mapping[str, Any], spec: Json, rng: Random) -> tuple[Json, Path]:
    """A copy with one field, set or not, removed or given some other value, good or bad; and which field it was."""
    path, part, value = rng.choice(list(fields(schema, spec)))
    dice = rng.random()
    if dice < 0.1 and value is not None:
        return without(spec, path), path
    if dice < 0.3:
        return changed(spec, path, good(part, rng, str(path[-1]))), path
    return changed(spec, path, rng.choice(list(spoilers(part, rng)))), path


def changed(spec: Json, path: Path, value: Json) -> Json:
    """A copy with another value there."""
    spec = copy.deepcopy(spec)
    _holder(spec, path)[path[-1]] = copy.deepcopy(value)
    return spec


def without(spec: Json, path: Path) -> Json:
    """A copy without what is there."""
    spec = copy.deepcopy(spec)
    del _holder(spec, path)[path[-1]]
    return spec


def _holder(spec: Json, path: Path) -> Any:
    for step in path[:-1]:
        spec = spec[step]
    return spec


def shown(path: Path) -> str:
    """A path as the API server and the operator write it."""
    return "spec" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
