"""From what consumers did in an interval to the time one record takes: the rules that all sources share. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.increase import Increase, percentile

GOOD_FOR_INTERVALS = 5  # how long a mean stands in while nothing is processed
LEAST_SECONDS_PER_RECORD = 1e-9  # outside these the metric is in another unit or made up
MOST_SECONDS_PER_RECORD = 86_400.0


def processing_time(
    moved: Increase, records: float, *, metric: str, unit_seconds: float, batch: bool, source: str, at: float
) -> ProcessingTime | Unavailable:
    """The mean over `records`, finite and above zero, and the percentiles where `moved` has sound buckets.

    `moved` is in the metric's unit. With `batch` its observations are batches: the time of one divided by its mean
    size would be no percentile of records, so there are none.
    """
    seconds = moved.total * unit_seconds / records
    if not LEAST_SECONDS_PER_RECORD <= seconds <= MOST_SECONDS_PER_RECORD:
        return unavailable(f"{metric} says {seconds:.3g} s per record, which cannot be")

    def at_share(share: float) -> float | None:
        value = None if batch else percentile(share, moved.buckets)
        if value is None or value * unit_seconds > MOST_SECONDS_PER_RECORD:
            return None
        return value * unit_seconds

    return ProcessingTime(
        at=at,
        seconds_per_record=seconds,
        records=records,
        p50_seconds=at_share(0.5),
        p95_seconds=at_share(0.95),
        p99_seconds=at_share(0.99),
        source=source,
    )


def when_idle(
    good: ProcessingTime | None, *, committed: bool, who: str, interval_seconds: float, at: float
) -> ProcessingTime | Unavailable | None:
    """What to say while the metric counts nothing: the last mean for GOOD_FOR_INTERVALS, then nothing.

    An idle group is no failure; one that has `committed` records while its metric stands still is.
    """
    if good is not None and at - good.at <= GOOD_FOR_INTERVALS * interval_seconds:
        return good
    return unavailable(f"records were committed, but the metrics of {who}") if committed else None


def unavailable(message: str) -> Unavailable:
    """Every source of processing time fails for the same reason; the message says what and whose remedy it is."""
    return Unavailable(SourceReason.PROCESSING_TIME_UNAVAILABLE, message)


def named(names: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
