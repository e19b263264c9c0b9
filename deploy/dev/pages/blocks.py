"""The fenced blocks of a page, so that tests can execute what readers are shown."""

from __future__ import annotations

import re
from pathlib import Path

_FENCE = re.compile(r"^```(?P<words>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The bodies of all blocks of this language, in their order. More words after the language do not matter."""
    found = []
    for fence in _FENCE.finditer(page.read_text(encoding="utf-8")):
        words = fence["words"].split()
        if words and words[0] == language:
            found.append(fence["body"])
    return found


def block_with(page: Path, language: str, text: str) -> str:
    """The one block of this language that contains the text. Raises ValueError when there is not exactly one."""
    found = [body for body in blocks(page, language) if text in body]
    if len(found) != 1:
        raise ValueError(f"{page}: {len(found)} blocks of {language} have {text!r}, one is needed")
    return found[0]
