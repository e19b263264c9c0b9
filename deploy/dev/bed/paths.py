"""Where the bed keeps things: programs in a cache outside the repository, each run in a folder of its own.

`CONSUMER_AUTOSCALER_CACHE` moves the cache (default: folder `consumer-autoscaler` in `$XDG_CACHE_HOME` or
`~/.cache`).
"""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def cache() -> Path:
    """The cache folder, made if it is missing."""
    base = os.environ.get("CONSUMER_AUTOSCALER_CACHE")
    folder = (
        Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consumer-autoscaler"
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder
