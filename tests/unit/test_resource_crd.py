"""The CustomResourceDefinition: committed as generated, structural, bounded, described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from bed.paths import REPOSITORY
from consumer_autoscaler.resource.crd import custom_resource_definition, render, structural_schema

VERSION = custom_resource_definition()["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from parts(inner, f"{path}.{name}")
    if "items" in schema:
        yield from parts(schema["items"], f"{path}[]")


SPEC = list(parts(SCHEMA["properties"]["spec"], ".spec"))
ALL = SPEC + list(parts(SCHEMA["properties"]["status"], ".status"))


def test_the_committed_definition_is_the_generated_one() -> None:
    """crds/ is what the models say; `consumer-autoscaler crd` renews it."""
    assert (REPOSITORY / "crds/consumerautoscalers.yaml").read_text() == render()


def test_the_yaml_says_what_the_definition_says() -> None:
    """Rendering loses nothing, long rules included."""
    assert yaml.safe_load(render()) == custom_resource_definition()


def test_every_field_is_described() -> None:
    """What `kubectl explain` shows is there for every field and reads as a sentence."""
    fields = [(path, part) for path, part in ALL if not path.endswith("[]")]
    assert len(fields) > 60
    assert [path for path, part in fields if not part.get("description", "").endswith(".")] == []


def test_the_schema_is_structural() -> None:
    """Every value has exactly one type and nothing is referred to, so the API server prunes and defaults it."""
    forbidden = {"$ref", "anyOf", "oneOf", "allOf", "const", "title", "additionalProperties", "nullable"}
    assert [path for path, part in ALL if "type" not in part or forbidden & part.keys()] == []


def test_every_value_is_bounded() -> None:
    """Strings and lists have a greatest length, numbers both bounds, unless the choices are listed."""
    needed = {
        "string": {"maxLength"},
        "array": {"maxItems", "x-kubernetes-list-type"},
        "integer": {"minimum", "maximum"},
        "object": {"properties"},
        "boolean": set(),
    }
    assert [path for path, part in ALL if "enum" not in part and not needed[part["type"]] <= part.keys()] == []


def test_lists_of_the_spec_hold_no_defaults_but_the_key() -> None:
    """A default inside a list would make what was applied differ from what is stored, for ever."""
    inside = [path for path, part in SPEC if "[]" in path and "default" in part]
    assert inside == [".spec.sources[].name"]


def test_the_status_is_a_subresource_and_scale_is_not() -> None:
    """With a scale subresource another autoscaler could drive this one."""
    assert VERSION["subresources"] == {"status": {}}


class _NoType(BaseModel):
    value: int | str


def test_what_a_structural_schema_cannot_say_is_refused() -> None:
    """A model that would make an invalid definition is an error here, not at the API server."""
    with pytest.raises(ValueError, match=r"_NoType\.value: a value must have one type"):
        structural_schema(_NoType)
