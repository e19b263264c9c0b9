"""Generated specs given to the operator's parser, and its answers held against the schema."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

from tests.unit.spec_generator import good, shown, spoilt
from tests.unit.spec_oracle import stored, wrong_fields

from consumer_autoscaler.resource.crd import custom_resource_definition
from consumer_autoscaler.resource.pauses import ANNOTATIONS
from consumer_autoscaler.resource.spec import InvalidSpec, Resource, parse

SCHEMA: dict[str, Any] = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC: dict[str, Any] = SCHEMA["properties"]["spec"]

_ANNOTATED = ("true", "FALSE", "yes", "", "0", "10000", "10001", "-1", "1e3", "²", "9" * 5000, "\x00", "true ")


@functools.cache
def _good_specs() -> list[Any]:
    """Sparse ones, usual ones, and ones with nearly everything."""
    return [good(SPEC, Random(seed), optional=(0.0, 0.3, 0.8)[seed % 3]) for seed in range(600)]


def generated(rng: Random) -> Any:
    """A good spec with up to four fields changed."""
    spec = rng.choice(_good_specs())
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        spec, _ = spoilt(SPEC, spec, rng)
    return spec


def metadata(rng: Random) -> dict[str, Any]:
    """Of a resource that now and then has an annotation of ours, with a text that a person may write there."""
    named: dict[str, Any] = {"namespace": "shop", "name": "payments", "uid": "6f0c", "generation": 3}
    if rng.random() < 0.1:
        named["annotations"] = {rng.choice(ANNOTATIONS): rng.choice(_ANNOTATED)}
    return named


def outcome(body: Mapping[str, Any]) -> Resource | InvalidSpec:
    """What parse() says. Any other exception is a defect, and goes on."""
    try:
        return parse(body)
    except InvalidSpec as refused:
        return refused


class Verdicts:
    """What came of the specs so far. `wrong` has a line for each answer that breaks a promise."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(inputs=0, read=0, refused=0, refused_fields=0)
        self.fields: set[str] = set()  # each that was refused at least once, list places left out
        self.wrong: list[str] = []

    def add(self, seed: int) -> None:
        """One spec of this seed, as somebody sends it and as the API server would store it."""
        rng = Random(seed)
        spec, named = generated(rng), metadata(rng)
        self.counts["inputs"] += 1
        try:
            outcome({"metadata": named, "spec": spec})
            read = outcome({"metadata": {**named, "annotations": {}}, "spec": stored(SPEC, spec)})
        except Exception as error:
            self._broken(seed, f"{type(error).__name__}: {str(error)[:200]}")
            return
        expected = {shown(path) for path in wrong_fields(SPEC, stored(SPEC, spec))}
        problems = read.problems if isinstance(read, InvalidSpec) else ()
        named_fields = {problem.partition(": ")[0] for problem in problems}
        self.counts["refused" if problems else "read"] += 1
        self.counts["refused_fields"] += len(named_fields)
        self.fields |= {"".join(c for c in field if not c.isdigit()) for field in named_fields}
        if more := named_fields - expected:
            self._broken(seed, f"refused, and the schema does not: {sorted(more)}")
        if missed := [field for field in expected if not _named(field, named_fields)]:
            self._broken(seed, f"refused by the schema and not named: {sorted(missed)}")
        if any(not remedy for _, _, remedy in (problem.partition(": ") for problem in problems)):
            self._broken(seed, f"refused without a word: {problems}")
        if len(str(read) if isinstance(read, InvalidSpec) else "") > 4000:
            self._broken(seed, "the refusal does not fit into a condition")

    def _broken(self, seed: int, words: str) -> None:
        self.wrong.append(f"seed {seed}: {words}; {json.dumps(generated(Random(seed)))[:500]}")


def _named(field: str, fields: set[str]) -> bool:
    """Itself or, where that is of the wrong type or too long altogether, what it is in."""
    return any(field == other or field.startswith((f"{other}.", f"{other}[")) for other in fields)
