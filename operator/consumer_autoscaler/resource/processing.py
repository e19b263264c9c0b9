"""Where a resource says that the time per record is told, as values to work with. Secrets are named, not read."""

from __future__ import annotations

from dataclasses import dataclass

from consumer_autoscaler.resource.access import SecretKey, TlsAccess, secret_keys, tls_access
from consumer_autoscaler.resource.processing_schema import (
    CustomMetricSpec,
    MetricsPer,
    MetricsPreset,
    MetricsUnit,
    PodMetricsSpec,
    ProcessingTimeSpec,
    PrometheusSpec,
)


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """A histogram or summary of the application's own, by its base name."""

    name: str
    unit_seconds: float = 1.0
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PodMetrics:
    """The consumers' pods say how long a record takes, and in whose words."""

    port: int
    preset: MetricsPreset = MetricsPreset.AUTO
    per: MetricsPer = MetricsPer.RECORD
    path: str = "/metrics"
    own: OwnMetric | None = None  # with preset Custom


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A Prometheus says it: by a preset, or, where there is a `query`, by that. At most one login."""

    address: str
    preset: MetricsPreset = MetricsPreset.AUTO
    per: MetricsPer = MetricsPer.RECORD
    own: OwnMetric | None = None
    query: str = ""
    unit_seconds: float = 1.0  # of the query's result
    token: SecretKey | None = None
    username: SecretKey | None = None
    password: SecretKey | None = None
    tls: TlsAccess | None = None
    timeout_seconds: int = 3


ProcessingSource = PodMetrics | Prometheus


def processing_sources(spec: ProcessingTimeSpec | None) -> tuple[ProcessingSource, ...]:
    """In the user's order of trust."""
    found: list[ProcessingSource] = []
    for source in spec.sources if spec else ():
        if source.pod_metrics is not None:
            found.append(_pods(source.pod_metrics))
        elif source.prometheus is not None:
            found.append(_prometheus(source.prometheus))
    return tuple(found)


def _pods(spec: PodMetricsSpec) -> PodMetrics:
    return PodMetrics(
        port=spec.port,
        preset=spec.preset or MetricsPreset.AUTO,
        per=spec.per or MetricsPer.RECORD,
        path=spec.path or "/metrics",
        own=_own(spec.metric),
    )


def _prometheus(spec: PrometheusSpec) -> Prometheus:
    token, basic = spec.bearer_token_secret_ref, spec.basic_auth_secret_ref
    return Prometheus(
        address=spec.address,
        preset=spec.preset or MetricsPreset.AUTO,
        per=spec.per or MetricsPer.RECORD,
        own=_own(spec.metric),
        query=spec.query or "",
        unit_seconds=(spec.unit or MetricsUnit.SECONDS).seconds,
        token=SecretKey(token.name, secret_keys(token.key, "token")) if token else None,
        username=SecretKey(basic.name, secret_keys(basic.username_key, "username")) if basic else None,
        password=SecretKey(basic.name, secret_keys(basic.password_key, "password")) if basic else None,
        tls=tls_access(spec.tls) if spec.tls else None,
        timeout_seconds=spec.timeout_seconds or 3,
    )


def _own(spec: CustomMetricSpec | None) -> OwnMetric | None:
    if spec is None:
        return None
    labels = tuple((label.name, label.value) for label in spec.labels)
    return OwnMetric(spec.name, (spec.unit or MetricsUnit.SECONDS).seconds, labels)
