"""Colours, for a person at a terminal only: not into a file or a pipe, and not with NO_COLOR."""

from __future__ import annotations

import os
import sys

_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}


def wanted() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str) -> str:
    """The text in a colour where colours are wanted, else as it is."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if wanted() and text.strip() else text
