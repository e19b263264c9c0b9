"""What the pages of several pods say together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.processing_support import CONVENTION, SPRING, A, B, C, Readings, good, page, refused

from consumer_autoscaler.decision.values import ProcessingTime
from consumer_autoscaler.sources.pod_pages import Per, Pod
from consumer_autoscaler.sources.presets import CustomMetric


def test_the_mean_is_over_the_increase_of_all_pods():
    """Sum by count of what was added since the last reading, not of all time and not the mean of means."""
    readings = Readings()
    assert readings.read({A: page(100, 500), B: page(10, 1)}) is None
    result = good(readings.read({A: page(130, 503), B: page(20, 2)}))
    assert result.seconds_per_record == pytest.approx(4 / 40)
    assert result.records == 40
    assert result.at == readings.now
    assert "2 of 2 pods" in result.source


def test_a_restarted_process_counts_from_zero():
    """A count that fell is what the new process did; so is a sum that fell under a count that rose."""
    for restarted in (page(4, 2), page(110, 55)):
        readings = Readings()
        readings.read({A: page(100, 500)})
        assert good(readings.read({A: restarted})).seconds_per_record == pytest.approx(0.5)


def test_a_new_pod_gives_no_increase_at_first():
    """Also when it has the name of the pod before it, as in a StatefulSet."""
    readings = Readings()
    readings.read({A: page(10, 1), B: page(10, 1)})
    result = good(readings.read({A: page(20, 2), ("app-b", "10.0.0.9"): page(1000, 1000)}))
    assert (result.records, result.seconds_per_record) == (10, pytest.approx(0.1))
    assert "1 of 2 pods" in result.source


def test_a_series_that_appears_in_a_known_pod_began_at_zero():
    """The first record of a pod, or the first failure of a Spring listener, is counted."""
    readings = Readings()
    readings.read({A: "up 1\n", B: page(1, 1, SPRING, 'result="success"')})
    both = page(2, 2, SPRING, 'result="success"') + page(3, 9, SPRING, 'result="failure"')
    result = good(readings.read({A: page(4, 4, SPRING, 'result="success"'), B: both}))
    assert (result.records, result.seconds_per_record) == (8, pytest.approx(14 / 8))


def test_more_than_half_of_the_pods_are_enough_and_half_are_not():
    """The rule, and the pods that failed it, by name and with what was wrong."""
    readings = Readings()
    readings.read({A: page(0, 0), B: page(0, 0), C: page(0, 0)})
    down = Exception("answered with status 500")
    assert "2 of 3 pods" in good(readings.read({A: page(1, 1), B: page(1, 1), C: down})).source
    message = refused(readings.read({A: page(2, 2), B: down}))
    assert message == ("1 of 2 pods could be read, more than half are needed: app-b answered with status 500")


def test_a_pod_that_was_missed_once_is_measured_over_the_longer_time():
    """Totals lose nothing by a missed reading."""
    readings = Readings()
    readings.read({A: page(0, 0), B: page(0, 0), C: page(0, 0)})
    readings.read({A: page(1, 1), B: page(1, 1), C: Exception("did not answer within 3 s")})
    assert good(readings.read({A: page(2, 2), B: page(2, 2), C: page(10, 10)})).records == 12


def test_while_nothing_is_processed_the_last_mean_stands_for_five_intervals():
    """No record is no failure of the source, but a mean does not stand for ever: then there is none to tell."""
    readings = Readings()
    assert readings.read({A: page(5, 5)}) is None
    assert readings.read({A: page(5, 5)}) is None
    mean = good(readings.read({A: page(10, 7)}))
    for _ in range(5):
        assert readings.read({A: page(10, 7)}) == mean
    assert readings.read({A: page(10, 7)}) is None


def test_a_metric_that_stands_still_while_records_are_committed_is_refused():
    """An idle group is told from one whose pods count something else."""
    readings = Readings()
    readings.read({A: page(5, 5)}, consumed=0)
    assert readings.read({A: page(5, 5)}, consumed=0) is None
    assert "records were committed" in refused(readings.read({A: page(5, 5)}, consumed=40))


def test_a_mean_from_before_a_long_pause_does_not_stand():
    """An hour without readings is not an interval of an hour."""
    readings = Readings()
    readings.read({A: page(0, 0)})
    good(readings.read({A: page(10, 7)}))
    assert readings.read({A: page(10, 7)}, after=3600) is None
    assert readings.read({A: page(10, 7)}) is None


def test_other_groups_and_topics_are_not_counted():
    """Labels that name a group or topic must match; topics only when some are asked for."""
    other = page(1000, 1000, labels='group="other",topic="t"') + page(50, 50, labels='group="g",topic="u"')
    readings = Readings(topics=("t",))
    assert "for this group and its topics" in refused(readings.read({A: other}))
    assert good(readings.read({A: page(4, 1) + other})).seconds_per_record == pytest.approx(0.25)
    everything = Readings()
    everything.read({A: "up 1\n"})
    assert good(everything.read({A: page(4, 1) + other})).records == 54


def test_auto_takes_the_preset_that_most_pods_have():
    """In a rollout from one framework to another the larger part decides, else the order of preference."""
    readings = Readings()
    readings.read({A: "up 1\n", B: "up 1\n", C: "up 1\n"})
    spring = page(1, 3, SPRING, "")
    result = good(readings.read({A: spring, B: spring, C: page(1, 1)}))
    assert (result.source.split()[0], result.records) == ("Spring", 2)
    both = page(2, 2) + page(9, 9, SPRING, "")
    assert good(readings.read({A: both, B: both, C: page(2, 2)})).source.startswith("Convention")


@pytest.mark.parametrize(
    ("preset", "name", "labels", "seconds"),
    [
        ("Convention", CONVENTION, 'group="g",topic="t"', 2.0),
        ("OpenTelemetry", "messaging_process_duration_seconds", 'messaging_system="kafka"', 2.0),
        ("Spring", SPRING, 'name="c#0-0",messaging_kafka_consumer_group="g"', 2.0),
        ("Quarkus", "quarkus_messaging_message_duration_seconds", 'channel="in"', 2.0),
        ("Faust", "shop_events_runtime_ms", "", 0.002),
    ],
)
def test_each_preset_is_read_by_its_name_and_by_auto_in_seconds(preset: str, name: str, labels: str, seconds: float):
    """Faust's milliseconds become seconds like the others'."""
    for asked in (preset, "Auto"):
        readings = Readings(asked, topics=("t",))
        readings.read({A: page(0, 0, name, labels)})
        result = good(readings.read({A: page(10, 20, name, labels)}))
        assert result.seconds_per_record == pytest.approx(seconds)
        assert result.source.startswith(preset)


def test_an_own_metric_is_read_by_its_name_unit_and_labels():
    """Only series that have the labels; a series without them is another group's."""
    custom = CustomMetric("work_ms", 0.001, (("kind", "mail"),))
    readings = Readings("Custom", custom=custom)
    mine, other = page(10, 200, "work_ms", 'kind="mail"'), page(10, 9000, "work_ms", 'kind="letter"')
    readings.read({A: page(0, 0, "work_ms", 'kind="mail"') + other + page(1, 1, "work_ms", "")})
    assert good(readings.read({A: mine + other})).seconds_per_record == pytest.approx(0.02)
    assert "for this group" in refused(Readings("Custom", custom=custom).read({A: other}))


def test_opentelemetry_metrics_of_another_system_are_not_taken():
    """RabbitMQ's processing time says nothing about Kafka's."""
    name = "messaging_process_duration_seconds"
    assert "none of the 1 pods" in refused(
        Readings("OpenTelemetry").read({A: page(1, 1, name, 'messaging_system="rabbitmq"')})
    )


def test_of_several_quarkus_channels_the_one_called_like_a_topic_is_taken():
    """Outgoing channels have the same metric; the channel's name is all that tells them apart."""
    name = "quarkus_messaging_message_duration_seconds"

    def pages(times: int) -> str:
        return page(times, times, name, 'channel="t"') + page(times, 9 * times, name, 'channel="out"')

    readings = Readings("Quarkus", topics=("t",))
    readings.read({A: pages(0)})
    assert good(readings.read({A: pages(10)})).seconds_per_record == pytest.approx(1)
    assert "none of the 1 pods" in refused(Readings("Quarkus", topics=("x",)).read({A: pages(0)}))


def test_two_faust_applications_on_one_page_are_refused():
    """Which of them is the consumer cannot be known."""
    both = page(1, 1, "a_events_runtime_ms", "") + page(1, 1, "b_events_runtime_ms", "")
    assert "app-a has several metrics that end in events_runtime_ms" in refused(Readings("Faust").read({A: both}))


def test_a_batch_becomes_records_by_the_offsets():
    """Ten batches of 20 s in all that moved the offsets by 400 are 50 ms per record."""
    readings = Readings("Spring", per="Batch")
    readings.read({A: page(0, 0, SPRING, "")})
    result = good(readings.read({A: page(10, 20, SPRING, "")}, consumed=400))
    assert (result.records, result.seconds_per_record) == (400, pytest.approx(0.05))
    assert result.p50_seconds is None


def test_a_batch_is_refused_when_its_records_are_not_known():
    """Unknown, none, or no number at all."""
    for consumed in (None, 0.0, -4.0, math.nan, math.inf, 5e-324):
        readings = Readings("Spring", per="Batch")
        readings.read({A: page(0, 0, SPRING, "")})
        message = refused(readings.read({A: page(10, 20, SPRING, "")}, consumed=consumed))
        assert "per batch" in message


def test_of_a_batch_the_pods_that_were_not_measured_take_their_share_of_the_records():
    """The offsets are of all pods, the time only of those with two readings of this interval."""
    readings = Readings("Spring", per="Batch")
    readings.read({A: page(0, 0, SPRING, "")})
    result = good(readings.read({A: page(10, 20, SPRING, ""), B: page(0, 0, SPRING, "")}, consumed=400))
    assert (result.records, result.seconds_per_record) == (200, pytest.approx(0.1))
    assert "shared equally" in result.source


def test_frameworks_that_count_records_do_so_whatever_the_resource_says():
    """Faust measures single events; `per: Batch` cannot change that."""
    readings = Readings("Faust", per="Batch")
    readings.read({A: page(0, 0, "x_events_runtime_ms", "")})
    assert good(readings.read({A: page(10, 20, "x_events_runtime_ms", "")})).records == 10


def test_percentiles_lie_within_their_bucket_and_are_unknown_beyond_the_last_bound():
    """Interpolated from the increase of both pods; what is beyond the last bound has no number."""

    def histogram(low: int, high: int, beyond: int) -> str:
        rows = {"0.1": low, "1": low + high, "+Inf": low + high + beyond}
        lines = "".join(f'{CONVENTION}_bucket{{le="{le}"}} {n}\n' for le, n in rows.items())
        return lines + page(low + high + beyond, low + high + beyond, labels="")

    readings = Readings()
    readings.read({A: histogram(100, 0, 0), B: histogram(0, 0, 50)})
    result = good(readings.read({A: histogram(140, 26, 0), B: histogram(20, 10, 54)}))
    assert result.p50_seconds == pytest.approx(0.1 * 50 / 60)
    assert result.p95_seconds == pytest.approx(0.1 + 0.9 * 35 / 36)
    assert result.p99_seconds is None


@pytest.mark.parametrize(("total", "words"), [(0, "0 s per record"), (1e12, "which cannot be")])
def test_a_mean_that_cannot_be_is_refused(total: float, words: str):
    """No record takes no time, and none takes a day."""
    readings = Readings()
    readings.read({A: page(0, 0)})
    assert words in refused(readings.read({A: page(10, total)}))


def test_pages_that_are_no_metrics_and_no_pods_at_all_are_told():
    """A web page with status 200 is no reading, and neither is an empty list."""
    assert "app-a sent something else" in refused(Readings().read({A: "<html>secret</html>"}))
    assert Readings().read({}) is None
    assert refused(Readings().read({A: "up 1\n"})) == (
        "none of the 1 pods that were read has a metric that a preset knows"
    )


def test_messages_show_names_and_never_what_a_pod_sent():
    """A page is the pod's; its content has no business in a status."""
    message = refused(Readings().read({A: page(1, 1).replace(" 1\n", " sEcReT\n")}))
    assert "app-a sent unusable metrics" in message
    assert "sEcReT" not in message


_VALUES = st.one_of(st.floats(), st.integers(-5, 10**19), st.sampled_from(["", "x", "NaN", "1e400", "-0", "5e-324"]))
_PAGES = st.one_of(
    st.builds(page, _VALUES, _VALUES, st.sampled_from([CONVENTION, SPRING, "x_events_runtime_ms"])),
    st.builds(
        lambda a, b, c, d: page(c, d) + f'{CONVENTION}_bucket{{group="g",topic="t",le="{a}"}} {b}\n'
        f'{CONVENTION}_bucket{{group="g",topic="t",le="+Inf"}} {c}\n',
        _VALUES, _VALUES, _VALUES, _VALUES,
    ),
    st.text(),
    st.just(Exception("did not answer within 3 s")),
)  # fmt: skip
_SETS = st.dictionaries(st.sampled_from([A, B, C]), _PAGES)


@given(
    st.lists(st.tuples(_SETS, st.none() | st.floats(), st.floats(-100, 1e6)), max_size=6),
    st.sampled_from(["Record", "Batch"]),
)
def test_no_history_of_pages_gives_a_number_that_is_none(
    history: list[tuple[dict[Pod, str | Exception], float | None, float]], per: Per
):
    """Never negative, zero, NaN or infinite, and never an exception, whatever pods send in whatever order."""
    readings = Readings(per=per)
    for pages, consumed, after in history:
        result = readings.read(pages, consumed, after)
        if isinstance(result, ProcessingTime):
            numbers = [result.seconds_per_record, result.records]
            percentiles = (result.p50_seconds, result.p95_seconds, result.p99_seconds)
            assert all(math.isfinite(n) and n > 0 for n in numbers)
            assert all(p is None or (math.isfinite(p) and p >= 0) for p in percentiles)
        else:
            assert result is None or result.message
