"""JSON schemas of all that an API server serves, for kubeconform, made from what the server itself publishes.

    python -m bed.kubeschemas --kubeconfig FILE FOLDER

One file for each kind, as `-schema-location 'FOLDER/{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json'` finds
it. They are strict: a field that the server does not know is an error.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bed.parts import program

Schema = dict[str, Any]

_REFERENCE = "#/definitions/"
# What is a text in the published schema, and may be a number in a manifest.
_OR_NUMBER = {"type": ["string", "number"]}
_NUMBERS = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _OR_NUMBER,
}


def schemas(openapi: Schema) -> dict[str, Schema]:
    """The schema of each kind in an OpenAPI v2 document, by the name of its file, with all that it refers to."""
    definitions: dict[str, Schema] = {
        name: _NUMBERS.get(name) or _strict(body) for name, body in openapi["definitions"].items()
    }
    made = {}
    for name, body in openapi["definitions"].items():
        for kind in body.get("x-kubernetes-group-version-kind", ()):
            group = kind["group"] or kind["version"]  # as kubeconform calls the group of `apiVersion: v1`
            file = f"{group}_{kind['version']}_{kind['kind'].lower()}.json"
            needed = _needed(name, definitions)
            made[file] = {**definitions[name], "definitions": {each: definitions[each] for each in sorted(needed)}}
    return made


def _strict(schema: Any) -> Any:
    """The same, without fields beside those that are named; a format that says "or a number" counts."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:  # names of fields, which may be called like words of a schema
        strict["properties"] = {name: _strict(field) for name, field in schema["properties"].items()}
        strict.setdefault("additionalProperties", bool(strict.get("x-kubernetes-preserve-unknown-fields")))
    if strict.get("format") == "int-or-string" or strict.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    return strict


def _needed(name: str, definitions: dict[str, Schema]) -> set[str]:
    needed, left = set(), [name]
    while left:
        each = left.pop()
        if each not in needed:
            needed.add(each)
            left += re.findall(rf'"{_REFERENCE}([^"]+)"', json.dumps(definitions[each]))
    return needed


def write(openapi: Schema, folder: Path) -> int:
    """Writes the files into `folder` and gives their number."""
    folder.mkdir(parents=True, exist_ok=True)
    made = schemas(openapi)
    for name, schema in made.items():
        (folder / name).write_text(json.dumps(schema))
    return len(made)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bed.kubeschemas", description="JSON schemas for kubeconform")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    said = subprocess.run(
        [program("kubectl"), f"--kubeconfig={options.kubeconfig}", "get", "--raw", "/openapi/v2"],
        capture_output=True,
        text=True,
        check=True,
    )
    print(f"{write(json.loads(said.stdout), options.folder)} kinds in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
