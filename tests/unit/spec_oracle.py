"""What the CRD's schema says about a spec, told without an API server: which fields are wrong.

A second reading of the schema that the API server gets, with its CEL rules, to hold against the operator's own parser.
It knows of CEL what the rules here use; a rule of another form raises. That a real API server sees it alike is tested
with one (tests/integration/test_generated_specs.py).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Json = Any
Path = tuple[str | int, ...]

_TYPES: Mapping[str, type] = {"integer": int, "string": str, "array": list, "object": dict, "boolean": bool}


def stored(schema: Mapping[str, Any], value: Json) -> Json:
    """As the API server stores it: with the schema's defaults, without null and fields that it does not know."""
    if schema["type"] == "object" and isinstance(value, dict):
        known = {}
        for name, part in schema["properties"].items():
            if value.get(name) is not None:
                known[name] = stored(part, value[name])
            elif "default" in part:
                known[name] = part["default"]
        return known
    if schema["type"] == "array" and isinstance(value, list):
        return [stored(schema["items"], item) for item in value]
    return value


def wrong_fields(schema: Mapping[str, Any], value: Json) -> set[Path]:
    """The paths of all that the schema or a rule refuses in a value as it would be stored."""
    return set(_wrong(schema, value, ()))


def keeps_rules(schema: Mapping[str, Any], value: Json) -> bool:
    """Whether a value of the right type keeps the CEL rules of its own place."""
    rules = schema.get("x-kubernetes-validations", ())
    if not rules:
        return True
    value = stored(schema, value)
    return all(_compiled(rule["rule"])(value) for rule in rules)


def _wrong(schema: Mapping[str, Any], value: Json, path: Path) -> Iterator[Path]:
    """What concerns several fields or entries is only asked where each of them is sound."""
    if not isinstance(value, _TYPES[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        yield path
        return
    inner = list(_wrong_inside(schema, value, path))
    yield from inner
    alone = value in schema.get("enum", (value,)) and _within(schema, value)
    if not alone or (not inner and (_repeats(schema, value) or not keeps_rules(schema, value))):
        yield path


def _wrong_inside(schema: Mapping[str, Any], value: Json, path: Path) -> Iterator[Path]:
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                yield (*path, name)
        for name, part in schema["properties"].items():
            if name in value:
                yield from _wrong(part, value[name], (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _wrong(schema["items"], item, (*path, index))


def _within(schema: Mapping[str, Any], value: Json) -> bool:
    match value:
        case int():
            return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
        case str():
            return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
        case list():
            return bool(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)))
    return True


def _repeats(schema: Mapping[str, Any], items: Json) -> bool:
    """Whether entries of a set are alike, or of a map by its key."""
    keys = schema.get("x-kubernetes-list-map-keys", ())
    if keys:
        entries = [[item.get(key) for key in keys] for item in items]
    elif schema.get("x-kubernetes-list-type") == "set":
        entries = items
    else:
        return False
    written = [json.dumps(entry) for entry in entries]
    return len(set(written)) < len(written)


@functools.cache
def _compiled(rule: str) -> Callable[[Json], bool]:
    """The rule as a function of `self`."""
    if matching := re.fullmatch(r"self\.matches\((\".*\")\)", rule):
        # What RE2 means by `$`, the end of the text, is `\Z` here.
        pattern = re.compile(json.loads(matching[1]).removesuffix("$") + r"\Z")
        return lambda value: pattern.match(value) is not None
    if counted := re.fullmatch(r"self\.split\('(.)'\)\.size\(\) <= (\d+)", rule):
        sign, most = counted.groups()
        return lambda value: len(value.split(sign)) <= int(most)
    python = re.sub(r"has\(self\.([A-Za-z.]+)\)", r"has('\1')", rule)
    python = re.sub(r"!(has\('[^']*'\))", r"(not \1)", python)
    python = re.sub(r"!\(", "not (", python).replace("&&", " and ").replace("||", " or ")
    python = re.sub(r"self\.([A-Za-z.]+?)\.startsWith\(", r"get('\1').startswith(", python)
    python = re.sub(r"self\.([A-Za-z.]+)", r"get('\1')", python)
    if leftover := re.search(r"self|![^=]", python):
        raise ValueError(f"{leftover[0]!r} of the rule {rule!r} is not understood here")
    code = compile(python, "rule", "eval")

    def holds(value: Json) -> bool:
        def get(path: str) -> Json:
            found = value
            for name in path.split("."):
                found = found.get(name) if isinstance(found, dict) else None
            return found

        return bool(eval(code, {"get": get, "has": lambda path: get(path) is not None}))

    return holds
