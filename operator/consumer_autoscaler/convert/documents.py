"""The objects that a conversion is given, found by kind and name."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from consumer_autoscaler.convert.notes import Json, mapping, members


class BadDocument(ValueError):
    """The text is no YAML with Kubernetes objects; the message says where."""


def read(text: str) -> list[Json]:
    """All objects of a YAML or JSON text, those inside of Lists among them. Raises BadDocument."""
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2001-99-99 is taken for a date
        raise BadDocument(f"no YAML: {' '.join(str(error).split())[:300]}") from None
    found: list[Json] = []
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        if not isinstance(document, dict) or "kind" not in document:
            raise BadDocument(f"document {number} is not a Kubernetes object: it has no `kind`")
        if not isinstance(document.get("metadata", {}), dict | None):
            raise BadDocument(f"document {number} is not a Kubernetes object: its `metadata` is no object")
        found += _unpacked(document)
    return found


def _unpacked(document: Json) -> Iterator[Json]:
    if str(document["kind"]).endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            if isinstance(item, dict):
                yield from _unpacked({"kind": str(document["kind"]).removesuffix("List"), **item})
    else:
        yield document


class Documents:
    """What is there. A namespace that an object does not name is `namespace`."""

    def __init__(self, objects: Iterable[Json], namespace: str = "default") -> None:
        self.namespace = namespace
        self.all = list(objects)

    def of_kind(self, kind: str) -> Iterator[Json]:
        return (body for body in self.all if body.get("kind") == kind)

    def find(self, kind: str, name: str, namespace: str | None) -> Json | None:
        """One object; `namespace` None for those of the whole cluster."""
        for body in self.of_kind(kind):
            metadata = body.get("metadata") or {}
            if metadata.get("name") == name and namespace in (None, self.namespace_of(body)):
                return body
        return None

    def namespace_of(self, body: Mapping[str, Any]) -> str:
        return str((body.get("metadata") or {}).get("namespace") or self.namespace)

    def name_of(self, body: Mapping[str, Any]) -> str:
        return str((body.get("metadata") or {}).get("name") or "")

    def secret_text(self, namespace: str, name: str, key: str) -> str | None:
        """A value of a Secret that was given, None when the Secret, or the key, was not. Raises Refused."""
        body = self.find("Secret", name, namespace)
        if body is None:
            return None
        where = f"Secret {name}"
        plain, encoded = (mapping(body.get(part), where).get(key) for part in ("stringData", "data"))
        if plain is not None:
            return str(plain)
        try:
            return None if encoded is None else base64.b64decode(str(encoded)).decode()
        except ValueError:
            return None

    def container_env(
        self, kind: str, name: str, namespace: str, container: str
    ) -> dict[str, Mapping[str, Any]] | None:
        """The environment of a target's container (the first without a name), None when it was not given.

        Raises Refused where it is not of that form.
        """
        body = self.find(kind, name, namespace)
        if body is None:
            return None
        where = f"{kind} {name}: spec"
        template = mapping(mapping(body.get("spec"), where).get("template"), f"{where}.template")
        for one in members(mapping(template.get("spec"), where).get("containers"), f"{where}.containers"):
            if not container or one.get("name") == container:
                return {str(each.get("name")): each for each in members(one.get("env"), f"{where}.env")}
        return {}
