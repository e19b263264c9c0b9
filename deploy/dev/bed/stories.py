"""The stories that `make demo` plays: what is put up, the load, and what the operator has to show.

Each verdict names what it did not show; an empty list means that all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bed.pace import Pace
from bed.scenario import PARTITIONS, Sample, Setting, Summary

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`profile`: (seconds, records per second) points, linear between them."""

    setting: Setting
    profile: Points
    title: str
    well: str  # what the last line says when all is well
    verdict: Callable[[Sequence[Sample], Summary], list[str]]


# The load rises to ten times its base and falls again.
BASE, PEAK = 80.0, 800.0  # records per second
PROFILE: Points = ((0.0, BASE), (25.0, BASE), (75.0, PEAK), (165.0, PEAK), (190.0, BASE), (325.0, BASE))
CAUGHT_UP_LAG = 4 * BASE  # what is committed within a few seconds is no backlog


def _telemetry_verdict(_: Sequence[Sample], summary: Summary) -> list[str]:
    checks = {
        "the group was not scaled up": summary.replicas_most > summary.replicas_first,
        f"{summary.late_share:.3%} of the messages were late": summary.late_share == 0,
        f"the group has not caught up: {summary.lag_last} messages of lag": summary.lag_last is not None
        and summary.lag_last <= CAUGHT_UP_LAG,
        f"it did not come back: {summary.replicas_last} replicas": abs(summary.replicas_last - summary.replicas_first)
        <= 1,
        f"{summary.replicas_most} replicas are more than there are partitions": summary.replicas_most <= PARTITIONS,
        "nothing was consumed": summary.records > 0,
    }
    return _missing(checks)


# Payments, one at a time, each of them 50 to 2000 ms; the mean wanders from 0.1 s to 0.45 s and back while about as
# many arrive. At the slowest, 12 replicas carry 26/s.
_PAYMENTS_LOAD: Points = ((0.0, 14.0), (150.0, 18.0), (300.0, 15.0), (540.0, 14.0))
_PAYMENTS_PACE: Points = ((0.0, 0.10), (60.0, 0.10), (150.0, 0.45), (270.0, 0.40), (330.0, 0.12), (540.0, 0.10))
MOST_TURNS = 1  # up while records take longer, then down: one change of direction


def _payments_verdict(samples: Sequence[Sample], summary: Summary) -> list[str]:
    checks = {
        "the group was not scaled up": summary.replicas_most > summary.replicas_first,
        f"{summary.late_share:.3%} of the payments were late, and maxReplicas carry them": summary.late_share == 0,
        f"it thrashed: {turns(samples)} changes of direction in {summary.scalings} scalings": turns(samples)
        <= MOST_TURNS,
        f"it did not come back: still {summary.replicas_last} replicas": summary.replicas_last < summary.replicas_most,
        "nothing was consumed": summary.records > 0,
    }
    return _missing(checks)


def turns(samples: Sequence[Sample]) -> int:
    """How often the replicas went the other way than the time before."""
    counts = [sample.replicas for sample in samples]
    ways = [after > before for before, after in pairwise(counts) if after != before]
    return sum(1 for before, after in pairwise(ways) if before != after)


# A tenth of 10,000 records/s, which one machine can do. The database behind all consumers takes half of them.
_ARRIVING, _DATABASE = 1000.0, 500.0
_OWN_RATE = 250.0  # records per second of a consumer, apart from the database
_SHARED_LOAD: Points = ((0.0, 100.0), (40.0, 100.0), (70.0, _ARRIVING), (360.0, _ARRIVING))
MOST_PROBES = 1


def _shared_limit_verdict(samples: Sequence[Sample], summary: Summary) -> list[str]:
    last = samples[-1].backpressured
    tried = probes(samples)
    checks = {
        f"it ends with {last or 'no reason'}, not with SlowDownstream": last == "SlowDownstream",
        f"{tried} ups that could not help": tried <= MOST_PROBES,
        "nothing was consumed": summary.records > 0,
    }
    return _missing(checks)


def probes(samples: Sequence[Sample]) -> int:
    """Ups from a count whose consumers could do without the database what the database takes, or more."""
    enough = _DATABASE / (1 / (1 / _OWN_RATE + 1 / _DATABASE))
    counts = [sample.replicas for sample in samples]
    return sum(1 for before, after in pairwise(counts) if after > before >= enough)


def _missing(checks: dict[str, bool]) -> list[str]:
    return [problem for problem, holds in checks.items() if not holds]


STORIES = {
    "telemetry": Story(
        setting=Setting(),
        profile=PROFILE,
        title="Ten times the load and back, with a promise of 60 s",
        well="the promise was kept, and the group came down again",
        verdict=_telemetry_verdict,
    ),
    "payments": Story(
        setting=Setting(
            name="payments",
            topic="payments.accepted",
            partitions=24,
            max_replicas=12,
            start_replicas=2,
            rate_per_replica=10.0,
            batch=1,
            pod_metrics=True,
            pace=Pace(seconds_per_record=0.1, spread=0.6, least_seconds=0.05, most_seconds=2.0),
            pace_points=_PAYMENTS_PACE,
        ),
        profile=_PAYMENTS_LOAD,
        title="Payments that take 50 to 2000 ms, changing under way, with a promise of 60 s",
        well="the promise was kept while records took four times as long, without going to and fro",
        verdict=_payments_verdict,
    ),
    "shared-limit": Story(
        setting=Setting(
            name="order-writer",
            topic="orders.placed",
            partitions=24,
            max_replicas=24,
            rate_per_replica=_OWN_RATE,
            pod_metrics=True,
            database_per_second=_DATABASE,
        ),
        profile=_SHARED_LOAD,
        title=f"{_ARRIVING:.0f} records/s in front of one database that takes {_DATABASE:.0f}",
        well="it says SlowDownstream, and has stopped to add replicas that cannot help",
        verdict=_shared_limit_verdict,
    ),
}
