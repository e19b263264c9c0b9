"""The alerts of a spec: which of them fire, by what is known of lag and delay. The condition `AlertFiring`.

An alert fires when its figure has been above its threshold for its time, and is resolved when the figure is at 80 % of
the threshold or below, so that a lag around it is one alert and not many. A reading that failed says nothing: it
neither raises nor resolves, and the time goes on.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

from consumer_autoscaler.decision.history import AlertMemory, History
from consumer_autoscaler.decision.reasons import AlertReason, ConditionStatus, ConditionType
from consumer_autoscaler.decision.values import Alert, Condition, GroupReading, Observation, Policy, Unavailable

RESOLVED_SHARE = 0.8  # of the threshold


def watched(policy: Policy, history: History, observation: Observation) -> History:
    """The history with what this observation says about each alert; `history` has been advanced with it."""
    before = {memory.name: memory for memory in history.alerts}
    now: list[AlertMemory] = []
    for alert in policy.alerts:
        memory, figure = before.get(alert.name), _figure(alert, history, observation)
        if figure is not None:
            memory = _after(alert, memory or AlertMemory(alert.name), figure, observation.at)
        if memory is not None:
            now.append(memory)
    alerts = tuple(now)
    return history if alerts == history.alerts else replace(history, alerts=alerts)


def _after(alert: Alert, memory: AlertMemory, figure: float, at: float) -> AlertMemory:
    if figure > alert.threshold:
        since = at if memory.crossed_at is None else memory.crossed_at
        return replace(memory, crossed_at=since, firing=memory.firing or at - since >= alert.for_seconds)
    if memory.firing and figure > RESOLVED_SHARE * alert.threshold:
        return memory
    return AlertMemory(alert.name)


def _figure(alert: Alert, history: History, observation: Observation) -> float | None:
    """The figure that the alert is about, None while it is not known whether that is above the threshold."""
    group = observation.group
    if isinstance(group, Unavailable):
        return None
    if alert.lag_messages is None:
        return history.delay_seconds
    if any(p.lag_messages is None for p in group.partitions):
        return None
    if group.lag_is_upper_bound and group.lag_messages > alert.lag_messages:
        return None
    return group.lag_messages


def alert_firing(policy: Policy, observation: Observation, history: History) -> Condition | None:
    """Whether an alert fires: which, with the figure, and since when. None where the spec has no alerts."""
    if not policy.alerts:
        return None
    kind = ConditionType.ALERT_FIRING
    memory = {each.name: each for each in history.alerts}
    figures = {alert.name: _figure(alert, history, observation) for alert in policy.alerts}
    firing, waiting = [], []
    for alert in policy.alerts:
        seen = memory.get(alert.name)
        if seen is not None and seen.crossed_at is not None:
            words = _words(alert, figures[alert.name], seen.crossed_at)
            if seen.firing:
                firing.append(words)
            else:
                waiting.append(f"{words}, fires when that lasts {alert.for_seconds} s")
    if firing:
        return Condition(kind, ConditionStatus.TRUE, AlertReason.THRESHOLD_CROSSED, "; ".join(firing))
    if None in figures.values():
        why = observation.group.message if isinstance(observation.group, Unavailable) else "the lag is not known"
        return Condition(kind, ConditionStatus.UNKNOWN, AlertReason.LAG_UNKNOWN, "; ".join([why, *waiting]))
    says = "; ".join(waiting) or _below(history, observation)
    return Condition(kind, ConditionStatus.FALSE, AlertReason.WITHIN_THRESHOLDS, says)


def _words(alert: Alert, figure: float | None, since: float) -> str:
    if alert.lag_messages is not None:
        now = "the lag is not known now" if figure is None else f"the lag is {figure:.0f} messages"
        threshold = f"{alert.lag_messages} messages"
    else:
        now = "the delay is not known now" if figure is None else f"the oldest message waits {figure:.0f} s"
        threshold = f"{alert.delay_seconds} s"
    return f"{alert.name}: {now}, more than {threshold} since {_time(since)}"


def _below(history: History, observation: Observation) -> str:
    messages = observation.group.lag_messages if isinstance(observation.group, GroupReading) else 0
    oldest = "" if history.delay_seconds is None else f", the oldest message waits {history.delay_seconds:.0f} s"
    return f"no alert: the lag is {messages} messages{oldest}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(math.ceil(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
