"""A conversion for a person, and as YAML for `kubectl apply`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import yaml

from consumer_autoscaler.convert.notes import Converted, Json, Kind


def as_yaml(results: Sequence[Converted]) -> str:
    """The resources, one document each; empty when there is none."""
    bodies = [one.body for one in results if one.body is not None]
    return "---\n".join(yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=110) for body in bodies)


def as_text(results: Sequence[Converted]) -> str:
    """Each object with its notes, the gravest first, and a line that counts."""
    lines = [line for one in results for line in [*_block(one), ""]]
    made = sum(1 for one in results if one.body is not None)
    parts = sum(1 for one in results if one.body is not None and one.refused)
    lines.append(
        f"{made} of {len(results)} converted" + (f", {parts} of them without a part that was refused" if parts else "")
    )
    return "\n".join(lines)


def as_json(results: Sequence[Converted]) -> Json:
    """The same for programs."""
    return {
        "results": [
            {
                "origin": one.origin,
                "resource": one.body,
                "refused": one.refused,
                "notes": [{"kind": str(n.kind), "where": n.where, "text": n.text} for n in one.notes],
            }
            for one in results
        ]
    }


def _block(one: Converted) -> Iterator[str]:
    yield f"{one.origin}: {'refused' if one.body is None else 'converted'}"
    order = list(Kind)
    for note in sorted(one.notes, key=lambda note: order.index(note.kind)):
        yield f"  {note.kind:<9} {note.where}: {note.text}"
