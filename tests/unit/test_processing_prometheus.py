"""What is asked of a Prometheus, and what its answers mean."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.processing_support import good, refused

from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.gauges import JAVA_CLIENT, STREAMS
from consumer_autoscaler.sources.presets import AUTOMATIC, FAUST, PRESETS, QUARKUS, SPRING, AnyPreset
from consumer_autoscaler.sources.prometheus_http import Entry
from consumer_autoscaler.sources.prometheus_reading import Memory, choose, conclude, conclude_query
from consumer_autoscaler.sources.promql import Scope, discovery, literal, pods_of, quoted, reading

SCOPE = Scope("shop", "payments-.*", "g", frozenset({"t"}))


class Reading:
    """One source's readings of one resource, every 15 s."""

    def __init__(self, preset: AnyPreset = SPRING, *, per_batch: bool = False, window: int = 60) -> None:
        self.memory = Memory(preset, preset.metric, window, interval_seconds=15.0)
        self.batch = per_batch
        self.now = 1000.0

    def read(
        self,
        *entries: Entry,
        consumed: float | None = 100.0,
        earlier: float | None = None,
        pods: int = 4,
        **parts: float,
    ) -> ProcessingTime | Unavailable | None:
        """`consumed` records per second in the window, `earlier` over it and the one before."""
        self.now += 15
        before = consumed if earlier is None else earlier
        window = self.memory.window_seconds
        given: dict[str, float] = {"age": 3, "samples": 4, "pods": 4, **parts}
        return conclude(
            self.memory,
            [*entries, *(({"part": part}, value) for part, value in given.items())],
            topics=frozenset({"t"}),
            batch=self.batch,
            consumption_rate=lambda seconds: consumed if seconds <= window else before,
            ready_pods=pods,
            at=self.now,
        )


def test_sum_by_count_is_the_mean_and_the_source_says_where_it_is_from():
    """Rates per second; the window makes records of them."""
    result = good(Reading().read(sum=2.0, count=40.0))
    assert (result.seconds_per_record, result.records) == (pytest.approx(0.05), 2400)
    assert result.source == "Spring (spring_kafka_listener_seconds) of 4 pods, Prometheus, 60 s"


def test_percentiles_come_from_the_buckets_of_all_pods():
    """As with pages: linear within a bucket, unknown beyond the last bound or when buckets are unsound."""
    rows = [({"part": "bucket", "le": le}, value) for le, value in (("0.1", 5.0), ("1", 9.8), ("+Inf", 10.0))]
    result = good(Reading().read(*rows, sum=2.0, count=10.0))
    assert result.p50_seconds == pytest.approx(0.1)
    assert result.p95_seconds == pytest.approx(0.1 + 0.9 * 4.5 / 4.8)
    assert result.p99_seconds is None
    falling = [({"part": "bucket", "le": le}, value) for le, value in (("0.1", 9.0), ("1", 5.0), ("+Inf", 10.0))]
    assert good(Reading().read(*falling, sum=2.0, count=10.0)).p50_seconds is None
    assert good(Reading().read(({"part": "bucket", "le": "x"}, 1.0), sum=2.0, count=10.0)).p50_seconds is None


@pytest.mark.parametrize(("age", "stale"), [(0, False), (30, False), (32, True), (600, True)])
def test_a_sample_older_than_two_scrapes_is_stale(age: float, stale: bool):
    """Pods that are scraped every 15 s and were not for half a minute."""
    result = Reading().read(sum=2.0, count=40.0, age=age)
    assert isinstance(result, Unavailable if stale else ProcessingTime)
    if stale:
        assert f"is {age} s old: check that the pods are scraped" in refused(result)


@pytest.mark.parametrize("parts", [{"sum": math.nan, "count": 4}, {"sum": 4, "count": math.inf}])
def test_what_is_no_number_is_told(parts: dict[str, float]):
    """NaN is not zero."""
    assert "is not a number in Prometheus" in refused(Reading().read(**parts))


@pytest.mark.parametrize("parts", [{}, {"age": math.nan}, {"samples": math.nan}])
def test_an_answer_without_the_metric_looks_for_it_again(parts: dict[str, float]):
    """After a rollout to another framework, for instance."""
    source = Reading()
    answer = [({"part": part}, value) for part, value in {"age": 3.0, "samples": 4.0, **parts}.items()] if parts else []
    result = conclude(
        source.memory, answer, topics=frozenset(), batch=False, consumption_rate=lambda _: None, ready_pods=1, at=0.0
    )
    assert "any more" in refused(result)
    assert source.memory.chosen is None


def test_while_nothing_is_counted_the_last_mean_stands_for_five_intervals_and_is_never_zero():
    """An idle group has no time per record."""
    source = Reading()
    mean = good(source.read(sum=2.0, count=40.0))
    for _ in range(5):
        assert source.read(sum=0.0, count=0.0, consumed=0.0) == mean
    assert source.read(sum=0.0, count=0.0, consumed=0.0) is None
    assert Reading().read(sum=0.0, count=0.0, consumed=None) is None


def test_a_metric_that_stands_still_under_a_lasting_load_is_told_and_a_load_that_begins_or_ends_is_not():
    """Samples are up to a scrape behind the offsets."""
    assert "records were committed" in refused(Reading().read(sum=0.0, count=0.0, consumed=10.0))
    assert Reading().read(sum=0.0, count=0.0, consumed=10.0, earlier=5.0) is None  # nothing before
    assert Reading().read(sum=0.0, count=0.0, consumed=0.0, earlier=5.0) is None  # nothing now


def test_a_batch_becomes_records_by_the_offsets():
    """2 s of work and 100 records in each second; of 8 ready pods 4 are in Prometheus and have half of the records."""
    result = good(Reading(per_batch=True).read(sum=2.0, count=0.5))
    assert (result.seconds_per_record, result.p50_seconds) == (pytest.approx(0.02), None)
    half = good(Reading(per_batch=True).read(sum=2.0, count=0.5, pods=8))
    assert half.seconds_per_record == pytest.approx(0.04)
    assert half.source.endswith("records from the offsets, shared equally")
    for unknown in (None, 0.0, -1.0, math.nan, math.inf):
        assert "per batch" in refused(Reading(per_batch=True).read(sum=2.0, count=0.5, consumed=unknown))
    assert good(Reading(FAUST, per_batch=True).read(sum=20.0, count=10.0)).seconds_per_record == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("window", "samples", "then"),
    [(300, 20, 60), (300, 300, 60), (300, 5, 240), (60, 4, 60), (60, 1, 120), (300, 2, 600), (600, 2, 600)],
)
def test_the_window_holds_four_scrapes_and_at_least_a_minute(window: int, samples: float, then: int):
    """From the first look over five minutes to what the scrape interval asks for, and back when that grows."""
    source = Reading(window=window)
    source.read(sum=2.0, count=40.0, samples=samples)
    assert source.memory.window_seconds == then


def test_of_several_quarkus_channels_the_one_called_like_a_topic_is_taken():
    """As on pods' pages; a single channel is taken whatever it is called."""

    def channel(name: str, count: float, total: float) -> list[Entry]:
        return [({"part": "count", "channel": name}, count), ({"part": "sum", "channel": name}, total)]

    both = Reading(QUARKUS).read(*channel("t", 10, 1), *channel("out", 10, 90))
    assert good(both).seconds_per_record == pytest.approx(0.1)
    assert good(Reading(QUARKUS).read(*channel("in", 10, 2))).seconds_per_record == pytest.approx(0.2)


def test_gauges_are_weighed_by_records_and_idle_clients_left_out():
    """The same rules as on pods' pages, per second."""
    threads = [
        ({"part": part, "pod": "a", "thread_id": name}, value)
        for name, latency, rate in (("1", 2.0, 100.0), ("2", 6.0, 300.0), ("3", math.nan, 0.0))
        for part, value in (("work", latency), ("records", rate))
    ]
    assert good(Reading(STREAMS).read(*threads)).seconds_per_record == pytest.approx(0.005)
    clients = [({"part": "work", "pod": pod, "client_id": "c"}, idle) for pod, idle in (("a", 0.2), ("b", 0.9))] + [
        ({"part": "records", "pod": pod, "client_id": "c", "topic": "t"}, 16.0) for pod in ("a", "b")
    ]
    assert good(Reading(JAVA_CLIENT).read(*clients)).seconds_per_record == pytest.approx(0.05)


def test_auto_takes_the_first_preset_that_is_there_by_its_full_name():
    """In the order of the presets; two applications under one ending are one too many."""
    spring = ({"part": "Spring", "__name__": "spring_kafka_listener_seconds_count"}, 3.0)
    faust = ({"part": "Faust", "__name__": "shop_events_runtime_ms_count"}, 3.0)
    streams = ({"part": "Streams", "__name__": "kafka_stream_thread_process_latency_avg"}, 3.0)
    assert choose(AUTOMATIC, [streams, faust, spring], SCOPE) == (SPRING, "spring_kafka_listener_seconds")
    assert choose(AUTOMATIC, [streams, faust], SCOPE) == (FAUST, "shop_events_runtime_ms")
    assert choose(AUTOMATIC, [streams], SCOPE) == (STREAMS, STREAMS.metric)
    two = choose(AUTOMATIC, [faust, ({"part": "Faust", "__name__": "b_events_runtime_ms_count"}, 1.0)], SCOPE)
    assert isinstance(two, Unavailable)
    assert "several metrics that end in events_runtime_ms" in two.message


def test_a_metric_that_is_not_there_is_told_with_whose_it_was_and_what_to_check():
    """The empty result is Prometheus' most frequent answer to a wrong question."""
    nothing = choose((SPRING,), [], SCOPE)
    assert isinstance(nothing, Unavailable)
    assert nothing.message == (
        "Prometheus does not have spring_kafka_listener_seconds of this group from pods payments-.* of namespace shop:"
        " check that they are scraped, and that their series have the labels `namespace` and `pod`"
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [([], "gives nothing"), ([1.0, 2.0], "gives 2 numbers"), ([0.0], "no record takes that"), ([-1.0], "gives -1")],
)
def test_an_own_query_must_give_one_number_above_zero(values: list[float], words: str):
    """And NaN, which is what 0/0 gives, is nothing measured."""
    entries: list[Entry] = [({}, value) for value in values]
    result = conclude_query(entries, unit_seconds=1.0, batch=False, consumption_rate=lambda _: None, at=0.0)
    assert words in refused(result)
    nan: list[Entry] = [({}, math.nan)]
    assert conclude_query(nan, unit_seconds=1.0, batch=False, consumption_rate=lambda _: None, at=0.0) is None


def test_an_own_query_is_in_its_unit_and_per_batch_divided_by_the_records():
    """800 ms of work in each second and 8 records: 0.1 s."""
    milliseconds = conclude_query([({}, 20.0)], unit_seconds=0.001, batch=False, consumption_rate=lambda _: 8.0, at=5.0)
    assert (good(milliseconds).seconds_per_record, good(milliseconds).at) == (pytest.approx(0.02), 5.0)
    spent = conclude_query([({}, 800.0)], unit_seconds=0.001, batch=True, consumption_rate=lambda _: 8.0, at=5.0)
    assert good(spent).seconds_per_record == pytest.approx(0.1)
    assert conclude_query([({}, 8.0)], unit_seconds=1.0, batch=True, consumption_rate=lambda _: 0.0, at=5.0) is None


@pytest.mark.parametrize(
    ("kind", "name", "pod", "its"),
    [
        ("Deployment", "payments", "payments-6b7f9c5d4-abcde", True),
        ("Deployment", "payments", "payments-api-6b7f9c5d4-abcde", False),
        ("Deployment", "pay.ments", "payXments-6b7f9c5d4-abcde", False),
        ("Deployment", "a" * 46, "a" * 46 + "-6b7f9c5d44-abcde", True),
        ("Deployment", "a" * 60, "a" * 58 + "abcde", True),
        ("StatefulSet", "writer", "writer-12", True),
        ("StatefulSet", "writer", "writer-api-0", False),
        ("StatefulSet", "writer", "writer-0-x", False),
    ],
)
def test_pods_are_those_of_the_target(kind: str, name: str, pod: str, its: bool):
    """Also where Kubernetes cuts a long name to 58 characters before it adds its five."""
    assert (re.fullmatch(pods_of(kind, name), pod) is not None) is its


@given(st.text())
def test_whatever_a_group_is_called_the_query_stays_one_string(text: str):
    """No text leaves its quotes, and as a regular expression it matches itself only."""
    inside = quoted(text)[1:-1]
    assert re.fullmatch(r'(?:[^"\\\n]|\\["\\nr])*', inside)
    assert re.fullmatch(literal(text).replace("\n", "\\n"), text) if "\n" not in text else True
    for preset in PRESETS:
        query = reading(preset, preset.metric, Scope("shop", "p-.*", text, frozenset({text})), 60, batch=False)
        bare = re.sub(r'"(?:[^"\\\n]|\\.)*"', "", query)
        assert '"' not in bare
        assert bare.count("(") == bare.count(")")


def test_the_looking_asks_for_every_preset_at_once_and_marks_it():
    """One request, whatever the application is."""
    query = discovery(AUTOMATIC, SCOPE)
    for preset in AUTOMATIC:
        assert f'"part", "{preset.name}"' in query
    assert "JavaClient" not in query
    assert query.count('namespace="shop"') == len(AUTOMATIC)


_NUMBERS = st.floats() | st.sampled_from([0.0, 1.0, math.nan, math.inf, 5e-324, 1e308])
_LABELS = st.fixed_dictionaries(
    {"part": st.sampled_from(["sum", "count", "bucket", "age", "samples", "pods", "work", "records", ""])},
    optional={"le": st.sampled_from(["0.1", "1", "+Inf", "NaN", "x"]), "channel": st.just("c"), "pod": st.just("p")},
)


@given(
    st.sampled_from(PRESETS),
    st.lists(st.lists(st.tuples(_LABELS, _NUMBERS), max_size=12), max_size=4),
    st.booleans(),
    st.none() | _NUMBERS,
)
def test_no_answer_gives_a_number_that_is_none(
    preset: AnyPreset, answers: list[list[Entry]], batch: bool, consumed: float | None
):
    """Never zero, negative, NaN or infinite, and never an exception, whatever a server sends."""
    memory = Memory()
    for step, entries in enumerate(answers):
        memory.chosen, memory.family = preset, preset.metric
        result = conclude(
            memory,
            entries,
            topics=frozenset(),
            batch=batch,
            consumption_rate=lambda _: consumed,
            ready_pods=2,
            at=15.0 * step,
        )
        assert 60 <= memory.window_seconds <= 600
        if isinstance(result, ProcessingTime):
            assert all(math.isfinite(n) and n > 0 for n in (result.seconds_per_record, result.records))
            percentiles = (result.p50_seconds, result.p95_seconds, result.p99_seconds)
            assert all(p is None or (math.isfinite(p) and p >= 0) for p in percentiles)
        single = conclude_query(entries, unit_seconds=1.0, batch=batch, consumption_rate=lambda _: consumed, at=0.0)
        if isinstance(single, ProcessingTime):
            assert math.isfinite(single.seconds_per_record)
            assert single.seconds_per_record > 0
