"""What the cycles count: of one autoscaler, whose counts go with its resource, and of all of the process."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from consumer_autoscaler.durations import Durations


@dataclass(slots=True)
class Counts:
    """What one autoscaler has done since it began."""

    ups: int = 0
    downs: int = 0
    scale_failures: Counter[str] = field(default_factory=Counter)  # by ScaleReason
    source_failures: Counter[str] = field(default_factory=Counter)  # by SourceReason
    failed_cycles: int = 0
    late_seconds: float = 0.0  # time spent above the promise


@dataclass(slots=True)
class Meters:
    """What all cycles of the process have come to. It never goes down, whichever resources go."""

    cycles: int = 0
    failed_cycles: int = 0
    cycle_seconds: Durations = field(default_factory=Durations)  # from the reading to the end of the report
