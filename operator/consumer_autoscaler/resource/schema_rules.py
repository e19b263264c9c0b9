"""Rules that hold in two places: in the API server as CEL, and in the operator when it reads a resource.

A rule is stated once and carries its own message, because what a regular expression of a plain schema says to
a person ("should match '^...$'") names no remedy. The patterns keep to what RE2 (the API server) and
`re` (here) understand alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

CEL_RULES = "x-kubernetes-validations"

DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_SUBDOMAIN = rf"{DNS_LABEL}(\.{DNS_LABEL})*"

# Kafka refuses "." and ".." as topic names, being folder names.
TOPIC = r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*|\.{3,}"

_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_HOST = r"([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])"
BOOTSTRAP_SERVERS = rf" *{_HOST}:{_PORT} *(, *{_HOST}:{_PORT} *)*"


class Part(BaseModel):
    """The ground of every object in `spec`."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


def cel_rules(*rules: tuple[str, str]) -> JsonDict:
    """The part of a schema that states several CEL rules, each with its message."""
    return {CEL_RULES: [{"rule": rule, "message": message} for rule, message in rules]}


def cel(rule: str, message: str, **more: str) -> JsonDict:
    """The part of a schema that states one CEL rule."""
    return {CEL_RULES: [{"rule": rule, "message": message, **more}]}


def refuse(message: str) -> NoReturn:
    """Refuses the value under validation with this message and no prefix."""
    raise PydanticCustomError("rule", "{message}", {"message": message})


@dataclass(frozen=True, slots=True)
class Matches:
    """Annotates a string: all of it must match `pattern`, else a person reads `message` ("must ...")."""

    pattern: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        whole = re.compile(self.pattern)
        return _checked(handler(source), lambda value: whole.fullmatch(value) is not None, self.message)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonDict:
        literal = json.dumps(f"^({self.pattern})$")  # a JSON string is a CEL string with the same escapes
        return _with_rule(handler(schema), f"self.matches({literal})", self.message)


@dataclass(frozen=True, slots=True)
class AtMostParts:
    """Annotates a string: it has at most `count` parts between commas."""

    count: int
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _checked(handler(source), lambda value: value.count(",") < self.count, self.message)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonDict:
        return _with_rule(handler(schema), f"self.split(',').size() <= {self.count}", self.message)


@dataclass(frozen=True, slots=True)
class OneOf:
    """Annotates an integer: it is one of `choices`."""

    choices: tuple[int, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        listed = ", ".join(str(choice) for choice in self.choices)
        return _checked(handler(source), self.choices.__contains__, f"must be one of {listed}")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonDict:
        return {**handler(schema), "enum": list(self.choices)}


@dataclass(frozen=True, slots=True)
class Differ:
    """Annotates a list: its entries differ, in their field `by` or, without it, altogether."""

    message: str
    by: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def holds(entries: list[Any]) -> bool:
            return len({getattr(entry, self.by) if self.by else entry for entry in entries}) == len(entries)

        return _checked(handler(source), holds, self.message)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonDict:
        how: JsonDict = {"x-kubernetes-list-type": "set"}
        if self.by:
            how = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.by]}
        return {**handler(schema), **how}


def _checked(inner: CoreSchema, holds: Callable[[Any], bool], message: str) -> CoreSchema:
    def check(value: Any) -> Any:
        if not holds(value):
            refuse(message)
        return value

    return core_schema.no_info_after_validator_function(check, inner)


def _with_rule(schema: JsonDict, rule: str, message: str) -> JsonDict:
    present = schema.get(CEL_RULES, [])
    assert isinstance(present, list)
    return {**schema, CEL_RULES: [*present, {"rule": rule, "message": message}]}
