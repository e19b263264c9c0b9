"""The status: what is written, how long it may be, when it is worth a write, and what a restart learns from it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer_autoscaler.decision.history import AlertMemory, History
from consumer_autoscaler.decision.reasons import (
    AlertReason,
    BackpressureReason,
    ConditionStatus,
    ConditionType,
    DecisionReason,
    LimitReason,
    PromiseReason,
    ReadyReason,
    ScaleReason,
    SourceReason,
)
from consumer_autoscaler.decision.values import (
    Condition,
    Decision,
    Figures,
    ProcessingTime,
    Scale,
    Step,
    Unavailable,
)
from consumer_autoscaler.resource.memory import Learned, learned_from, learned_of, rfc3339
from consumer_autoscaler.resource.status import MAX_STATUS_BYTES, build, material_change, merge_patch
from consumer_autoscaler.resource.status_schema import MAX_ALERTS, Status

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
T, F, U = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN

READY = Condition(ConditionType.READY, T, ReadyReason.WORKING, "works")
ABLE = Condition(ConditionType.ABLE_TO_SCALE, T, ScaleReason.READY_FOR_NEW_SCALE, "can scale")
DECISION = Decision(
    at=NOW,
    desired=4,
    recommended=5,
    reason=DecisionReason.SCALE_UP,
    message="from 2 to 4",
    steps=(Step("Demand", 5, "5 are needed"), Step("MaxReplicas", 4, "at most 4")),
    conditions=(
        Condition(ConditionType.SOURCE_HEALTHY, T, SourceReason.VALID, "read"),
        Condition(ConditionType.SCALING_LIMITED, T, LimitReason.MAX_REPLICAS, "at most 4"),
        Condition(ConditionType.BACKPRESSURED, F, BackpressureReason.KEEPING_UP, "keeps up"),
        Condition(ConditionType.PROMISE_KEPT, T, PromiseReason.WITHIN_PROMISE, "kept"),
    ),
    figures=Figures(
        lag_messages=12_000,
        delay_seconds=41.6,
        partitions=20,
        partitions_with_lag=19,
        arrival_per_second=100.0,
        consumed_per_second=0.51,
        capacity_per_replica_per_second=25.0,
    ),
)
PROCESSING = ProcessingTime(at=NOW, seconds_per_record=0.04, records=9, p95_seconds=0.2, source="Spring")


def status(**changes: Any) -> dict[str, Any]:
    given_: dict[str, Any] = {
        "generation": 7,
        "now": NOW,
        "conditions": (READY, ABLE),
        "previous": {},
        "learned": Learned(start_seconds=8.2, last_scale_at=NOW - 10),
        "decision": DECISION,
        "scale": Scale(replicas=2, ready=1),
        "processing": PROCESSING,
    }
    return build(**(given_ | changes))


def with_figures(**changes: Any) -> dict[str, Any]:
    return status(decision=replace(DECISION, figures=replace(DECISION.figures, **changes)))


def condition(written: dict[str, Any], type_: str) -> dict[str, Any]:
    return next(each for each in written["conditions"] if each["type"] == type_)


def test_the_numbers_of_a_cycle_are_whole_and_in_the_units_of_their_names() -> None:
    """Rates are per minute, times in the unit of the name, everything rounded to whole numbers."""
    written = status()
    assert written["observedGeneration"] == 7
    assert written["replicas"] == {"current": 2, "ready": 1, "desired": 4, "recommended": 5}
    assert written["lag"] == {
        "messages": 12_000,
        "delaySeconds": 42,
        "partitions": 20,
        "partitionsWithLag": 19,
    }
    assert written["rates"] == {
        "arrivalPerMinute": 6000,
        "consumedPerMinute": 31,
        "capacityPerReplicaPerMinute": 1500,
    }
    assert written["processingTime"] == {
        "meanMicroseconds": 40_000,
        "p95Microseconds": 200_000,
        "source": "Spring",
    }
    assert written["decision"] == {
        "reason": "ScaleUp",
        "message": "from 2 to 4",
        "steps": [
            {"name": "Demand", "replicas": 5, "message": "5 are needed"},
            {"name": "MaxReplicas", "replicas": 4, "message": "at most 4"},
        ],
    }
    assert written["lastScaleTime"] == "2027-01-15T07:59:50Z"
    assert written["learned"] == {"startSeconds": 8}


def test_what_is_not_known_is_absent_and_never_zero() -> None:
    """Without a reading, a scale and a decision no number is written at all."""
    unavailable = Unavailable(SourceReason.BROKER_UNREACHABLE, "no answer")
    written = status(decision=None, scale=None, processing=unavailable, learned=Learned())
    assert written.keys() == {"observedGeneration", "conditions"}
    assert "delaySeconds" not in with_figures(delay_seconds=None)["lag"]
    assert "delaySeconds" not in with_figures(delay_seconds=math.nan)["lag"]
    assert with_figures(lag_messages=0)["lag"]["messages"] == 0


def test_every_condition_is_set_from_the_first_write() -> None:
    """A type nobody speaks about yet is Unknown, and each condition carries the generation."""
    written = status(decision=None)
    assert {each["type"] for each in written["conditions"]} == set(ConditionType) - {ConditionType.ALERT_FIRING}
    assert condition(written, "PromiseKept")["status"] == "Unknown"
    assert condition(written, "Ready")["status"] == "True"
    assert all(each["observedGeneration"] == 7 for each in written["conditions"])


def test_the_transition_time_changes_only_when_the_status_flips() -> None:
    """Another reason or message leaves lastTransitionTime as it was; another status does not."""
    first = status()
    observing = Condition(ConditionType.READY, T, ReadyReason.OBSERVING, "observes")
    second = status(previous=first, now=NOW + 60, conditions=(observing, ABLE))
    assert condition(second, "Ready")["reason"] == "Observing"
    assert condition(second, "Ready")["lastTransitionTime"] == "2027-01-15T08:00:00Z"
    broken = Condition(ConditionType.READY, F, ReadyReason.INTERNAL_ERROR, "broken")
    third = status(previous=second, now=NOW + 120, conditions=(broken, ABLE))
    assert condition(third, "Ready")["lastTransitionTime"] == "2027-01-15T08:02:00Z"
    assert condition(third, "AbleToScale")["lastTransitionTime"] == "2027-01-15T08:00:00Z"


TEXT = st.text(max_size=1500)


FOUR_ALERTS = tuple(AlertMemory(f"{number}".rjust(63, "a"), NOW, firing=True) for number in range(MAX_ALERTS))


@given(message=TEXT, step=TEXT, steps=st.integers(0, 40), number=st.integers(0, 2**53))
def test_a_status_fits_the_schema_and_four_kibibytes(message: str, step: str, steps: int, number: int) -> None:
    """However long the messages are, the result fits the CRD's schema and 4 KiB, and no number is lost."""
    decision = replace(
        DECISION,
        message=message,
        steps=tuple(Step("PartitionLimit", 10_000, step) for _ in range(steps)),
        conditions=(
            *(replace(each, message=message) for each in DECISION.conditions),
            Condition(ConditionType.ALERT_FIRING, T, AlertReason.THRESHOLD_CROSSED, message),
        ),
        figures=replace(DECISION.figures, lag_messages=number),
    )
    learned = Learned(alerts=FOUR_ALERTS)
    written = status(decision=decision, conditions=(replace(READY, message=message), ABLE), learned=learned)
    compact = json.dumps(written, ensure_ascii=False, separators=(",", ":"))
    assert len(compact.encode()) <= MAX_STATUS_BYTES
    assert written["lag"]["messages"] == number
    Status.model_validate(written)


def test_a_status_with_long_messages_keeps_short_ones_whole() -> None:
    """The messages of an ordinary status are not cut."""
    assert "…" not in json.dumps(status(), ensure_ascii=False)
    long = status(decision=replace(DECISION, message="x" * 5000))
    assert long["decision"]["message"].endswith("…")
    assert len(json.dumps(long).encode()) <= MAX_STATUS_BYTES


def test_an_unchanged_status_is_not_written_again() -> None:
    """The same values give no reason to write, however long ago the last write was."""
    first = status()
    assert not material_change(first, status(previous=first, now=NOW + 900), NOW + 900, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": Scale(replicas=3, ready=1)},
        {"scale": Scale(replicas=2, ready=2)},
        {"scale": Unavailable(ScaleReason.FAILED_GET_SCALE, "no answer")},
        {"decision": replace(DECISION, desired=3)},
        {"decision": replace(DECISION, reason=DecisionReason.HOLD_COOLDOWN)},
        {"conditions": (replace(READY, status=F), ABLE)},
        {"conditions": (replace(READY, reason=ReadyReason.OBSERVING), ABLE)},
        {"generation": 8},
        {"learned": Learned(start_seconds=8.2, last_scale_at=NOW)},
        {"learned": Learned(start_seconds=8.2, alerts=(AlertMemory("late", NOW, firing=True),))},
    ],
)
def test_replicas_conditions_reasons_and_scalings_are_written_at_once(changes: dict[str, Any]) -> None:
    """A change a person acts on is written even a second after the last write."""
    assert material_change(status(), status(**changes), NOW + 1, NOW)


def test_a_first_status_is_written() -> None:
    """A resource without a status gets one."""
    assert material_change({}, status(), NOW, None)


@pytest.mark.parametrize(
    ("figures", "material"),
    [
        ({"lag_messages": 24_000}, True),
        ({"lag_messages": 6_000}, True),
        ({"lag_messages": 23_000}, False),
        ({"lag_messages": None}, True),
        ({"delay_seconds": 84.0}, True),
        ({"delay_seconds": 60.0}, False),
        ({"arrival_per_second": 900.0}, False),
    ],
)
def test_lag_and_delay_are_written_when_they_double_or_halve(figures: dict[str, Any], material: bool) -> None:
    """A factor of two counts, once a minute has passed since the last write; less, or sooner, does not."""
    assert material_change(status(), with_figures(**figures), NOW + 60, NOW) is material
    assert not material_change(status(), with_figures(**figures), NOW + 59, NOW)


@given(
    st.integers(0, 1000).flatmap(lambda rate: st.tuples(st.just(rate), *[st.integers(0, max(99, rate * 10))] * 2)),
    st.tuples(st.floats(0, 10), st.floats(0, 10)),
)
def test_a_group_that_keeps_up_gives_nothing_to_write(lag: tuple[int, int, int], delays: tuple[float, float]) -> None:
    """The saw of commits, lag within ten seconds of arrivals and delay within ten seconds, is never material."""
    rate, before, after = lag
    common = {"arrival_per_second": float(rate)}
    old = with_figures(**common, lag_messages=before, delay_seconds=delays[0])
    new = with_figures(**common, lag_messages=after, delay_seconds=delays[1])
    assert not material_change(old, new, NOW + 3600, NOW)


def test_something_newly_learned_is_written_and_a_little_drift_is_not() -> None:
    """A restart must find what was learned, but learning goes on all the time."""
    known = Learned(start_seconds=8.2, last_scale_at=NOW - 10, capacity_per_replica_per_second=10)
    drifted = replace(known, capacity_per_replica_per_second=13)
    assert material_change(status(), status(learned=known), NOW + 60, NOW)
    assert not material_change(status(learned=known), status(learned=drifted), NOW + 60, NOW)
    assert not material_change(status(), status(learned=known), NOW + 59, NOW)


@pytest.mark.parametrize(
    ("reason", "material"), [(SourceReason.AUTHENTICATION_FAILED, True), (SourceReason.BROKER_UNREACHABLE, False)]
)
def test_another_cause_of_a_refusal_is_written_after_a_minute(reason: SourceReason, material: bool) -> None:
    """First the Secret is missing, then the password is wrong: whoever repairs it must see where they are."""

    def refused(why: str) -> dict[str, Any]:
        said = Condition(ConditionType.SOURCE_HEALTHY, F, reason, why)
        return status(decision=replace(DECISION, conditions=(said, *DECISION.conditions[1:])))

    first, then = refused("there is no Secret login"), refused("wrong password")
    assert material_change(first, then, NOW + 60, NOW) is material
    assert not material_change(first, first, NOW + 60, NOW)
    assert not material_change(first, then, NOW + 59, NOW)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def test_a_patch_removes_what_is_no_longer_known() -> None:
    """After the merge the stored status is the new one, whatever was stored before."""
    full = status()
    less = status(
        decision=replace(DECISION, steps=(), recommended=None, figures=Figures(partitions=3)),
        processing=None,
        learned=Learned(),
    )
    for before in ({}, full, less):
        for after in (full, less):
            assert merged({"status": before}, merge_patch(after)) == {"status": after}


SECONDS = st.none() | st.floats(0.01, 900)


@given(capacity=st.none() | st.floats(0.001, 1e9), start=SECONDS, pause=SECONDS, ago=SECONDS)
def test_a_restart_finds_what_was_learned(
    capacity: float | None, start: float | None, pause: float | None, ago: float | None
) -> None:
    """What is written into the status comes back within a unit; unknown stays unknown, and small is not zero."""
    learned = Learned(
        capacity_per_replica_per_second=capacity,
        start_seconds=start,
        rebalance_seconds=pause,
        last_scale_at=None if ago is None else NOW - ago,
    )
    found = learned_from(status(learned=learned), NOW)
    for name, unit in (
        ("capacity_per_replica_per_second", 1 / 60),
        ("start_seconds", 1.0),
        ("rebalance_seconds", 1.0),
        ("last_scale_at", 1.0),
    ):
        before, after = getattr(learned, name), getattr(found, name)
        assert (before is None) == (after is None)
        if before is not None:
            assert after == pytest.approx(before, abs=unit + 1e-6)
    if ago is not None:
        assert found.last_scale_at is not None
        assert NOW - ago <= found.last_scale_at <= NOW


def test_a_restart_finds_the_alerts_that_fire() -> None:
    """Or it would resolve them and raise them anew. Those that only wait are not kept."""
    firing = AlertMemory("late", NOW - 100, firing=True)
    history = History(alerts=(firing, AlertMemory("far-behind", NOW), AlertMemory("quiet")))
    assert learned_from(status(learned=learned_of(history)), NOW).history().alerts == (firing,)


def test_a_last_scaling_in_the_future_counts_as_just_now() -> None:
    """A clock that was set back must not freeze the replicas until the old time comes again."""
    assert learned_from({"lastScaleTime": rfc3339(NOW + 86_400)}, NOW).last_scale_at == NOW


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"learned": None, "lastScaleTime": None},
        {"learned": [], "lastScaleTime": 5},
        {"learned": {"startSeconds": "5", "rebalanceSeconds": -1}, "lastScaleTime": "soon"},
        {"learned": {"capacityPerReplicaPerMinute": 0}, "lastScaleTime": "2027-01-15"},
        {"alerts": {"name": "late"}},
        {"alerts": ["late", {"name": 5, "sinceTime": "2027-01-15T08:00:00Z"}, {"name": "late", "sinceTime": "soon"}]},
    ],
)
def test_a_strange_status_teaches_nothing(strange: dict[str, Any]) -> None:
    """What is missing or malformed in a status is not known; it never stops a resource."""
    assert learned_from(strange, NOW) == Learned()


def test_a_history_starts_with_what_was_learned_and_knows_no_more() -> None:
    """What goes into the history at a restart is what comes out of it again, without priors."""
    learned = Learned(
        capacity_per_replica_per_second=12.5,
        start_seconds=9,
        rebalance_seconds=3,
        last_scale_at=NOW,
        alerts=(AlertMemory("late", NOW, firing=True),),
    )
    assert learned_of(learned.history()) == learned
    assert learned_of(Learned().history()) == Learned()
