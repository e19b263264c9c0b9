"""A hook of MkDocs: an entry of the navigation with a * becomes the pages that match it, in order of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> None:
    config["nav"] = expanded(config["nav"], Path(config["docs_dir"]))


def expanded(entries: list[Any], folder: Path) -> list[Any]:
    """The same navigation with each pattern replaced; sections that are empty then are left out."""
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, str) and "*" in entry:
            found += [str(path.relative_to(folder)) for path in sorted(folder.glob(entry))]
        elif isinstance(entry, dict):
            for title, value in entry.items():
                below = expanded(value, folder) if isinstance(value, list) else value
                if below:
                    found.append({title: below})
        else:
            found.append(entry)
    return found
