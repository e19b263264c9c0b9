"""A group's past from Prometheus: what is made of it, what is fitted, and what is said at the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.unit.history_support import START, FakePrometheus, kafka_exporter, made
from tests.unit.simulation_support import planned

from consumer_autoscaler.simulation.history import History, history_of
from consumer_autoscaler.simulation.history_collect import collect
from consumer_autoscaler.simulation.history_fit import Capacity, NotFitted, fit_capacity
from consumer_autoscaler.simulation.history_queries import EXPORTERS, Wanted, discovery, queries, replicas
from consumer_autoscaler.simulation.trace import BadTrace, Trace
from consumer_autoscaler.simulation.world import World

HOURS = 3600.0
WORLD = World(topics=(12,), records_per_second=50.0)
# Two hours at 100/s, one at 400/s, three at 100/s: two replicas fall behind in the third hour.
RUSH = Trace("rush", np.array([0.0, 2 * HOURS, 3 * HOURS]), np.array([100.0, 400.0, 100.0]), 6 * HOURS)
PAST = made(RUSH, WORLD, replicas=3, scalings=[(2.5 * HOURS, 6)])


def test_the_load_is_what_was_committed_plus_the_lag() -> None:
    """The rate of each step is the trace's."""
    history = history_of(PAST)
    assert history.rates[5:100] == pytest.approx(100, rel=0.02)
    assert history.rates[125:175] == pytest.approx(400, rel=0.02)
    assert (history.partitions, history.missing_share) == (12, 0)
    assert history.seconds == pytest.approx(6 * HOURS)


def test_what_a_replica_can_do_is_fitted_from_the_time_behind() -> None:
    """Six replicas of twelve partitions do 300/s, three do 150/s; both say 50/s."""
    fitted = fit_capacity(history_of(PAST), partitions=12)
    assert isinstance(fitted, Capacity)
    assert fitted.records_per_second == pytest.approx(50, rel=0.03)
    assert fitted.high / fitted.low < 1.1
    assert fitted.seconds > 1800


@pytest.mark.parametrize("most", [220, 260, 400])
def test_counts_that_do_not_divide_the_partitions_are_seen_through(most: float) -> None:
    """Of five replicas with twelve partitions two have three; the others may keep up with their two, or not."""
    past = made(Trace("rush", RUSH.starts, np.array([100.0, most, 100.0]), RUSH.end), WORLD, replicas=5)
    fitted = fit_capacity(history_of(past), partitions=12)
    assert isinstance(fitted, Capacity)
    assert fitted.records_per_second == pytest.approx(50, rel=0.03)


def test_a_group_that_kept_up_tells_only_what_a_replica_does_at_least() -> None:
    """Never behind: not fitted, and nothing is made up."""
    past = made(RUSH, WORLD, replicas=12)
    fitted = fit_capacity(history_of(past), partitions=12)
    assert isinstance(fitted, NotFitted)
    assert fitted.at_least == pytest.approx(400 / 12, rel=0.05)


def test_steps_right_after_a_scaling_do_not_count() -> None:
    """While pods start and the group rebalances less is done than could be."""
    flapping = [(2 * HOURS + 120 * i, 3 + i % 2) for i in range(30)]
    past = made(RUSH, WORLD, replicas=3, scalings=flapping)
    past = replace(past, lag=past.lag[:180], committed=past.committed[:180], partitions=past.partitions[:180],
                   replicas=past.replicas[:180])  # fmt: skip
    assert isinstance(fit_capacity(history_of(past), partitions=12), NotFitted)


def test_without_replicas_nothing_is_fitted() -> None:
    past = replace(PAST, replicas=np.full(len(PAST.replicas), np.nan), replicas_from=None)
    fitted = fit_capacity(history_of(past), partitions=12)
    assert isinstance(fitted, NotFitted)
    assert "replicas" in fitted.why


def test_time_in_which_only_some_partitions_were_behind_tells_nothing() -> None:
    """A hot partition keeps one consumer busy; what the others do is what arrives for them."""
    hot = World(topics=(12,), records_per_second=50.0, weights=(0.5, *[0.5 / 11] * 11))
    fitted = fit_capacity(history_of(made(RUSH, hot, replicas=12)), partitions=12)
    assert isinstance(fitted, NotFitted)
    assert "on some of its partitions only" in fitted.why


def test_uneven_time_is_told_besides_the_rest() -> None:
    """Where both were seen, what counts is the time in which the whole group was behind."""
    mixed = made(RUSH, WORLD, replicas=3, scalings=[(2.5 * HOURS, 6)])
    assert mixed.behind is not None
    some = mixed.behind.copy()
    some[125:140] = 2
    fitted = fit_capacity(history_of(replace(mixed, behind=some)), partitions=12)
    assert isinstance(fitted, Capacity)
    assert fitted.uneven_seconds == pytest.approx(15 * 60, abs=121)
    assert fitted.records_per_second == pytest.approx(50, rel=0.03)


def test_several_consumers_in_a_pod_share_its_work() -> None:
    """Two consumers a pod: three pods are six consumers with two partitions each."""
    world = World(topics=(12,), records_per_second=50.0, consumers_per_pod=2)
    fitted = fit_capacity(history_of(made(RUSH, world, replicas=3)), partitions=12, consumers_per_pod=2)
    assert isinstance(fitted, Capacity)
    assert fitted.records_per_second == pytest.approx(50, rel=0.03)


def test_a_gap_gets_the_mean_of_what_arrived_in_it() -> None:
    """Offsets before and after it say how much that was; that it was filled in is kept."""
    lag, committed = PAST.lag.copy(), PAST.committed
    lag[115:130] = np.nan  # over the rise
    history = history_of(replace(PAST, lag=lag))
    whole = history_of(PAST)
    assert history.rates.sum() == pytest.approx(whole.rates.sum(), rel=1e-6)
    assert history.rates[114:130] == pytest.approx(np.full(16, whole.rates[114:130].mean()), rel=1e-6)
    assert committed is not None


def test_a_partition_that_comes_or_goes_is_no_burst() -> None:
    """One of twelve partitions is missing in the answers for a while: its offsets are no arrivals."""
    lag, partitions = PAST.lag.copy(), PAST.partitions.copy()
    assert PAST.committed is not None
    committed = PAST.committed.copy()
    committed[50:60] *= 11 / 12
    partitions[50:60] = 11
    history = history_of(replace(PAST, lag=lag, committed=committed, partitions=partitions))
    assert history.rates.max() == pytest.approx(history_of(PAST).rates.max(), rel=0.02)
    assert history.missing_share == pytest.approx(2 / 360, abs=0.001)


def test_offsets_that_begin_anew_are_no_negative_load() -> None:
    """A topic that was deleted and made again."""
    assert PAST.committed is not None
    committed = PAST.committed.copy()
    committed[200:] -= committed[200] - 5
    history = history_of(replace(PAST, committed=committed))
    assert history.rates.min() >= 0
    assert history.rates[199] == pytest.approx(100, rel=0.05)


def test_delays_are_those_of_the_oldest_record() -> None:
    """150/s are done of 400/s: after t seconds the oldest is t * 250/400 old."""
    delays = history_of(PAST).delays()
    assert delays[:118].max() < 61
    assert delays[140] == pytest.approx(20 * 60 * 250 / 400, rel=0.03)
    assert history_of(PAST).late_seconds(60) == pytest.approx(_late_seconds(history_of(PAST)), abs=121)


def _late_seconds(history: History) -> float:
    """By looking, for each point, at whether what is not committed contains a record of more than a minute ago."""
    arrived = np.concatenate([[0.0], np.cumsum(history.rates * history.step_seconds)])
    late = [
        arrived[at] - history.lag[at] < arrived[at - 1] - 1e-6
        for at in range(1, len(arrived))
    ]  # fmt: skip
    return sum(late) * history.step_seconds


def test_an_unknown_lag_is_no_lateness() -> None:
    lag = PAST.lag.copy()
    lag[130:170] = np.nan
    history = history_of(replace(PAST, lag=lag))
    assert np.isnan(history.delays()[130:170]).all()
    assert history.late_seconds(60) < history_of(PAST).late_seconds(60)


def test_the_model_counts_the_time_in_which_a_message_was_late() -> None:
    """Twice what one replica does for 300 s: a message of second a is done at 2a, so from 120 to 600 one is late."""
    world = World(topics=(1,), records_per_second=100.0, commit_seconds=1.0)
    burst = Trace("burst", np.array([0.0, 300.0]), np.array([200.0, 0.0]), 1200.0)
    outcome = planned(burst, replicas=1, world=world, promise=60.0)
    assert outcome.lateness.late_seconds == pytest.approx(480, abs=4)
    assert planned(burst, replicas=1, world=world, promise=301.0).lateness.late_seconds == 0


def test_late_time_at_two_moments_is_not_counted_twice() -> None:
    """Several partitions are late at once; a minute of that is a minute."""
    world = World(topics=(8,), records_per_second=100.0, commit_seconds=1.0)
    burst = Trace("burst", np.array([0.0, 300.0]), np.array([200.0, 0.0]), 1200.0)
    outcome = planned(burst, replicas=1, world=world, promise=60.0)
    assert outcome.lateness.late_seconds == pytest.approx(480, abs=10)


def test_replicas_are_counted_over_time() -> None:
    history = history_of(PAST)
    assert history.replica_steps() == ((0.0, 3), (2.5 * HOURS, 6))
    assert history.replica_hours() == pytest.approx(2.5 * 3 + 3.5 * 6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lag": np.full(361, np.nan)}, "0 s of this group's past"),
        ({"lag": np.where(np.arange(361) % 3 == 0, 1.0, np.nan), "committed": None, "arrivals": np.where(
            np.arange(361) % 3 == 0, 1.0, np.nan)}, "of the points"),
        ({"committed": np.full(361, 7.0), "lag": np.zeros(361)}, "nothing arrived"),
    ],
)  # fmt: skip
def test_too_little_of_a_past_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(BadTrace, match=says):
        history_of(replace(PAST, **change))  # type: ignore[arg-type]


async def test_a_group_is_found_under_the_names_of_its_exporter() -> None:
    """Only the exporter that answers is asked for more, and each answer lands on its time."""
    prometheus = FakePrometheus(START, 60, kafka_exporter(PAST))
    recorded = await collect(prometheus, Wanted(group="payments", start=START, end=START + 6 * HOURS, namespace="shop"))
    assert (recorded.exporter, recorded.step_seconds) == ("kafka_exporter (Strimzi's too)", 60)
    assert recorded.replicas_from == "kube_deployment_spec_replicas"
    np.testing.assert_allclose(recorded.lag, PAST.lag, atol=1e-5)
    assert recorded.committed is not None
    np.testing.assert_allclose(recorded.committed, PAST.committed, atol=1e-5)
    assert not any("kminion" in query for query in prometheus.asked)


async def test_the_step_is_no_finer_than_a_scrape() -> None:
    """Scraped each two minutes: a step of one would see each sample twice."""
    past = made(RUSH, WORLD, replicas=3, step=120)
    recorded = await collect(
        FakePrometheus(START, 120, kafka_exporter(past)),
        Wanted(group="g", start=START - 86_400, end=START + 6 * HOURS, namespace="shop"),
    )
    assert recorded.step_seconds == 120


async def test_long_pasts_are_asked_for_in_lots() -> None:
    """Prometheus gives at most 11,000 points at once; nothing is lost between the lots."""
    longest = []

    class Counting(FakePrometheus):
        async def __call__(self, query: str, *, start: float, end: float, step: float) -> str:
            longest.append(round((end - start) / step) + 1)
            return await super().__call__(query, start=start, end=end, step=step)

    wanted = Wanted(group="g", start=START, end=START + 6 * HOURS, namespace="shop", step_seconds=1)
    recorded = await collect(Counting(START, 60, kafka_exporter(PAST)), wanted)
    assert max(longest) == 10_000
    assert np.isfinite(recorded.lag).all()


async def test_a_group_that_nobody_knows_is_said_with_the_names_that_were_looked_for() -> None:
    with pytest.raises(BadTrace, match=r"'payments'.*kafka_consumergroup_lag.*--group"):
        await collect(FakePrometheus(START, 60, lambda _: None), Wanted(group="payments", start=START, end=START + 60))


async def test_a_target_of_several_namespaces_must_be_told_apart() -> None:
    """The maximum of two Deployments in two namespaces would be neither's count."""

    def series(query: str) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
        if query.startswith("count(count by (namespace"):
            return np.full(361, 2.0)
        return kafka_exporter(PAST)(query)

    with pytest.raises(BadTrace, match="--namespace"):
        await collect(FakePrometheus(START, 60, series), Wanted(group="g", start=START, end=START + 6 * HOURS))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("<html>", "not JSON"),
        ('{"status":"error","error":"parse error"}', "parse error"),
        ('{"status":"success","data":{"result":[{"values":[[1,"1"]]},{"values":[[1,"2"]]}]}}', "2 series"),
        ('{"status":"success","data":{"result":[{"value":[1,"1"]}]}}', "not one of a range query"),
    ],
)
async def test_answers_that_are_none_are_said(answer: str, says: str) -> None:
    async def ask(query: str, *, start: float, end: float, step: float) -> str:
        return answer

    with pytest.raises(BadTrace, match=says):
        await collect(ask, Wanted(group="g", start=START, end=START + 600))


def test_names_cannot_break_out_of_a_query() -> None:
    """A quote in a group's name stays one; a dot in a topic's is a dot."""
    wanted = Wanted(group='a"} or up{x="', start=0, end=1, topics=("orders.v1", "orders.v2"))
    for exporter in EXPORTERS[:-1]:
        assert r'="a\"} or up{x=\""' in discovery(exporter, wanted)
        assert "orders[.]v1|orders[.]v2" in queries(exporter, wanted).lag


def test_own_queries_replace_what_is_known() -> None:
    wanted = Wanted(group="g", start=0, end=1, arrivals_query="sum(rate(x[1m]))", replicas_query="max(y)")
    asked = queries(EXPORTERS[0], wanted)
    assert (asked.arrivals, asked.committed) == ("sum(rate(x[1m]))", None)
    assert [query for _, query in replicas(wanted)] == ["max(y)"]
