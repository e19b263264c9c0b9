"""Waiting for what a real server does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(holds: Callable[[], bool], *, timeout_seconds: float = 20.0) -> bool:
    """True as soon as it holds, False when it does not within the time."""
    end = time.monotonic() + timeout_seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
