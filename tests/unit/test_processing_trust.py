"""Several sources of processing time: which one counts, for how long its value stands, and what a person is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.decision_model import promise, reading

from consumer_autoscaler import explain
from consumer_autoscaler.decision.advance import advance
from consumer_autoscaler.decision.bundle import Bundle
from consumer_autoscaler.decision.capacity import capacity_of
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.pace import PROCESSING_TIME_INTERVALS, follow_processing_time
from consumer_autoscaler.decision.reasons import ConditionStatus, ConditionType, SourceReason
from consumer_autoscaler.decision.values import Condition, Observation, ProcessingTime, Scale, Unavailable
from consumer_autoscaler.resource import memory, status
from consumer_autoscaler.runtime.processing_time import Result, Trust
from consumer_autoscaler.sources.measured import unavailable

INTERVAL = 15.0


def told(seconds: float, source: str = "here", *, at: float = 0.0) -> ProcessingTime:
    return ProcessingTime(at=at, seconds_per_record=seconds, records=10.0, source=source)


class Sources:
    """Two sources in order of trust, read each interval."""

    def __init__(self) -> None:
        self.trust, self.now = Trust(), 0.0

    def weigh(self, *results: Result) -> Result:
        self.now += INTERVAL
        named = list(zip(("prometheus", "podMetrics"), results, strict=False))
        return self.trust.weigh(named, interval_seconds=INTERVAL, at=self.now)


FAILED = unavailable("Prometheus cannot be reached")
FIRST, SECOND = told(0.1, "first"), told(0.2, "second")


def test_the_first_that_answers_counts() -> None:
    """Without a word about the others, which were not asked."""
    assert Sources().weigh(FIRST) == FIRST


def test_one_that_never_answered_gives_way_at_once_and_the_value_says_so() -> None:
    """Which one failed, why, and which one is used."""
    result = Sources().weigh(FAILED, SECOND)
    assert isinstance(result, ProcessingTime)
    assert (result.seconds_per_record, result.source) == (0.2, "second")
    assert result.instead_of == "prometheus: Prometheus cannot be reached; podMetrics is used instead"


def test_a_value_stands_for_five_intervals_before_the_next_source_counts() -> None:
    """Meanwhile the reading is unavailable, so nothing goes down; back at once when it answers."""
    sources = Sources()
    sources.weigh(FIRST)
    for interval in range(1, PROCESSING_TIME_INTERVALS + 1):
        standing = sources.weigh(FAILED, SECOND)
        assert isinstance(standing, Unavailable)
        assert standing.message == f"Prometheus cannot be reached; the value of {interval * 15} s ago stands"
    aged = sources.weigh(FAILED, SECOND)
    assert isinstance(aged, ProcessingTime)
    assert aged.source == "second"
    assert sources.weigh(FIRST) == FIRST


def test_a_source_that_fails_every_other_time_does_not_take_turns_with_the_next() -> None:
    """Two sources never agree quite; replicas would follow their difference."""
    sources = Sources()
    results = [sources.weigh(FIRST) if n % 2 == 0 else sources.weigh(FAILED, SECOND) for n in range(40)]
    assert {r.source for r in results if isinstance(r, ProcessingTime)} == {"first"}


def test_nothing_to_measure_is_an_answer_unless_the_next_source_has_measured() -> None:
    """An idle group is no failure, whoever is asked."""
    assert Sources().weigh(None, None) is None
    assert Sources().weigh(None, FAILED) is None
    assert Sources().weigh(FAILED, None) is None
    assert Sources().weigh(None, SECOND) == SECOND


def test_when_all_fail_each_says_why() -> None:
    """In the order of trust."""
    result = Sources().weigh(FAILED, unavailable("0 of 2 pods could be read"))
    assert isinstance(result, Unavailable)
    assert result.reason is SourceReason.PROCESSING_TIME_UNAVAILABLE
    assert result.message == "prometheus: Prometheus cannot be reached; podMetrics: 0 of 2 pods could be read"


def observed(processing: Result, now: float) -> Observation:
    group = reading([0, 0], at=now, members=2)
    return Observation(at=now, group=group, scale=Scale(replicas=2, ready=2), processing=processing)


def source_condition(processing: Result) -> Condition:
    observation = observed(processing, 1000.0)
    policy = promise()
    decision = decide(policy, observation, advance(policy, History(), observation, 1000.0), 1000.0)
    return next(c for c in decision.conditions if c.type is ConditionType.SOURCE_HEALTHY)


def test_source_healthy_names_the_source_that_failed_and_the_one_in_use() -> None:
    """True with a reason of its own, which is also an Event; False while nothing is known."""
    fallback = source_condition(replace(SECOND, instead_of="prometheus: is away; podMetrics is used instead"))
    assert (fallback.status, fallback.reason) == (ConditionStatus.TRUE, SourceReason.PROCESSING_TIME_FALLBACK)
    assert fallback.message == "prometheus: is away; podMetrics is used instead"
    failed = source_condition(FAILED)
    assert (failed.status, failed.reason) == (ConditionStatus.FALSE, SourceReason.PROCESSING_TIME_UNAVAILABLE)
    assert source_condition(FIRST).reason is SourceReason.VALID


def test_the_decision_believes_an_old_time_for_five_intervals_and_then_the_next_best() -> None:
    """Then what the user expects counts again; nothing to measure ages nothing, since nothing contradicts it."""
    policy = promise(expected_records_per_second=7.0)
    history = advance(policy, History(), observed(told(0.1), 1000.0), 1000.0)
    assert capacity_of(policy, history).source == "processing time"
    assert capacity_of(policy, history).per_replica == pytest.approx(10.0)
    idle = history
    for poll in range(1, 100):
        now = 1000.0 + 5 * poll
        idle = advance(policy, idle, observed(None, now), now)
    assert capacity_of(policy, idle).source == "processing time"
    for poll in range(1, PROCESSING_TIME_INTERVALS + 1):
        now = 1000.0 + 5 * poll
        history = advance(policy, history, observed(FAILED, now), now)
        assert capacity_of(policy, history).source == "processing time"
    history = advance(policy, history, observed(FAILED, now + 5), now + 5)
    assert capacity_of(policy, history).source == "expected"


def test_what_was_measured_moves_with_the_processing_time_slowly_when_it_looks_faster() -> None:
    """Measured at 8/s while a record took 0.1 s: twice as slow is 4/s within some polls, and back after many more."""
    policy = promise()
    history = follow_processing_time(policy, History(capacity_per_replica=8.0, seen_per_replica=6.0), told(0.1), 0.0)
    assert (history.capacity_per_replica, history.seen_per_replica) == (8.0, 6.0)

    def polls_until(share: float, seconds: float) -> int:
        nonlocal history
        for poll in range(1, 200):
            history = follow_processing_time(policy, history, told(seconds), 5.0 * poll)
            assert history.capacity_per_replica is not None
            assert history.seen_per_replica == pytest.approx(history.capacity_per_replica * 6 / 8)
            if abs(history.capacity_per_replica / 8.0 - share) < 0.05:
                return poll
        raise AssertionError(f"never {share}")

    assert polls_until(0.5, 0.2) <= 4
    assert 15 <= polls_until(1.0, 0.1) <= 60


def test_a_time_that_only_wavers_changes_nothing_for_good() -> None:
    """Up and down by a factor: what is believed stays within it, and on the slow side."""
    policy, history = promise(), History(capacity_per_replica=8.0)
    for poll in range(400):
        history = follow_processing_time(policy, history, told(0.1 if poll % 2 else 0.2), 5.0 * poll)
        assert history.capacity_per_replica is not None
        assert 7.9 <= history.capacity_per_replica <= 16.1  # the first reading said 0.2 s
    assert history.capacity_per_replica < 9.0


def test_the_status_and_explain_show_the_time_its_percentiles_and_where_it_is_from() -> None:
    """From the status and from the running operator; what is not known is not shown as zero."""
    time = ProcessingTime(
        at=1000.0, seconds_per_record=0.12, records=40, p50_seconds=0.1, p95_seconds=0.4, p99_seconds=None,
        source="Spring (spring_kafka_listener_seconds) of 4 pods, Prometheus, 60 s",
    )  # fmt: skip
    observation, policy = observed(time, 1000.0), promise()
    history = advance(policy, History(), observation, 1000.0)
    decision = decide(policy, observation, history, 1000.0)
    built = status.build(
        generation=1, now=1000.0, conditions=(), previous={}, learned=memory.learned_of(history), decision=decision,
        scale=observation.scale, processing=time,
    )  # fmt: skip
    assert built["processingTime"] == {
        "meanMicroseconds": 120_000,
        "p50Microseconds": 100_000,
        "p95Microseconds": 400_000,
        "source": time.source,
    }
    metadata = {"namespace": "shop", "name": "payments", "generation": 1}
    from_status = explain.from_status({"metadata": metadata, "spec": {}, "status": built})
    assert f"Time       120 ms per record (p50 100 ms, p95 400 ms) by {time.source}" in from_status
    live = explain.from_bundle(Bundle(policy=policy, observation=observation, history=history, now=1000.0))
    assert f"Time       120 ms per record (p50 100 ms, p95 400 ms) by {time.source}" in live
    lost = explain.from_bundle(Bundle(policy=policy, observation=observed(FAILED, 1000.0), history=history, now=1000.0))
    assert "Time       unknown: Prometheus cannot be reached" in lost
