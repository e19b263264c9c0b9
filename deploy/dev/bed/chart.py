"""Makes what of the Helm chart is made: the CRD's copy, the dashboards, and from values.yaml the schema and README.

python -m bed.chart [--check]     with --check nothing is written, and a difference ends with status 1
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

import dashboards
from bed.paths import REPOSITORY

CHART = REPOSITORY / "charts" / "consumer-autoscaler"
# Kubernetes' own objects, given on as they are: the API server knows what may be in them.
OPEN = frozenset(
    {"podSecurityContext", "securityContext", "resources", "startupProbe", "livenessProbe", "readinessProbe"}
)
NUMBER_OR_PERCENTAGE = {"type": ["integer", "string", "null"], "minimum": 0, "pattern": "^[0-9]+%$"}
TEXTS = {"type": "array", "items": {"type": "string"}}
TYPES: dict[str, dict[str, Any]] = {
    "watchNamespaces": TEXTS,
    "allowedEndpoints": TEXTS,
    "deniedCidrs": TEXTS,
    "extraArgs": TEXTS,
    "podDisruptionBudget.minAvailable": NUMBER_OR_PERCENTAGE,
    "podDisruptionBudget.maxUnavailable": NUMBER_OR_PERCENTAGE,
}
ENUMS = {
    "podDisruptionBudget.unhealthyPodEvictionPolicy": ["", "IfHealthyBudget", "AlwaysAllow"],
    "image.pullPolicy": ["Always", "IfNotPresent", "Never"],
    "logging.level": ["DEBUG", "INFO", "WARNING", "ERROR"],
    "logging.format": ["text", "json"],
}


def made() -> dict[Path, str]:
    """The text of each file that is made, by path."""
    text = (CHART / "values.yaml").read_text()
    values, said = yaml.safe_load(text), comments(text)
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **_schema(values, "", said)}
    return {
        CHART / "files" / "consumerautoscalers.yaml": (REPOSITORY / "crds" / "consumerautoscalers.yaml").read_text(),
        CHART / "values.schema.json": json.dumps(schema, indent=2) + "\n",
        CHART / "README.md": _readme(values, said),
        **{CHART / "files" / "dashboards" / f"{uid}.json": board for uid, board in dashboards.made().items()},
    }


def comments(text: str) -> dict[str, str]:
    """What the comment above each value says of it, by its path with dots; such a comment begins with that path."""
    found = re.findall(r"^ *# ([\w., ]+?): (.+)$", text, re.MULTILINE)
    return {path.strip(): words for paths, words in found for path in paths.split(",")}


def _schema(value: Any, path: str, said: dict[str, str]) -> dict[str, Any]:
    described = {"description": said[path]} if path in said else {}
    if path in TYPES:
        return {**described, **TYPES[path]}
    if isinstance(value, dict):
        if not value or path in OPEN:
            return {**described, "type": ["object", "null"] if path in OPEN else "object"}
        inner = {key: _schema(item, f"{path}.{key}".lstrip("."), said) for key, item in value.items()}
        # `global` is what a parent chart hands to all of its children.
        top = {} if path else {"global": {"type": "object"}}
        return {**described, "type": "object", "additionalProperties": False, "properties": {**inner, **top}}
    if isinstance(value, list):
        return {**described, "type": "array"}
    if path in ENUMS:
        return {**described, "enum": ENUMS[path]}
    if isinstance(value, bool) or value is None:
        return {**described, "type": "boolean" if value is not None else ["boolean", "null"]}
    if isinstance(value, int):
        return {**described, "type": "integer", "minimum": 0}
    return {**described, "type": "string"}


def _rows(values: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        here = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict) and value and here not in OPEN:
            rows += _rows(value, here)
        else:
            rows.append((here, value))
    return rows


def _readme(values: dict[str, Any], said: dict[str, str]) -> str:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    lines = [
        "<!-- Made by `make chart` from values.yaml. Do not edit. -->",
        f"# {chart['name']} {chart['version']}",
        "",
        f"{chart['description']}. Kubernetes {chart['kubeVersion'].removesuffix('-0')}.",
        "",
        "```",
        "helm install consumer-autoscaler charts/consumer-autoscaler"
        " --namespace consumer-autoscaler --create-namespace",
        "```",
        "",
        "The CRD is upgraded with the chart, and stays when it is uninstalled (`crds.keep`).",
        "",
        "| Value | Default | |",
        "|---|---|---|",
        *(f"| `{path}` | `{json.dumps(value)}` | {said.get(path, '')} |" for path, value in _rows(values)),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bed.chart", description="makes the made files of the chart")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when something would change")
    check = parser.parse_args().check
    stale = [path for path, text in made().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(("stale: " if check else "made: ") + str(path.relative_to(REPOSITORY)))
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(made()[path])
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
