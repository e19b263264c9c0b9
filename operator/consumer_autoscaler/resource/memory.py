"""What survives a restart of the operator: the part of the history that is kept in `status`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from consumer_autoscaler.decision.advance import resumed
from consumer_autoscaler.decision.effect import LONGEST_BACK_OFF_SECONDS, slow_downstream
from consumer_autoscaler.decision.history import AlertMemory, History, Useless
from consumer_autoscaler.resource.status_schema import MAX_ALERTS, MAX_NUMBER


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Measured values only, no priors: None is not known yet."""

    capacity_per_replica_per_second: float | None = None
    start_seconds: float | None = None
    rebalance_seconds: float | None = None
    last_scale_at: float | None = None  # seconds since the epoch
    useless: Useless | None = None  # the up that brought nothing, while that is why the group is behind
    alerts: tuple[AlertMemory, ...] = ()  # those that fire

    def history(self) -> History:
        """The history a new process starts with: what was learned, and nothing that it has not seen itself."""
        history = resumed(
            capacity_per_replica=self.capacity_per_replica_per_second,
            start_seconds=self.start_seconds,
            rebalance_seconds=self.rebalance_seconds,
            changed_at=self.last_scale_at,
            useless=self.useless,
        )
        return replace(history, alerts=self.alerts)


def learned_of(history: History) -> Learned:
    """What of a history is worth keeping."""
    return Learned(
        capacity_per_replica_per_second=history.capacity_per_replica,
        start_seconds=history.start_seconds if history.start_seconds_seen else None,
        rebalance_seconds=history.rebalance_seconds if history.rebalance_seconds_seen else None,
        last_scale_at=history.scaled_at,
        useless=slow_downstream(history),
        alerts=tuple(alert for alert in history.alerts if alert.firing),
    )


def learned_from(status: Mapping[str, Any], now: float) -> Learned:
    """What a status tells. Never raises: what is not there, or is not as it should be, is not known.

    A last scaling in the future (a clock was set back) counts as just now, so that no cooldown lasts for ever.
    """
    learned = status.get("learned")
    if not isinstance(learned, Mapping):
        learned = {}
    capacity_per_minute = _positive(learned.get("capacityPerReplicaPerMinute"))
    last_scale_at = epoch(status.get("lastScaleTime"))
    return Learned(
        capacity_per_replica_per_second=None if capacity_per_minute is None else capacity_per_minute / 60,
        start_seconds=_positive(learned.get("startSeconds")),
        rebalance_seconds=_positive(learned.get("rebalanceSeconds")),
        last_scale_at=None if last_scale_at is None else min(last_scale_at, now),
        useless=_useless(status.get("ineffective"), now),
        alerts=tuple(_alerts(status.get("alerts"), now)),
    )


def useless_part(useless: Useless) -> dict[str, int | str | bool]:
    """As it is written in `status.ineffective`."""
    return {
        "untilTime": rfc3339(useless.until),
        "times": useless.times,
        "keepReplicas": useless.keep,
        "fromReplicas": useless.from_replicas,
        "toReplicas": useless.to_replicas,
        "perMinuteBefore": round(60 * useless.per_second_before),
        "perMinute": round(60 * useless.per_second),
        "confirmed": useless.confirmed,
    }


def alerts_part(alerts: Sequence[AlertMemory]) -> list[dict[str, str]]:
    """As they are written in `status.alerts`."""
    return [{"name": alert.name, "sinceTime": rfc3339(alert.crossed_at or 0.0)} for alert in alerts]


def _alerts(part: object, now: float) -> Iterator[AlertMemory]:
    """That they fired survives a restart, or a restart would resolve them and raise them anew."""
    for each in part[:MAX_ALERTS] if isinstance(part, list) else ():
        name, since = (each.get("name"), epoch(each.get("sinceTime"))) if isinstance(each, Mapping) else (None, None)
        if isinstance(name, str) and since is not None:
            yield AlertMemory(name, min(since, now), firing=True)


def _useless(part: object, now: float) -> Useless | None:
    if not isinstance(part, Mapping):
        return None
    until = epoch(part.get("untilTime"))
    names = ("times", "keepReplicas", "fromReplicas", "toReplicas", "perMinuteBefore", "perMinute")
    numbers = [_positive(part.get(name)) for name in names]
    if until is None or any(number is None for number in numbers):
        return None
    times, keep, before, after, per_minute_before, per_minute = (number or 0.0 for number in numbers)
    return Useless(
        since=now,
        until=min(until, now + LONGEST_BACK_OFF_SECONDS),
        times=int(times),
        keep=int(keep),
        from_replicas=int(before),
        to_replicas=int(after),
        per_second_before=per_minute_before / 60,
        per_second=per_minute / 60,
        confirmed=part.get("confirmed") is True,
    )


def rfc3339(at: float) -> str:
    """A time as Kubernetes writes it, in whole seconds, rounded up: a cooldown is never cut short by it."""
    return datetime.fromtimestamp(math.ceil(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch(time: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None when it is none."""
    if not isinstance(time, str):
        return None
    try:
        parsed = datetime.fromisoformat(time)
    except ValueError:
        return None
    return parsed.timestamp() if parsed.tzinfo is not None else None


def _positive(value: object) -> float | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_NUMBER:
        return float(value)
    return None
