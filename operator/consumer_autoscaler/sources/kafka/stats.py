"""What a source counts about itself, for metrics to read."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from consumer_autoscaler.durations import Durations

_RECENT_TICKS = 1024


@dataclass(slots=True)
class ReadingStats:
    """Counters since the start, over all clusters.

    `readings` counts groups read well, `failures` groups that were Unavailable, by reason; `batches` counts shared
    readings; `requests` counts requests by Kafka's name for them, `request_seconds` has how long they took by how they
    ended (`ok`, `timeout` or `error`). Lateness is real minus planned start of a tick.
    """

    readings: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    ticks_skipped: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    request_seconds: defaultdict[str, Durations] = field(default_factory=lambda: defaultdict(Durations))
    last_lateness_seconds: float = 0.0
    recent_lateness_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_TICKS))
    last_batch_seconds: float = 0.0
    clusters: int = 0
    connections: int = 0
