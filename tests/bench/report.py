"""Writes what a benchmark has found into a page, between markers that name it."""

from __future__ import annotations

from pathlib import Path


def write_generated(page: Path, name: str, text: str) -> None:
    """Replaces what is between `<!-- NAME: begin -->` and `<!-- NAME: end -->`. Raises ValueError without them."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page.name} has no place for {name}")
    page.write_text(f"{before}{begin}{text.strip()}\n{end}{after}")
