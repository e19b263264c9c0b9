"""`explain`: the whole way to a decision, for a person, from the status or from the running operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consumer_autoscaler.decision.bundle import Bundle
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.downs import price_replica_seconds
from consumer_autoscaler.decision.levels import Levels, levels_for
from consumer_autoscaler.decision.signals import Signals, signals_of
from consumer_autoscaler.decision.uneven import uneven_of
from consumer_autoscaler.decision.values import Decision, GroupKind, Scale, Unavailable

LEVELS_SHOWN = 5  # below and above the present count


def from_status(body: Mapping[str, Any]) -> str:
    """One screen from a resource as the API server gives it."""
    metadata, spec, status = (body.get(part) or {} for part in ("metadata", "spec", "status"))
    lines = [f"{metadata.get('namespace')}/{metadata.get('name')}", *_asked(spec)]
    if not status:
        return "\n".join([*lines, "", "No status yet: is the operator running?"])
    if status.get("observedGeneration") != metadata.get("generation"):
        lines.append("The status is of an earlier generation of the spec.")
    replicas, lag, rates = (status.get(part) or {} for part in ("replicas", "lag", "rates"))
    lines += [
        "",
        f"Replicas   {_of(replicas, 'current')} now, {_of(replicas, 'ready')} ready,"
        f" {_of(replicas, 'desired')} desired, {_of(replicas, 'recommended')} by demand",
        f"Lag        {_of(lag, 'messages')} messages, oldest waits {_of(lag, 'delaySeconds')} s,"
        f" {_of(lag, 'partitionsWithLag')} of {_of(lag, 'partitions')} partitions lag",
        f"Rates      {_of(rates, 'arrivalPerMinute')}/min arrive, {_of(rates, 'consumedPerMinute')}/min consumed,"
        f" {_of(rates, 'capacityPerReplicaPerMinute')}/min per replica",
        *_time_of_status(status.get("processingTime") or {}),
        *_learned(status),
        "",
        *_decision_of_status(status.get("decision") or {}),
        *_alerts(status),
        "",
        "Conditions",
    ]
    for condition in status.get("conditions") or ():
        lines.append(
            f"  {condition['type']:<15} {condition['status']:<8} {condition['reason']:<20} {condition['message']}"
        )
    return "\n".join(lines)


def from_bundle(bundle: Bundle) -> str:
    """One screen from the last bundle of the running operator; decides once more, with the same code."""
    decision = decide(bundle.policy, bundle.observation, bundle.history, bundle.now)
    scale = bundle.observation.scale
    present = f"{scale.replicas} replicas, {scale.ready} ready" if isinstance(scale, Scale) else scale.message
    lines = [f"Target     {present}", *_group_lines(bundle, decision), *_time_lines(bundle)]
    lines += [*_load_lines(bundle), ""]
    lines += [f"Decision   {decision.reason}: {decision.message}", *_steps(decision), *_level_lines(bundle)]
    lines += ["", "Conditions"]
    lines += [f"  {c.type:<15} {c.status:<8} {c.reason:<20} {c.message}" for c in decision.conditions]
    return "\n".join(lines)


def _signals(bundle: Bundle) -> tuple[Signals, Levels, int] | None:
    group, scale = bundle.observation.group, bundle.observation.scale
    if isinstance(group, Unavailable) or isinstance(scale, Unavailable) or bundle.policy.max_delay_seconds is None:
        return None
    ceiling = group.ceiling(bundle.history.ceiling)
    levels = levels_for(bundle.policy, ceiling, uneven_of(bundle.history.tracks, group))
    signals = signals_of(bundle.policy, bundle.history, group, scale.replicas, levels)
    return None if signals is None else (signals, levels, scale.replicas)


def _load_lines(bundle: Bundle) -> Iterator[str]:
    """What the decision made of the rates, where it is for a promise."""
    found = _signals(bundle)
    if found is None:
        return
    s, levels, _ = found
    kept = f", {s.ahead:.1f}/s of it kept ready" if s.ahead else ""
    yield (
        f"Load       {s.rate:.1f}/s to size for{kept}; {s.rate_minute:.1f}/s over a minute, {s.rate_long:.1f}/s over"
        f" five; chance {s.pattern.noise:.1f}/s, persistence {s.pattern.persistence:.2f}"
    )
    history = bundle.history
    uneven = f"; uneven: the fullest partition gets {max(levels.uneven.shares):.0%}" if levels.uneven else ""
    yield (
        f"Replica    {s.capacity.per_replica:.1f}/s, {s.capacity.source}; start {history.start_seconds:.0f} s,"
        f" rebalance {history.rebalance_seconds:.0f} s{uneven}"
    )


def _level_lines(bundle: Bundle) -> Iterator[str]:
    """The counts around the present one: what they carry, and how far their saving has paid for a down."""
    found = _signals(bundle)
    if found is None:
        return
    s, levels, replicas = found
    memory = {level.replicas: level for level in bundle.history.levels}
    below = [count for count in levels.counts if count <= replicas][-LEVELS_SHOWN:]
    yield ""
    yield "Levels     carries/s   virtual queue   wasted of its price, replica-s"
    for count in [*below, *[count for count in levels.counts if count > replicas][:LEVELS_SHOWN]]:
        line = f"  {count:>7} {s.sustained(levels, count):>11.1f}"
        if (past := memory.get(count)) is not None:
            line += f" {past.queue_messages:>15.0f}"
            if count < replicas:
                price = price_replica_seconds(bundle.policy, bundle.history, replicas, count)
                line += f"   {past.wasted_replica_seconds:.0f} of {price:.0f}"
        yield line + ("   now" if count == replicas else "")


def _asked(spec: Mapping[str, Any]) -> Iterator[str]:
    target = spec.get("targetRef") or {}
    objective = spec.get("objective") or {}
    yield (
        f"Scales     {target.get('kind', 'Deployment')} {target.get('name')},"
        f" {spec.get('minReplicas', 1)} to {spec.get('maxReplicas')} replicas, mode {spec.get('mode', 'Active')}"
    )
    if "maxDelaySeconds" in objective:
        yield f"Promise    no message waits longer than {objective['maxDelaySeconds']} s"
    else:
        yield f"Objective  {objective.get('lagPerReplica')} messages of lag per replica"


def _time_of_status(time: Mapping[str, Any]) -> Iterator[str]:
    if "meanMicroseconds" in time:
        named = {name: time.get(f"{name}Microseconds") for name in ("mean", "p50", "p95", "p99")}
        yield _time({name: value / 1e6 for name, value in named.items() if value is not None}, time.get("source", "?"))


def _time_lines(bundle: Bundle) -> Iterator[str]:
    time = bundle.observation.processing
    if isinstance(time, Unavailable):
        yield f"Time       unknown: {time.message}"
    elif time is not None:
        named = {
            "mean": time.seconds_per_record,
            "p50": time.p50_seconds,
            "p95": time.p95_seconds,
            "p99": time.p99_seconds,
        }
        yield _time({name: value for name, value in named.items() if value is not None}, time.source)


def _time(seconds: Mapping[str, float], source: str) -> str:
    percentiles = ", ".join(f"{name} {1000 * value:.3g} ms" for name, value in seconds.items() if name != "mean")
    shown = f" ({percentiles})" if percentiles else ""
    return f"Time       {1000 * seconds['mean']:.3g} ms per record{shown} by {source}"


def _learned(status: Mapping[str, Any]) -> Iterator[str]:
    learned = status.get("learned") or {}
    if learned:
        yield (
            f"Learned    {_of(learned, 'capacityPerReplicaPerMinute')}/min per replica,"
            f" {_of(learned, 'startSeconds')} s until a pod is ready, {_of(learned, 'rebalanceSeconds')} s rebalance"
        )


def _alerts(status: Mapping[str, Any]) -> Iterator[str]:
    firing = [f"{alert.get('name')} since {alert.get('sinceTime')}" for alert in status.get("alerts") or ()]
    if firing:
        yield f"Alerts     {', '.join(firing)}"


def _decision_of_status(decision: Mapping[str, Any]) -> Iterator[str]:
    yield f"Decision   {decision.get('reason', 'none yet')}: {decision.get('message', '')}"
    for step in decision.get("steps") or ():
        yield f"  {step['name']:<18} {step['replicas']:>4}   {step.get('message', '')}"


def _steps(decision: Decision) -> Iterator[str]:
    for step in decision.steps:
        yield f"  {step.name:<18} {step.replicas:>4}   {step.message}"


def _group_lines(bundle: Bundle, decision: Decision) -> Iterator[str]:
    group, f = bundle.observation.group, decision.figures
    if isinstance(group, Unavailable):
        yield f"Group      unknown: {group.reason}: {group.message}"
        return
    at_work = "any number" if group.kind is GroupKind.SHARE else group.partition_ceiling
    yield (
        f"Group      {group.kind}, {group.state}, {group.members} members ({group.idle_members} idle),"
        f" assignor {group.assignor}, {at_work} can have work"
    )
    yield f"Lag        {f.lag_messages} messages, oldest waits {_seconds(f.delay_seconds)}"
    yield (
        f"Rates      {_rate(f.arrival_per_second)} arrive, {_rate(f.consumed_per_second)} consumed,"
        f" {_rate(f.capacity_per_replica_per_second)} per replica"
    )


def _of(part: Mapping[str, Any], key: str) -> str:
    value = part.get(key)
    return "?" if value is None else str(value)


def _seconds(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f} s"


def _rate(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}/s"
