"""What is remembered from poll to poll: bounded, frozen, and all that a decision may look back on."""

from __future__ import annotations

from dataclasses import dataclass

from consumer_autoscaler.decision.tracks import Track

SHORT_WINDOW_SECONDS = 60.0
LONG_WINDOW_SECONDS = 300.0
KEEP_SECONDS = 900.0
DENSE_SECONDS = 75.0  # samples younger than this are all kept, older ones are thinned to SPARSE_SECONDS apart
SPARSE_SECONDS = 15.0

PRIOR_START_SECONDS = 30.0
PRIOR_REBALANCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One good reading as cumulative counts since the history began, so that a rate over any window is a quotient."""

    at: float
    arrived: int
    consumed: int


@dataclass(frozen=True, slots=True)
class LevelMemory:
    """How one replica count would have coped: its virtual queue, and what staying above it has cost since.

    `queue_messages` is the backlog the level would have; `wasted_replica_seconds` and `coped_seconds` count only while
    that queue stays short.
    """

    replicas: int
    queue_messages: float = 0.0
    wasted_replica_seconds: float = 0.0
    coped_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Saturation:
    """A stretch in which every consumer had more than it could do: what was consumed is what the group can do."""

    since: float
    consumed_then: int
    backlog_then: int  # messages: so much work was there for the time that followed
    replicas: int
    # What was believed when it began, and on how much evidence: the stretch as a whole is weighed against that.
    capacity_before: float | None
    evidence_before: float
    held: tuple[int, ...] = ()  # the places of the partitions that it is about; empty: all of them


@dataclass(frozen=True, slots=True)
class Pace:
    """What a settled group did at one replica count, as of its last reading there: what the next count is weighed by.

    `best_per_worth` is what one full replica did where more of them still brought more.
    """

    replicas: int
    worth: float  # full replicas' work that the count can do, by partitions
    per_second: float
    best_per_worth: float
    saturated: bool
    busy_seconds: float | None = None  # processing time of a record then


@dataclass(frozen=True, slots=True, kw_only=True)
class Useless:
    """An up that brought nothing, and what follows: at most `keep` replicas until `until`.

    It is forgotten when the group does more, or has no backlog any more; until then it is the reason why it is behind.
    """

    since: float
    until: float
    times: int  # how often in a row, for the growing back-off
    keep: int
    from_replicas: int
    to_replicas: int
    per_second_before: float
    per_second: float  # what the group did after it
    busy_seconds_before: float | None = None
    busy_seconds: float | None = None
    confirmed: bool = False  # a saturated group did as much with fewer replicas
    prolonged: int = 0  # how often since the last up
    refuted: bool = False  # more replicas did help after all; nothing is blocked any more


@dataclass(frozen=True, slots=True)
class AlertMemory:
    """An alert of the spec, once its figure was known: since when that is above the threshold, and whether it fires."""

    name: str
    crossed_at: float | None = None
    firing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The memory of one autoscaler. `began_at` is when it began to see for itself (None: nothing seen yet)."""

    began_at: float | None = None
    seen_at: float | None = None  # the last good reading
    unavailable_since: float | None = None  # the first failed reading since then
    samples: tuple[Sample, ...] = ()
    tracks: tuple[Track, ...] = ()
    ceiling: int = 0
    delay_seconds: float | None = None  # of the last good reading
    behind: bool = False  # with hysteresis, for the condition

    capacity_per_replica: float | None = None  # records per second, learned
    evidence_seconds: float = 0.0  # for how long saturated groups were watched to learn it
    seen_per_replica: float = 0.0  # the most that was consumed per replica's worth, a lower bound of the capacity
    saturation: Saturation | None = None
    fullest: Saturation | None = None  # the same of the fullest consumer alone, where the load is uneven
    busy_per_replica: float | None = None  # from processing time: what a replica could do if nothing else took time
    busy_at: float | None = None  # when that was last told

    pace: Pace | None = None  # at the count before the present one, until that is judged; then at the present one
    saturated_since: float | None = None  # since when every consumer has had more than it could do
    useless: Useless | None = None

    replicas: int | None = None  # the target's count when last seen or written
    changed_at: float | None = None  # last change of it, by whomever
    scaled_at: float | None = None  # the operator's own last scaling
    lowered_at: float | None = None  # last time that it became fewer, by whomever
    regretted_at: float | None = None  # last time that a down of the operator was soon taken back
    raised_to: int | None = None  # an up whose pods are not all there yet
    raised_at: float | None = None
    raised_again: bool = False
    ready_at: float | None = None  # when the pods of the last up were ready
    unsettled_since: float | None = None  # first reading without a stable group and all pods ready
    settled_since: float | None = None  # first reading with both, after one without or after a change of the count
    rebalancing_since: float | None = None  # first reading of a rebalance that is not over
    start_seconds_seen: tuple[float, ...] = ()  # the last few, newest last
    rebalance_seconds_seen: tuple[float, ...] = ()

    levels: tuple[LevelMemory, ...] = ()
    active_at: float | None = None  # last time there was work, for the way to zero
    wanted: tuple[tuple[float, int], ...] = ()  # (time, count) by `lagPerReplica`, highest first, for slow downs
    alerts: tuple[AlertMemory, ...] = ()

    @property
    def start_seconds(self) -> float:
        """Pod start time to reckon with: the slowest of the last few, else a prior of 30 s."""
        return max(self.start_seconds_seen, default=PRIOR_START_SECONDS)

    @property
    def rebalance_seconds(self) -> float:
        """Pause of a rebalance to reckon with: the longest of the last few, else a prior of 10 s."""
        return max(self.rebalance_seconds_seen, default=PRIOR_REBALANCE_SECONDS)

    def arrival_rate(self, window_seconds: float) -> float | None:
        """Records per second over about the last `window_seconds`; None before two readings."""
        edge = self._edge(window_seconds)
        if edge is None:
            return None
        last = self.samples[-1]
        return (last.arrived - edge.arrived) / (last.at - edge.at)

    def consumption_rate(self, window_seconds: float) -> float | None:
        """Committed records per second over about the last `window_seconds`; None before two readings."""
        edge = self._edge(window_seconds)
        if edge is None:
            return None
        last = self.samples[-1]
        return (last.consumed - edge.consumed) / (last.at - edge.at)

    def _edge(self, window_seconds: float) -> Sample | None:
        """The sample at the start of the window: the latest that is at least `window_seconds` old, else the first."""
        if len(self.samples) < 2:
            return None
        start = self.samples[-1].at - window_seconds
        for sample in reversed(self.samples[:-1]):
            if sample.at <= start + 0.5:
                return sample
        return self.samples[0]

    def arrived_before(self, when: float) -> float:
        """The count of arrivals at a time in the past, interpolated; that of the oldest sample before it."""
        later = self.samples[-1]
        for sample in reversed(self.samples):
            if sample.at <= when:
                span = later.at - sample.at
                share = (when - sample.at) / span if span > 0 else 0.0
                return sample.arrived + share * (later.arrived - sample.arrived)
            later = sample
        return later.arrived

    def arrival_time(self, arrived: float, future_rate: float) -> float:
        """When the count of arrivals reached `arrived`: interpolated in the past, at `future_rate` in the future."""
        last = self.samples[-1]
        if arrived >= last.arrived:
            return last.at + (arrived - last.arrived) / future_rate if future_rate > 0 else float("inf")
        later = last
        for sample in reversed(self.samples[:-1]):
            if sample.arrived <= arrived:
                share = (arrived - sample.arrived) / (later.arrived - sample.arrived)
                return sample.at + share * (later.at - sample.at)
            later = sample
        first = self.samples[0]
        rate = (last.arrived - first.arrived) / (last.at - first.at) if last.at > first.at else 0.0
        return first.at - (first.arrived - arrived) / rate if rate > 0 else first.at
