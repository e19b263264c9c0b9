"""Random lives of one autoscaler: what is read, what fails, what people edit, and when the operator restarts.

A life is a list of events, played against the decision as the operator plays it: every decision is written and
accepted, and the next reading shows it. The group is not modelled: any offsets may follow any others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from consumer_autoscaler.decision.advance import advance, after_scaling, resumed
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import DecisionReason, GroupState, SourceReason
from consumer_autoscaler.decision.values import (
    Decision,
    GroupReading,
    Mode,
    Observation,
    PartitionReading,
    Policy,
    ProcessingTime,
    ReplicaSteps,
    Scale,
    Unavailable,
)

BEGIN = 1_000_000.0
FAULTS = ("lag", "group", "not scalable", "upper bound", "scale", "processing", "reset")


@dataclass(frozen=True, slots=True)
class Poll:
    """One reading: records per partition that arrived and were processed, and what is wrong with it."""

    arrived: int
    processed: int
    state: GroupState = GroupState.STABLE
    fault: str = ""
    unready: int = 0
    skew: int = 0  # more of this many records on the first partition
    seconds_per_record: float | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """A new spec. What was learned goes on, as for a target and group that stay the same."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Restart:
    """A new process: it knows what the status says. Nobody has looked meanwhile."""

    away_seconds: float


@dataclass(frozen=True, slots=True)
class Outside:
    """Somebody else sets the count, or partitions are added."""

    replicas: int | None = None
    more_partitions: int = 0


Event = Poll | Edit | Restart | Outside


@dataclass(frozen=True, slots=True)
class Life:
    policy: Policy
    partitions: int
    replicas: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One decision and all that was known to those who watch from outside."""

    policy: Policy
    before: History
    observation: Observation
    history: History
    decision: Decision
    now: float
    first_reading_at: float | None  # of this process
    changed_at: float | None  # the count's last change by whomever, as far as this process can know of it
    written: tuple[float, int] | None  # the operator's own last scaling: when, and up (1) or down (-1)

    @property
    def current(self) -> int | None:
        scale = self.observation.scale
        return scale.replicas if isinstance(scale, Scale) else None

    @property
    def step(self) -> int:
        """1 up, -1 down, 0 none."""
        current, desired = self.current, self.decision.desired
        return 0 if current is None or desired is None else (desired > current) - (desired < current)

    @property
    def by_bounds(self) -> bool:
        return self.decision.reason is DecisionReason.BOUNDS_ENFORCED


@st.composite
def policies(draw: st.DrawFn, *, paused: bool = True) -> Policy:
    low = draw(st.sampled_from([0, 0, 0, 1, 2, 6]))
    by_promise = draw(st.booleans())
    return Policy(
        min_replicas=low,
        max_replicas=draw(st.integers(max(1, low), 30)),
        mode=draw(st.sampled_from([Mode.ACTIVE] * 6 + ([Mode.PAUSED] if paused else []))),
        max_delay_seconds=draw(st.sampled_from([10, 60, 600])) if by_promise else None,
        lag_per_replica=None if by_promise else draw(st.integers(1, 1000)),
        expected_records_per_second=draw(st.none() | st.floats(0.5, 500)),
        consumers_per_pod=draw(st.integers(1, 3)),
        poll_interval_seconds=draw(st.sampled_from([5, 15, 30])),
        replica_steps=draw(st.sampled_from(ReplicaSteps)),
        scale_up_cooldown_seconds=draw(st.sampled_from([0, 30, 120])),
        scale_down_cooldown_seconds=draw(st.sampled_from([0, 60, 300])),
        scale_up_max_step=draw(st.none() | st.integers(1, 5)),
        scale_down_max_step_percent=draw(st.sampled_from([1, 50, 100])),
        activation_lag_messages=draw(st.sampled_from([0, 10])),
        idle_seconds=draw(st.sampled_from([0, 30, 300])),
        unavailable_after_seconds=draw(st.sampled_from([None, 20, 600])),
        unavailable_at_least_replicas=draw(st.integers(1, 12)),
    )


_STATES = st.sampled_from([GroupState.STABLE] * 8 + list(GroupState))
_polls = st.builds(
    Poll,
    st.sampled_from([0, 0, 5, 50, 500, 2000]) | st.integers(0, 2000),
    st.sampled_from([0, 5, 50, 500, 2000]) | st.integers(0, 2000),
    _STATES,
    st.sampled_from([""] * 16 + list(FAULTS)),
    st.sampled_from([0, 0, 0, 0, 1, 3]),
    st.sampled_from([0, 0, 0, 1000]),
    st.none() | st.floats(0.001, 10),
)
_restarts = st.builds(Restart, st.sampled_from([1.0, 30.0, 400.0]))
_outside = st.builds(Outside, st.none() | st.integers(0, 30), st.sampled_from([0, 0, 6]))


@st.composite
def stretches(draw: st.DrawFn) -> list[Event]:
    """A while in which much the same is read, so that windows fill, capacity is learned and waits run out."""
    poll = draw(_polls)
    steady = replace(poll, fault="", unready=0, state=GroupState.STABLE)
    return [poll, *[steady] * draw(st.integers(0, 40))]


_events = st.one_of(
    stretches(),
    stretches(),
    stretches(),
    _polls.map(lambda poll: [poll]),
    policies().map(lambda policy: [Edit(policy)]),
    _restarts.map(lambda restart: [restart]),
    _outside.map(lambda outside: [outside]),
)
lives = st.builds(
    lambda policy, partitions, replicas, events: Life(
        policy, partitions, replicas, tuple(e for s in events for e in s)
    ),
    policies(),
    st.integers(1, 12),
    st.integers(0, 30),
    st.lists(_events, min_size=1, max_size=8),
)


def play(life: Life) -> list[Frame]:
    """Every decision of a life, in order."""
    policy, replicas, now, history = life.policy, life.replicas, BEGIN, History()
    ends, done = [0] * life.partitions, [0] * life.partitions
    first_reading_at: float | None = None
    seen: int | None = None  # the count that this process saw last
    changed_at: float | None = None
    written: tuple[float, int] | None = None
    frames: list[Frame] = []
    for event in life.events:
        if isinstance(event, Edit):
            policy = event.policy
        elif isinstance(event, Restart):
            now += event.away_seconds
            first_reading_at = seen = None
            changed_at = written[0] if written else None
            history = resumed(
                capacity_per_replica=history.capacity_per_replica,
                start_seconds=history.start_seconds if history.start_seconds_seen else None,
                rebalance_seconds=history.rebalance_seconds if history.rebalance_seconds_seen else None,
                changed_at=changed_at,
            )
        elif isinstance(event, Outside):
            replicas = replicas if event.replicas is None else event.replicas
            ends, done = ends + [0] * event.more_partitions, done + [0] * event.more_partitions
        else:
            now += policy.poll_interval_seconds
            for index in range(len(ends)):
                ends[index] += event.arrived + (event.skew if index == 0 else 0)
                done[index] = min(ends[index], done[index] + event.processed)
            if event.fault == "reset":
                ends = [event.arrived] * len(ends)
                done = list(ends)
            observation = _observed(event, now, ends, done, replicas)
            if isinstance(observation.scale, Scale):
                if seen is not None and seen != replicas:
                    changed_at = now
                seen = replicas
            if first_reading_at is None and isinstance(observation.group, GroupReading):
                first_reading_at = now
            before = history
            history = advance(policy, history, observation, now)
            decision = decide(policy, observation, history, now)
            frame = Frame(
                policy, before, observation, history, decision, now, first_reading_at, changed_at, written
            )  # fmt: skip
            frames.append(frame)
            if frame.step:
                assert decision.desired is not None
                history = after_scaling(history, decision.desired, now)
                replicas = seen = decision.desired
                changed_at, written = now, (now, frame.step)
    return frames


def _observed(event: Poll, now: float, ends: Sequence[int], done: Sequence[int], replicas: int) -> Observation:
    why = "it fails in this test"
    group: GroupReading | Unavailable = GroupReading(
        at=now,
        state=event.state,
        members=0 if event.state in (GroupState.EMPTY, GroupState.DEAD) else replicas,
        partitions=tuple(
            PartitionReading("t", n, commit, 0, end, end - commit)
            for n, (end, commit) in enumerate(zip(ends, done, strict=True))
        ),
        partition_ceiling=len(ends),
        lag_is_upper_bound=event.fault == "upper bound",
        unscalable=Unavailable(SourceReason.MANUAL_ASSIGNMENT, why) if event.fault == "not scalable" else None,
    )
    scale: Scale | Unavailable = Scale(replicas=replicas, ready=max(0, replicas - event.unready))
    processing: ProcessingTime | Unavailable | None = None
    if event.seconds_per_record is not None:
        processing = ProcessingTime(at=now, seconds_per_record=event.seconds_per_record, records=1.0)
    match event.fault:
        case "lag":
            group = Unavailable(SourceReason.PARTIAL_READING, why)
        case "group":
            group = Unavailable(SourceReason.GROUP_NOT_FOUND, why)
        case "scale":
            scale = Unavailable(SourceReason.NOT_READ_YET, why)
        case "processing":
            processing = Unavailable(SourceReason.PROCESSING_TIME_UNAVAILABLE, why)
        case _:
            pass
    return Observation(at=now, group=group, scale=scale, processing=processing)
