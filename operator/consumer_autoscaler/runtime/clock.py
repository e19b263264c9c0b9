"""The one clock: wall time at the start plus monotonic time since.

A step of the wall clock (NTP, a suspended container, a person) neither skips nor stretches a cooldown. Readings are
seconds since the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def steady_clock() -> Clock:
    """A clock that starts at the wall time and never goes back."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()
