"""docs/resource.md from the CRD's schema: every field with its type, bounds, default and description.

`python -m pages.resource > docs/resource.md` (`make docs`) renews it; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from consumer_autoscaler.resource.crd import custom_resource_definition

Schema = Mapping[str, Any]

HEAD = """# The resource

<!-- Generated from the CRD by `make docs`; edit the models in operator/consumer_autoscaler/resource/ instead. -->

Kind `ConsumerAutoscaler`, short name `cas`, group `consumerautoscaler.dev`, version `v1alpha1`. The same text is shown
by `kubectl explain cas.spec`. Where a default is named in the text and not in the column, the field stays unset in the
stored resource, so that a later version may choose a better one. Which fields go together is at the end of each part.
"""


def render() -> str:
    """The whole page."""
    version = custom_resource_definition()["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    lines = [HEAD]
    for name in ("spec", "status"):
        lines += _part(name, schema[name], level=2)
    lines += ["## Columns of kubectl get", "", "| Column | Value | |", "|---|---|---|"]
    for column in version["additionalPrinterColumns"]:
        wide = "with `-o wide`" if column.get("priority") else ""
        lines.append(f"| {column['name']} | `{column['jsonPath'].replace('|', chr(92) + '|')}` | {wide} |")
    return "\n".join(lines).rstrip() + "\n"


def _part(path: str, schema: Schema, *, level: int) -> list[str]:
    """A table of the fields of this object, and after it the objects among them, each a part of its own."""
    lines = [f"{'#' * level} {path}", "", _text(schema), ""]
    required = set(schema.get("required", ()))
    lines += ["| Field | Type | Default | |", "|---|---|---|---|"]
    inner: list[tuple[str, Schema]] = []
    for name, field in schema["properties"].items():
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        lines.append(f"| {shown} | {_type(field)} | {_default(field)} | {_cell(_text(field))} |")
        below = _object(field)
        if below is not None:
            inner.append((f"{path}.{name}{'[]' if field['type'] == 'array' else ''}", below))
    lines.append("")
    if required:
        lines += ["Fields in bold must be set.", ""]
    lines += _rules(schema)
    for name, below in inner:
        lines += _part(name, below, level=min(level + 1, 6))
    return lines


def _object(field: Schema) -> Schema | None:
    """The object that this field is, or that its elements are."""
    at = field["items"] if field["type"] == "array" else field
    if at.get("type") != "object" or "properties" not in at:
        return None
    return {"description": field.get("description", ""), **at}


def _text(schema: Schema) -> str:
    return str(schema.get("description", ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _type(field: Schema) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        below = field["items"]
        return f"list of {below['type']}s{_bounds(field, 'Items')}"
    if field["type"] == "object" and "properties" not in field:
        return "map"
    if field["type"] == "string":
        return f"{field.get('format', 'string')}{_bounds(field, 'Length')}"
    return f"{field['type']}{_numbers(field)}"


def _numbers(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is None and high is None:
        return ""
    return f", {'' if low is None else low} to {'' if high is None else f'{high:,}'}".rstrip()


def _bounds(field: Schema, what: str) -> str:
    most = field.get(f"max{what}")
    unit = "characters" if what == "Length" else "of them"
    return f", at most {most:,} {unit}" if most is not None else ""


def _default(field: Schema) -> str:
    return f"`{field['default']}`" if "default" in field and field["default"] not in ({}, []) else ""


def _rules(schema: Schema) -> Iterator[str]:
    """What the API server refuses besides, in the words in which it does."""
    rules = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
    if rules:
        yield from (f"- {rule}" for rule in rules)
        yield ""


if __name__ == "__main__":
    sys.stdout.write(render())
