"""`simulate --prometheus`: what is asked for by the options, and what the answers give to replay."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from consumer_autoscaler.resource.spec import KIND, Resource
from consumer_autoscaler.simulation.history import History, Recorded, history_of
from consumer_autoscaler.simulation.history_fit import Capacity, NotFitted, fit_capacity
from consumer_autoscaler.simulation.history_queries import Wanted
from consumer_autoscaler.simulation.option_values import WrongUse, document, positive, resource_of
from consumer_autoscaler.simulation.run import DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is replayed. `capacity` is None where it was given and not fitted, and then `not_fitted` may say why."""

    group: str
    history: History
    partitions: int
    capacity: Capacity | None
    not_fitted: str | None
    records_per_second: float  # of one replica

    @property
    def steps(self) -> tuple[tuple[float, int], ...]:
        return self.history.replica_steps()


def past_of(options: argparse.Namespace, resource: Resource | None, recorded: Recorded) -> Past:
    """Raises BadTrace, and WrongUse where something is not in the answers and must be given as an option."""
    history = history_of(recorded)
    group = options.group or (resource.kafka.consumer_group if resource is not None else "")
    partitions = options.partitions or history.partitions
    if partitions < 1:
        raise WrongUse("how many partitions the group reads is not in Prometheus: give --partitions")
    expected = None if resource is None else resource.policy.expected_records_per_second
    given = options.capacity or expected
    consumers = 1 if resource is None else resource.policy.consumers_per_pod
    fitted = fit_capacity(history, partitions=partitions, consumers_per_pod=consumers)
    if given is not None and (options.capacity is not None or isinstance(fitted, NotFitted)):
        why = fitted.why if isinstance(fitted, NotFitted) else None
        rate = positive("--capacity", given)
        return Past(group=group, history=history, partitions=partitions, capacity=None, not_fitted=why,
                    records_per_second=rate)  # fmt: skip
    if isinstance(fitted, NotFitted):
        raise WrongUse(_not_fitted(fitted, history, recorded, options.target or group))
    return Past(group=group, history=history, partitions=partitions, capacity=fitted, not_fitted=None,
                records_per_second=fitted.records_per_second)  # fmt: skip


def _not_fitted(fitted: NotFitted, history: History, recorded: Recorded, target: str) -> str:
    """What is missing to know what a replica can do, and the option that tells it."""
    said = f"what a replica can do cannot be told from {history.seconds / DAY_SECONDS:.1f} days: {fitted.why}."
    if recorded.replicas_from is None:
        said += (
            f" Neither kube-state-metrics nor consumer-autoscaler tells the replicas of {target}: name the Deployment"
            " with --target and --namespace, or give --replicas-query."
        )
    if fitted.at_least is not None:
        said += f" One replica did {fitted.at_least:.3g} records/s at most, so it can do at least that."
    return said + " Give --capacity (records/s of a replica that always has work), or more --days"


def wanted(options: argparse.Namespace, now: float) -> Wanted:
    """What to ask Prometheus for, by the options and the resource, where there is one. `now` in seconds since 1970.

    Raises WrongUse.
    """
    _sort_arguments(options)
    if (options.first, options.last, options.amplitude) != (None, None, None):
        raise WrongUse("--from, --to and --amplitude are for a TRACE: with --prometheus choose the time by --days")
    resource = resource_of(options)
    group = options.group or (resource.kafka.consumer_group if resource is not None else None)
    if group is None:
        raise WrongUse("--prometheus: say which consumer group with --group, or give a resource that names it")
    metadata = document(options.resource, KIND).get("metadata") if resource is not None else None
    given = metadata.get("namespace") if isinstance(metadata, dict) else None
    return Wanted(
        group=group,
        start=now - positive("--days", options.days) * DAY_SECONDS,
        end=now,
        topics=tuple(options.topic) or (tuple(resource.kafka.topics) if resource is not None else ()),
        namespace=options.namespace or given,
        target=options.target or (resource.target.name if resource is not None else None),
        arrivals_query=options.query,
        replicas_query=options.replicas_query,
        step_seconds=None if options.step is None else positive("--step", options.step),
    )


def _sort_arguments(options: argparse.Namespace) -> None:
    """With --prometheus there is no TRACE: the one argument that may be there is the resource."""
    if options.trace is None:
        return
    if options.resource is not None:
        raise WrongUse(f"{options.trace}: with --prometheus the load comes from there, leave TRACE out")
    options.resource, options.trace = Path(options.trace), None
