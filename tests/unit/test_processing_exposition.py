"""Reading single families from pages of Prometheus metrics."""

from __future__ import annotations

import contextlib
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer_autoscaler.sources.exposition import MAX_LINES, MalformedMetrics, Series, read_families

NAME = "kafka_consumer_processing_seconds"


def test_a_histogram_of_the_python_client_is_read_whole():
    """What prometheus_client itself writes is read back: sum, count, buckets, labels with escapes."""
    from prometheus_client import CollectorRegistry, Histogram, generate_latest

    registry = CollectorRegistry()
    metric = Histogram(NAME, "help", ["group", "topic"], registry=registry, buckets=(0.1, 1))
    for seconds in (0.05, 0.5, 5):
        metric.labels('a"b\\c\nd', "t").observe(seconds)
    family = read_families(generate_latest(registry), NAME)[NAME]
    assert family == {(("group", 'a"b\\c\nd'), ("topic", "t")): Series(3.0, 5.55, ((0.1, 1), (1, 2), (math.inf, 3)))}


def test_openmetrics_exemplars_timestamps_and_created_lines_do_not_disturb():
    """What OpenMetrics adds to a line is passed over."""
    page = (
        f"# TYPE {NAME} histogram\n"
        f'{NAME}_bucket{{le="+Inf"}} 4 # {{trace_id="a b"}} 0.67 1.5\n'
        f"{NAME}_count 4 1700000000.5\r\n{NAME}_sum 2.0 1700000000\n{NAME}_created 1.6e9\n# EOF\n"
    )
    assert read_families(page.encode(), NAME) == {NAME: {(): Series(4.0, 2.0, ((math.inf, 4.0),))}}


def test_names_that_only_contain_the_name_are_not_taken():
    """A longer name, a label value, a help text and a maximum are not the metric."""
    page = (
        f"# HELP {NAME} about {NAME}_count 7\nx_{NAME}_count 1\n{NAME}_x_count 1\n"
        f'other{{a="{NAME}_count 9"}} 3\n{NAME}_max 8\n'
    )
    assert read_families(page.encode(), NAME) == {}


def test_with_any_prefix_the_full_names_are_told_apart():
    """Two applications' metrics on one page stay two families."""
    page = b"a_ms_count 1\na_ms_sum 2\nb_c_ms_count 3\nb_c_ms_sum 4\nxms_count 5\nxms_sum 6\n"
    found = read_families(page, "ms", any_prefix=True)
    assert found == {"a_ms": {(): Series(1, 2)}, "b_c_ms": {(): Series(3, 4)}}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("N_count NaN\nN_sum 1", "not a finite number"),
        ("N_count +Inf\nN_sum 1", "not a finite number"),
        ("N_count 1\nN_sum -1", "negative"),
        ("N_count 1\nN_sum 1e18", "too large"),
        ("N_count one\nN_sum 1", "not a number"),
        ("N_count\nN_sum 1", "no value"),
        ("N_count 1", "lacks N_sum"),
        ("N_sum 1", "lacks N_count"),
        ("N_count 1\nN_count 1\nN_sum 1", "twice"),
        ("# TYPE N gauge\nN_count 1\nN_sum 1", "another type"),
        ("N_bucket 1\nN_count 1\nN_sum 1", "no bound"),
        ('N_count{a="b} 1\nN_sum 1', "not a number"),
        ("N_count{a=b} 1\nN_sum 1", "labels that cannot be read"),
        ("N_count" + " " * 20_000 + "1\nN_sum 1", "too long"),
        ("\n".join(f'N_count{{a="{i}"}} 1' for i in range(1001)), "more than 1000 series"),
        ("# N\n" * (MAX_LINES + 1), "more than"),
    ],
)
def test_an_unsound_sample_condemns_the_family_and_says_why(lines: str, words: str):
    """Half a family is worse than none."""
    with pytest.raises(MalformedMetrics, match=words):
        read_families(lines.encode(), "N")


@pytest.mark.parametrize(
    "buckets", ['N_bucket{le="1"} 5\nN_bucket{le="+Inf"} 4\n', 'N_bucket{le="1"} 5\n', 'N_bucket{le="0"} 1\n']
)
def test_unsound_buckets_are_dropped_and_the_mean_is_kept(buckets: str):
    """Buckets that fall, lack the open one or have a bound of zero give no percentiles, but spoil no mean."""
    assert read_families((buckets + "N_count 5\nN_sum 2\n").encode(), "N")["N"] == {(): Series(5, 2)}


_TOKENS = st.sampled_from(
    ["N", "N_count", "N_sum", "N_bucket", "# TYPE N ", "histogram", "{", "}", 'le="', "+Inf", '"', "\\", "\n", " ",
     "1", "-1", "NaN", "1e400", "1_0", ",", "=", "a", "#", "\r", "\x00", "é"]
)  # fmt: skip


@given(st.lists(_TOKENS, max_size=60).map("".join) | st.text())
def test_no_text_raises_anything_but_malformed_metrics(text: str):
    """Whatever a pod sends is read, or refused with the one error; what is read is finite and not negative."""
    for any_prefix in (False, True):
        with contextlib.suppress(MalformedMetrics):
            for family in read_families(text.encode(), "N", any_prefix=any_prefix).values():
                for series in family.values():
                    assert 0 <= series.count < math.inf
                    assert 0 <= series.total < math.inf


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_malformed_metrics(data: bytes):
    """Bytes that are no UTF-8 are as harmless."""
    with contextlib.suppress(MalformedMetrics):
        read_families(b'N_count{a="' + data + b'"} 1\nN_sum{a="' + data + b'"} 1\n', "N")


@pytest.mark.parametrize("page", [b"N_count" * 600_000, b"# N\n" * 1_000_000, b'N_count{a="' + b"\\" * 4_000_000])
def test_a_page_made_to_be_slow_is_not(page: bytes):
    """The work is linear in the page: 4 MiB of the name take well under a second."""
    began = time.process_time()
    with contextlib.suppress(MalformedMetrics):
        read_families(page, "N", any_prefix=True)
    assert time.process_time() - began < 0.5
