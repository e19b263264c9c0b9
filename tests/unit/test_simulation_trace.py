"""Traces: what is read, what is refused and in which words, and the arrivals made from them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.traces import TRACES

from consumer_autoscaler.simulation.prometheus import parse_range
from consumer_autoscaler.simulation.trace import QUIET, Arrivals, BadTrace, Noise, parse_trace, read_trace, steps

EQUAL = np.array([0.25, 0.25, 0.25, 0.25])


@pytest.mark.parametrize("path", sorted(TRACES.glob("*.csv")), ids=lambda path: path.stem)
def test_the_recorded_loads_are_whole_and_of_one_amplitude(path: Path) -> None:
    """The 99th percentile of the rows is 1000/s."""
    trace = read_trace(path)
    assert float(np.percentile(trace.rates, 99)) == pytest.approx(1000, rel=0.02)
    assert trace.end > 3300
    assert (np.diff(trace.starts) > 0).all()


def test_a_rate_holds_until_the_next_row_and_the_last_as_long_as_the_one_before() -> None:
    """Also where the rows are not evenly spaced; the time begins at the first row."""
    trace = parse_trace("seconds,events_per_second\n100,5\n110,7\n150,1\n", "t", "t.csv")
    assert trace.end == 90
    assert trace.rate_at(np.array([-5.0, 0.0, 9.9, 10.0, 49.9, 50.0, 500.0])).tolist() == [5, 5, 5, 7, 7, 1, 1]
    assert trace.mean_over(np.array([0.0, 5.0]), np.array([10.0, 15.0])).tolist() == [5, 6]
    assert trace.mean_over(np.array([-10.0]), np.array([0.0])).tolist() == [5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,rate\n0,1\n5,2\n", "t.csv:1: the header must be `seconds,events_per_second`, not `time,rate`"),
        ("seconds,events_per_second\n0,1\n5,many\n", "t.csv:3: must be two numbers"),
        ("seconds,events_per_second\n0,1\n5\n", "t.csv:3: must be two numbers"),
        ("seconds,events_per_second\n0,1\n5,nan\n", "t.csv:3: must be two numbers"),
        ("seconds,events_per_second\n0,1\n5,-2\n", "t.csv:3: a rate cannot be negative"),
        ("seconds,events_per_second\n0,1\n5,2\n5,3\n", "t.csv:4: second 5 does not come after 5: sort the lines"),
        ("seconds,events_per_second\n0,1\n", "t.csv: has 1 rows, at least 2 are needed"),
        ("", "t.csv: has 0 rows"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(text: str, says: str) -> None:
    """With what it must be."""
    with pytest.raises(BadTrace, match="^" + re.escape(says)):
        parse_trace(text, "t", "t.csv")


def test_a_missing_or_binary_file_is_told_so(tmp_path: Path) -> None:
    """No traceback for a path that was mistyped."""
    with pytest.raises(BadTrace, match="there is no such file"):
        read_trace(tmp_path / "no.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadTrace, match="cannot be read as text"):
        read_trace(tmp_path / "b.csv")


def test_the_amplitude_is_the_99th_percentile() -> None:
    """And a load of nothing has none."""
    trace = read_trace(TRACES / "elb_requests_noisy.csv").scaled(50.0)
    assert float(np.percentile(trace.rates, 99)) == pytest.approx(50)
    with pytest.raises(BadTrace, match="nothing arrives"):
        steps((0.0, 10.0), (0.0, 10.0)).scaled(5.0)


def _all(arrivals: Arrivals) -> np.ndarray:
    rows = []
    at = 0
    while at < arrivals.ticks:
        rows.append(arrivals.take(at, arrivals.ticks - at))
        at += len(rows[-1])
    return np.vstack(rows)


def test_arrivals_have_the_rate_of_the_trace_and_the_noise_that_was_asked_for() -> None:
    """Without noise exactly; Poisson: variance equals mean; bursts: the rate of 10 s varies besides."""
    trace = steps((400.0, 8000.0), (100.0, 2000.0))

    def made(noise: Noise) -> np.ndarray:
        return _all(Arrivals(trace, EQUAL, begin=0.0, end=10_000.0, tick=1.0, noise=noise, seed=1))

    assert made(QUIET).sum() == pytest.approx(400 * 8000 + 100 * 2000)
    poisson = made(Noise())
    assert poisson.sum() == pytest.approx(3_400_000, rel=0.005)
    assert poisson[:8000].var() == pytest.approx(100, rel=0.05)
    bursts = made(Noise(burst_cv=0.5))[:8000].sum(axis=1).reshape(-1, 10).sum(axis=1)
    assert bursts.std() / bursts.mean() == pytest.approx(0.5, rel=0.1)


def test_looking_back_agrees_with_what_was_handed_out() -> None:
    """Also when partitions were added in between."""
    arrivals = Arrivals(steps((90.0, 9000.0)), EQUAL, begin=0.0, end=9000.0, tick=1.0, noise=Noise(), seed=4)
    first = np.vstack([arrivals.take(0, 3600), arrivals.take(3600, 400)])
    assert arrivals.before(4000).tolist() == first.sum(axis=0).tolist()
    arrivals.reweigh(np.full(6, 1 / 6), 4000)
    more = arrivals.take(4000, 100)
    assert more.shape[1] == 6
    assert arrivals.before(4000)[:4].tolist() == first.sum(axis=0).tolist()
    assert (arrivals.before(4100) - arrivals.before(4000)).tolist() == more.sum(axis=0).tolist()


def _answer(*series: list[list[object]], kind: str = "matrix") -> str:
    results = [{"metric": {}, "values": values} for values in series]
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": results}})


def test_a_range_query_of_prometheus_is_a_trace() -> None:
    """Series are added up by their times; a gap is filled with what was before it."""
    answer = _answer([[1000, "5"], [1015, "7"], [1060, "1"]], [[1000, "1.5"], [1015, "NaN"]])
    trace = parse_range(answer, "orders", "q.json")
    assert trace.starts.tolist() == [0, 15, 60]
    assert trace.rates.tolist() == [6.5, 7, 1]
    assert trace.end == 105


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<html>", "q.json: is not JSON: give a range query"),
        (
            '{"status": "error", "error": "bad query"}',
            "did not answer with success, but: bad query: give a range query",
        ),
        (_answer([[0, "1"]], kind="vector"), "is not the answer of a range query"),
        (_answer([[0, "1"]]), "has 1 points, at least 2 are needed: check query, start and end"),
        (_answer([[0, "1"], [5, "-2"]]), "a rate cannot be negative (-2): query a rate(), not a delta"),
        (_answer([[0, "many"]]), "a series has no list of [time, value]"),
    ],
)
def test_another_answer_of_prometheus_is_refused_with_the_remedy(text: str, says: str) -> None:
    """Prometheus' own error is passed on."""
    with pytest.raises(BadTrace, match=re.escape(says)):
        parse_range(text, "orders", "q.json")
