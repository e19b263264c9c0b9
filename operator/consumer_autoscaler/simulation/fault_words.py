"""Faults as written on the command line: KIND@SECOND[+DURATION][:VALUE]."""

from __future__ import annotations

import re

from consumer_autoscaler.simulation.world import Crash, Fault, PartitionsAdded, SlowDownstream, StuckPartition

_FORM = re.compile(r"(?P<kind>[a-z]+)@(?P<at>[0-9.]+)(\+(?P<seconds>[0-9.]+))?(:(?P<value>[0-9.]+))?")


def parse_fault(text: str, partitions: int) -> Fault:
    """Raises ValueError with what it must be. `partitions` is how many there are before any fault."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("must be KIND@SECOND[+DURATION][:VALUE], as in slow@600+300:0.5")
    at = float(found["at"])
    seconds = float(found["seconds"]) if found["seconds"] else None
    value = float(found["value"]) if found["value"] else None
    match found["kind"], seconds, value:
        case "slow", float(), float() if 0 < value <= 1:
            return SlowDownstream(at, seconds, factor=value)
        case "limit", float(), float() if value > 0:
            return SlowDownstream(at, seconds, limit_per_second=value)
        case "crash", None, None:
            return Crash(at)
        case "stuck", float(), float() if value < partitions and value.is_integer():
            return StuckPartition(at, seconds, int(value))
        case "partitions", None, float() if value > partitions and value.is_integer():
            return PartitionsAdded(at, int(value))
    raise ValueError(
        "must be one of slow@SECOND+DURATION:FACTOR (up to 1), limit@SECOND+DURATION:RATE, crash@SECOND,"
        f" stuck@SECOND+DURATION:PARTITION (below {partitions}), partitions@SECOND:COUNT (above {partitions})"
    )
