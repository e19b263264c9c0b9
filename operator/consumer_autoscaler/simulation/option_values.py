"""Options of `simulate` as values, each checked: what is wrong is said with the option and with what it must be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from consumer_autoscaler.resource.spec import KIND, Resource, parse
from consumer_autoscaler.simulation.fault_words import parse_fault
from consumer_autoscaler.simulation.trace import Noise
from consumer_autoscaler.simulation.world import Duration, Fault


class WrongUse(ValueError):
    """An option cannot be used; the message says which and what to do."""


def resource_of(options: argparse.Namespace) -> Resource | None:
    if options.resource is None:
        return None
    body = document(options.resource, KIND)
    given = body.get("metadata")
    metadata: dict[str, Any] = given if isinstance(given, dict) else {}
    return parse({**body, "metadata": {"namespace": "default", "name": "simulated", "uid": "simulated", **metadata}})


def document(path: Path, kind: str) -> Mapping[str, Any]:
    """The first document of this kind."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise WrongUse(f"{path}: there is no such file") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: no text, or 2001-99-99
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where is not None else ""
        raise WrongUse(f"{path}{line}: is not YAML ({type(error).__name__}): correct it") from error
    found = next((body for body in documents if isinstance(body, dict) and body.get("kind") == kind), None)
    if found is None:
        raise WrongUse(f"{path}: has no document of kind {kind}")
    return found


def fault(text: str, partitions: int) -> Fault:
    try:
        return parse_fault(text, partitions)
    except ValueError as error:
        raise WrongUse(f"--fault {text}: {error}") from None


def noise(text: str) -> Noise:
    if text == "poisson":
        return Noise()
    if text == "none":
        return Noise(poisson=False)
    try:
        cv = float(text)
    except ValueError:
        cv = -1.0
    if not 0 <= cv <= 5:
        raise WrongUse(f"--noise {text}: must be poisson, none, or a number from 0 to 5")
    return Noise(burst_cv=cv)


def duration(option: str, text: str) -> Duration:
    mean, _, cv = text.replace("+-", "±").partition("±")
    try:
        found = Duration(float(mean), float(cv or 0))
    except ValueError:
        found = Duration(-1.0)
    if found.mean_seconds < 0 or found.cv < 0:
        raise WrongUse(f"{option} {text}: must be seconds, or seconds±variation as in 30±0.4")
    return found


def positive(option: str, value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise WrongUse(f"{option} {value:g}: must be greater than 0")
    return value
