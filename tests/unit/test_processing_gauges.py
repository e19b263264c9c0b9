"""Time per record from the gauges of the Kafka client and of Kafka Streams, on pods' pages."""

from __future__ import annotations

import pytest
from tests.unit.processing_support import A, B, Readings, good, refused

IDLE = "kafka_consumer_poll_idle_ratio_avg"
TOTAL = "kafka_consumer_fetch_manager_records_consumed_total"


def client(idle: float, total: float, name: str = "c-0", topic: str = "t", metric: str = TOTAL) -> str:
    """One consumer as Micrometer shows it."""
    return f'{IDLE}{{client_id="{name}"}} {idle}\n{metric}{{client_id="{name}",topic="{topic}"}} {total}\n'


def threads(*each: tuple[str, float, float]) -> str:
    """Stream threads: name, milliseconds per record, records per second."""
    return "".join(
        f'kafka_stream_thread_process_latency_avg{{thread_id="{name}"}} {milliseconds}\n'
        f'kafka_stream_thread_process_rate{{thread_id="{name}"}} {rate}\n'
        for name, milliseconds, rate in each
    )


@pytest.mark.parametrize(
    "metric", [TOTAL, "kafka_consumer_records_consumed_total", "kafka_consumer_records_consumed_total_records_total"]
)
def test_a_busy_client_s_share_of_time_by_its_records_under_any_of_the_exporters_names(metric: str):
    """80 % of 15 s for 240 records: 50 ms each."""
    readings = Readings("JavaClient")
    assert readings.read({A: client(0.2, 1000, metric=metric)}) is None
    result = good(readings.read({A: client(0.2, 1240, metric=metric)}))
    assert (result.records, result.seconds_per_record) == (240, pytest.approx(0.05))
    assert result.p95_seconds is None
    assert result.source.startswith(f"JavaClient ({IDLE})")


def test_clients_that_are_mostly_idle_say_nothing():
    """Their ratio counts empty polls like full ones: it would make records look cheap."""
    readings = Readings("JavaClient")
    readings.read({A: client(0.2, 0), B: client(0.9, 0)})
    assert good(readings.read({A: client(0.2, 240), B: client(0.9, 9000)})).records == 240
    assert readings.read({A: client(0.95, 250), B: client(0.9, 9010)}) is not None  # the last mean still stands
    idle = Readings("JavaClient")
    idle.read({A: client(0.9, 0)}, consumed=0)
    assert idle.read({A: client(0.9, 100)}, consumed=0) is None


def test_the_clients_of_several_pods_are_weighed_by_their_records():
    """Seconds of work by records, over all: not the mean of two means."""
    readings = Readings("JavaClient")
    readings.read({A: client(0.0, 0), B: client(0.4, 0)})
    result = good(readings.read({A: client(0.0, 100), B: client(0.4, 900)}))
    assert result.seconds_per_record == pytest.approx((15 + 9) / 1000)


def test_a_gauge_that_was_nan_does_not_make_old_records_new():
    """A consumer that had not polled for a minute has no ratio; its total is compared to what it was then."""
    readings = Readings("JavaClient")
    readings.read({A: client(float("nan"), 1_000_000)})
    result = good(readings.read({A: client(0.2, 1_000_240)}))
    assert result.records == 240


def test_a_client_that_began_anew_counts_from_zero():
    """Another process under the same name, or a total that fell."""
    readings = Readings("JavaClient")
    readings.read({A: client(0.2, 5000)})
    assert good(readings.read({A: client(0.2, 240)})).records == 240


def test_a_topic_that_is_told_twice_counts_once_and_others_not_at_all():
    """Kafka 4.1 shows a topic with points also with underscores (KIP-1109); older clients only so."""
    old, new = client(0.2, 240, topic="orders_v1"), client(0.2, 240, topic="orders.v1")
    both = new + old.split("\n")[1] + "\n" + client(0.2, 7, topic="other").split("\n")[1] + "\n"
    for page in (old, new, both):
        readings = Readings("JavaClient", topics=("orders.v1",))
        readings.read({A: page.replace(" 240", " 0").replace(" 7", " 0")})
        assert good(readings.read({A: page})).records == 240
    everything = Readings("JavaClient")
    everything.read({A: both.replace(" 240", " 0").replace(" 7", " 0")})
    assert good(everything.read({A: both})).records == 247


def test_stream_threads_are_weighed_by_their_rate():
    """100/s of 2 ms and 300/s of 6 ms are 5 ms; Auto finds them, a thread without rate weighs nothing."""
    for preset in ("Streams", "Auto"):
        readings = Readings(preset)
        page = threads(("t-1", 2, 100), ("t-2", 6, 300), ("t-3", 1000, 0))
        readings.read({A: page})
        result = good(readings.read({A: page}))
        assert (result.seconds_per_record, result.records) == (pytest.approx(0.005), 6000)


def test_auto_prefers_a_timer_to_gauges_and_never_takes_the_client_s():
    """Where both are there the timer says it exactly; the client's estimate is only taken when asked for."""
    timer = "spring_kafka_listener_seconds_count{} 10\nspring_kafka_listener_seconds_sum{} 1\n"
    readings = Readings()
    readings.read({A: timer + threads(("t", 5, 100)), B: threads(("t", 5, 100))})
    later = timer.replace("count{} 10", "count{} 20").replace("sum{} 1", "sum{} 3")
    assert good(readings.read({A: later, B: threads(("t", 5, 100))})).source.startswith("Spring")
    assert "a preset knows" in refused(Readings().read({A: client(0.2, 10)}))


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (f"{IDLE} -1\n{TOTAL} 5\n", "negative"),
        (f"{IDLE} 0.5\n{TOTAL} +Inf\n", "not a finite number"),
        (f"{IDLE} x\n{TOTAL} 5\n", "not a number"),
        (f"{IDLE} 0.5\n{IDLE} 0.5\n{TOTAL} 5\n", "twice"),
        (f"{IDLE} 0.5\n", "none of the 1 pods"),
    ],
)
def test_unsound_gauges_are_told(page: str, words: str):
    """As with timers, half of the truth is none."""
    assert words in refused(Readings("JavaClient").read({A: page}))
