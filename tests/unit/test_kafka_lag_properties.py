"""What holds for every history of offsets: commits that come and go, truncation, retention, recreation, growth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.decision.values import GroupKind, GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.coordinators import Coordinators, Fetched, GroupMemory
from consumer_autoscaler.sources.kafka.groups.facts import GroupFacts
from consumer_autoscaler.sources.kafka.lag.verdict import Answers, Outcome, Watch, judge
from consumer_autoscaler.sources.kafka.offsets import Offsets
from consumer_autoscaler.sources.kafka.topology import Topic, Topology
from consumer_autoscaler.sources.kafka.wire.requests import TopicMetadata

NO_BROKERS = cast(Brokers, None)  # a verdict asks nobody


@dataclass
class Log:
    """A partition as it is."""

    start: int = 0
    end: int = 0
    committed: int = -1


@dataclass
class Cluster:
    """One topic and one group, and what successive readings of them say."""

    reset: OffsetReset
    logs: list[Log] = field(default_factory=lambda: [Log(), Log()])
    members: int = 1
    now: float = 0.0
    made: int = 1  # how often the topic was

    def __post_init__(self) -> None:
        self.watch = Watch("g", ("t",), self.reset)
        self.memory = GroupMemory("g", kind=GroupKind.CLASSIC)
        self.topology = Topology(NO_BROKERS)
        self.topic = Topic("t", 0.0)
        self.topology._topics["t"] = self.topic

    def read(self, *, lost_end: int | None = None) -> Outcome:
        """`lost_end`: the partition whose end the broker does not give."""
        self.now += 5
        leaders = (0,) * len(self.logs)
        self.topic.apply(TopicMetadata("t", 0, bytes([self.made]) * 16, leaders))
        self.topic.starts = [log.start for log in self.logs]
        state = GroupState.STABLE if self.members else GroupState.EMPTY
        self.memory.facts = GroupFacts(state=state, members=self.members)
        coordinators = Coordinators(NO_BROKERS, self.topology, {"g": self.memory})
        committed = {p: log.committed for p, log in enumerate(self.logs)}
        coordinators.fetched["g"] = Fetched({"t": committed}, complete=True)
        ends = [-1 if p == lost_end else log.end for p, log in enumerate(self.logs)]
        answers = Answers({"g": self.memory}, self.topology, coordinators, Offsets({}, {}), Offsets({"t": ends}, {}))
        return judge(self.watch, ("t",), answers, at=self.now, now=self.now)

    def meaning(self, log: Log) -> int | None:
        """What the rules say: from a commit that lies within the log, else by the reset."""
        if log.start <= log.committed <= log.end:
            return log.end - log.committed
        return {
            OffsetReset.LATEST: 0,
            OffsetReset.EARLIEST: log.end - log.start,
            OffsetReset.NONE: None,
        }[self.reset]

    def do(self, what: str, partition: int, amount: int) -> None:
        log = self.logs[partition % len(self.logs)]
        match what:
            case "produce":
                log.end += amount
            case "commit":
                log.committed = min(log.end, max(log.committed, log.start) + amount)
            case "forget":
                log.committed = -1
            case "retain":
                log.start = min(log.end, log.start + amount)
            case "truncate":  # an unclean election
                log.end = max(log.start, log.end - amount)
            case "rewind":
                log.committed = max(0, log.committed - amount)
            case "grow":
                self.logs.append(Log())
            case "recreate":
                self.made = self.made % 200 + 1
                kept = [each.committed for each in self.logs]
                self.logs = [Log(0, amount, commit) for commit in kept]
            case "leave":
                self.members = 0
            case "join":
                self.members = 1


DEEDS = (
    "produce",
    "commit",
    "forget",
    "retain",
    "truncate",
    "rewind",
    "grow",
    "recreate",
    "leave",
    "join",
    "lose an end",
)
deeds = st.tuples(st.sampled_from(DEEDS), st.integers(0, 3), st.integers(0, 3) | st.integers(0, 2**40))


@settings(max_examples=400, deadline=None)
@given(reset=st.sampled_from(OffsetReset), history=st.lists(deeds, min_size=1, max_size=60))
def test_a_lag_is_never_negative_never_partial_and_never_zero_for_unknown(
    reset: OffsetReset, history: list[tuple[str, int, int]]
) -> None:
    """Every partition counts by the rules, or is said to be pending or one marker; or there is no reading at all."""
    cluster = Cluster(reset)
    for what, partition, amount in history:
        cluster.do(what, partition, amount)
        lost = partition % len(cluster.logs) if what == "lose an end" else None
        result = cluster.read(lost_end=lost).result
        if lost is not None:
            assert isinstance(result, Unavailable)
            continue
        if isinstance(result, GroupReading):
            _check(cluster, result)
    for _ in range(10):  # when nothing more happens, it is known within the time that doubts may last
        result = cluster.read().result
    assert isinstance(result, GroupReading), result
    _check(cluster, result)


def _check(cluster: Cluster, reading: GroupReading) -> None:
    assert [p.partition for p in reading.partitions] == list(range(len(cluster.logs)))
    hidden = pending = 0
    for p, log in zip(reading.partitions, cluster.logs, strict=True):
        assert (p.start_offset, p.end_offset) == (log.start, log.end)
        assert p.committed_offset == (None if log.committed == -1 else log.committed)
        meant = cluster.meaning(log)
        if p.lag_messages == meant:
            continue
        assert p.lag_messages == 0
        if p.committed_offset == log.end - 1:
            assert "a transaction's marker" in reading.note
            hidden += 1
        else:
            assert p.committed_offset is None
            pending += log.end - log.start
    assert pending <= reading.pending_messages
    lags = [cluster.meaning(log) for log in cluster.logs]
    if None in lags:
        assert any(p.lag_messages is None for p in reading.partitions) or reading.pending_messages
        assert "not known" in reading.note or reading.pending_messages
    elif reading.pending_messages == 0:
        assert reading.lag_messages == sum(lag for lag in lags if lag is not None) - hidden


@settings(max_examples=200, deadline=None)
@given(reset=st.sampled_from(OffsetReset), history=st.lists(deeds, max_size=30), room=st.integers(1, 1000))
def test_a_commit_beyond_the_end_is_looked_at_twice_whatever_came_before(
    reset: OffsetReset, history: list[tuple[str, int, int]], room: int
) -> None:
    """It may be a reading across an election; then it counts as none and is a warning."""
    cluster = Cluster(reset)
    for what, partition, amount in history:
        cluster.do(what, partition, amount)
        cluster.read()
    log = cluster.logs[0]
    log.committed = log.end  # where it has been right at least once
    for _ in range(3):
        cluster.read()
    log.committed = log.end + room
    first = cluster.read()
    assert isinstance(first.result, Unavailable)
    assert first.again
    second = cluster.read().result
    if isinstance(second, GroupReading):  # else other partitions are in doubt
        assert second.partitions[0].lag_messages == cluster.meaning(log)
        assert second.warning == "OffsetBeyondEnd"
