"""How old the oldest unprocessed record of a partition is, by its timestamp, found without reading it.

The question of ages.py (is some unprocessed record older than X?) is put for doubling ages until the answer is no, and
then by bisection between the last two. All partitions share a request per leader and round. Some twenty searches of a
time index each: for a person's question, not for every poll.
"""

from __future__ import annotations

from collections.abc import Mapping

from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.offsets import read_at_times
from consumer_autoscaler.sources.kafka.topology import Topology
from consumer_autoscaler.sources.kafka.wire import requests as wire

_FIRST_SECONDS, _MOST_SECONDS = 1.0, 3.2e8  # ten years: beyond it a timestamp is no time
_ENOUGH_SECONDS, _ENOUGH_SHARE = 0.05, 0.005

Key = tuple[str, int]  # topic, partition


async def oldest_seconds(
    brokers: Brokers, topology: Topology, positions: Mapping[Key, int], *, at: float, committed: bool
) -> dict[Key, float]:
    """By partition, at wall time `at`: the age of the record at its position, exact to 0.05 s or 0.5 %.

    `positions` are the offsets of first unprocessed records that exist. A partition whose leader does not answer is
    left out; a record with a timestamp in the future is 0 s old.
    """
    below = dict.fromkeys(positions, 0.0)  # an age that the record has reached
    above = dict.fromkeys(positions, _FIRST_SECONDS)  # one that is still to be tried, or that it has not reached
    bounded: set[Key] = set()
    found: dict[Key, float] = {}
    while open_keys := [key for key in positions if key not in found]:
        ask = {key: (below[key] + above[key]) / 2 if key in bounded else above[key] for key in open_keys}
        times: dict[str, dict[int, int]] = {}
        for (topic, partition), age in ask.items():
            times.setdefault(topic, {})[partition] = round((at - age) * 1000)
        answers = await read_at_times(brokers, topology, times, committed=committed)
        for key, age in ask.items():
            if key not in answers:
                found[key] = float("nan")
            elif answers[key] == wire.NOT_FOUND or positions[key] < answers[key]:  # older than that
                below[key] = age
                if key not in bounded:
                    above[key] = 2 * age
            else:
                above[key] = age
                bounded.add(key)
            width = above[key] - below[key]
            if key in bounded and width <= max(_ENOUGH_SECONDS, _ENOUGH_SHARE * above[key]):
                found[key] = (below[key] + above[key]) / 2 if below[key] else 0.0
            elif above[key] > _MOST_SECONDS:
                found[key] = float("nan")
    return {key: age for key, age in found.items() if age == age}
