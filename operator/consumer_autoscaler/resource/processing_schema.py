"""The fields that say where to read how long one record takes: the pods themselves, or a Prometheus."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, StrictInt, model_validator

from consumer_autoscaler.resource.access_schema import SecretKeyName, SecretName, TlsSpec
from consumer_autoscaler.resource.schema_rules import Differ, Matches, Part, cel, cel_rules, refuse

_KIND = "exactly one kind of source must be set: `podMetrics` or `prometheus`"
_CUSTOM = "`metric` must be set with preset Custom, and only with it"
_QUERY = "`query` is in place of `preset` and `metric`"
_UNIT = "`unit` is for `query`; the unit of an own metric is in `metric`"
_ONE_LOGIN = "at most one of `bearerTokenSecretRef` and `basicAuthSecretRef` must be set"
_TLS = "`tls` is for an address that begins with https://"


class MetricsPreset(StrEnum):
    """Whose metric names are looked for."""

    AUTO = "Auto"
    CONVENTION = "Convention"
    OPEN_TELEMETRY = "OpenTelemetry"
    SPRING = "Spring"
    QUARKUS = "Quarkus"
    FAUST = "Faust"
    STREAMS = "Streams"
    JAVA_CLIENT = "JavaClient"
    CUSTOM = "Custom"


class MetricsPer(StrEnum):
    """What one measurement covers."""

    RECORD = "Record"
    BATCH = "Batch"


class MetricsUnit(StrEnum):
    """What a metric counts time in."""

    SECONDS = "Seconds"
    MILLISECONDS = "Milliseconds"
    MICROSECONDS = "Microseconds"
    NANOSECONDS = "Nanoseconds"

    @property
    def seconds(self) -> float:
        return {"Seconds": 1.0, "Milliseconds": 1e-3, "Microseconds": 1e-6, "Nanoseconds": 1e-9}[self.value]


class MetricLabelSpec(Part):
    name: Annotated[
        str,
        Field(min_length=1, max_length=128),
        Matches(r"[a-zA-Z_][a-zA-Z0-9_]*", "must be the name of a label: letters, digits and '_'"),
    ] = Field(description="The label's name.")
    value: Annotated[
        str,
        Field(min_length=1, max_length=256),
        Matches(r"[^\x00-\x1f\x7f]*", "must not contain control characters"),
    ] = Field(description="The value it must have.")


class CustomMetricSpec(Part):
    name: Annotated[
        str,
        Field(min_length=1, max_length=200),
        Matches(r"[a-zA-Z_:][a-zA-Z0-9_:]*", "must be the name of a metric: letters, digits, '_' and ':'"),
    ] = Field(description="A histogram or summary: its name without `_sum`, `_count` and `_bucket`.")
    unit: MetricsUnit | None = Field(
        default=None,
        description="What it counts in: Seconds, Milliseconds, Microseconds or Nanoseconds. When not set: Seconds.",
    )
    labels: Annotated[list[MetricLabelSpec], Differ("must have different names", by="name")] = Field(
        default_factory=list,
        max_length=8,
        description="Labels that its series must have, such as those of one consumer group. When not set: all series "
        "count.",
    )


_PRESET = (
    "Whose metric names to look for: OpenTelemetry, Spring, Quarkus, Faust, Streams (Kafka Streams), JavaClient (the "
    "Kafka client's own, an estimate), Convention for `kafka_consumer_processing_seconds`, or Custom for `metric`. "
    "Auto: the first of them that is there, without JavaClient and Custom. When not set: Auto."
)
_PER = "What one measurement covers: one Record, or the whole Batch of one poll. When not set: Record."
_METRIC = "For preset Custom: the application's own metric."


class PodMetricsSpec(Part):
    model_config = ConfigDict(
        json_schema_extra=cel("(has(self.preset) && self.preset == 'Custom') == has(self.metric)", _CUSTOM)
    )

    port: StrictInt = Field(ge=1, le=65_535, description="The port at which each pod of the target serves its metrics.")
    path: (
        Annotated[
            str,
            Field(min_length=1, max_length=256),
            Matches(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", "must be a path that begins with '/', without a query"),
        ]
        | None
    ) = Field(
        default=None,
        description="Where on that port, such as /actuator/prometheus (Spring) or /q/metrics (Quarkus). When not "
        "set: /metrics.",
    )
    preset: MetricsPreset | None = Field(default=None, description=_PRESET)
    per: MetricsPer | None = Field(default=None, description=_PER)
    metric: CustomMetricSpec | None = Field(default=None, description=_METRIC)

    @model_validator(mode="after")
    def _custom_has_a_metric(self) -> Self:
        if (self.preset is MetricsPreset.CUSTOM) != (self.metric is not None):
            refuse(_CUSTOM)
        return self


class BearerTokenSecretRef(Part):
    name: SecretName = Field(description="Name of a Secret in the namespace of this resource.")
    key: SecretKeyName | None = Field(default=None, description="The key that holds the token. When not set: `token`.")


class BasicAuthSecretRef(Part):
    name: SecretName = Field(description="Name of a Secret in the namespace of this resource.")
    username_key: SecretKeyName | None = Field(
        default=None, description="The key that holds the user name. When not set: `username`."
    )
    password_key: SecretKeyName | None = Field(
        default=None, description="The key that holds the password. When not set: `password`."
    )


class PrometheusSpec(Part):
    model_config = ConfigDict(
        json_schema_extra=cel_rules(
            ("(has(self.preset) && self.preset == 'Custom') == has(self.metric)", _CUSTOM),
            ("!has(self.query) || (!has(self.preset) && !has(self.metric))", _QUERY),
            ("!has(self.unit) || has(self.query)", _UNIT),
            ("!(has(self.bearerTokenSecretRef) && has(self.basicAuthSecretRef))", _ONE_LOGIN),
            ("!has(self.tls) || self.address.startsWith('https://')", _TLS),
        )
    )

    address: Annotated[
        str,
        Field(min_length=1, max_length=1024),
        Matches(
            r"https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~%/-]*)?",
            "must be http:// or https://, a host, and where needed a port and a path, without a user or a query",
        ),
    ] = Field(
        description="Where the API of a Prometheus is, such as http://prometheus.monitoring.svc:9090; with the path "
        "below which it lives, if any (/prometheus with Mimir). What speaks the same API will do. A login needs "
        "https://, unless the operator was started with --allow-passwords-without-tls."
    )
    preset: MetricsPreset | None = Field(default=None, description=_PRESET)
    per: MetricsPer | None = Field(
        default=None,
        description=_PER + " A `query` per Batch must give the time that all consumers spent on batches in each "
        "second, such as sum(rate(…_sum[1m])); it is divided by the records committed in each second.",
    )
    metric: CustomMetricSpec | None = Field(default=None, description=_METRIC)
    query: (
        Annotated[
            str,
            Field(min_length=1, max_length=4096),
            Matches(r"[^\x00-\x08\x0b-\x1f\x7f]*", "must not contain control characters"),
        ]
        | None
    ) = Field(
        default=None,
        description="An own query in PromQL in place of a preset. It must give one number: the mean time of a record.",
    )
    unit: MetricsUnit | None = Field(
        default=None,
        description="What `query` gives: Seconds, Milliseconds, Microseconds or Nanoseconds. When not set: Seconds.",
    )
    bearer_token_secret_ref: BearerTokenSecretRef | None = Field(
        default=None, description="Where the token is that the server wants."
    )
    basic_auth_secret_ref: BasicAuthSecretRef | None = Field(
        default=None, description="Where the user name and the password are that the server wants."
    )
    tls: TlsSpec | None = Field(
        default=None,
        description="Which CA to trust and which certificate to show. When not set: the CAs that the operator's "
        "system trusts, and none.",
    )
    timeout_seconds: StrictInt | None = Field(
        default=None, ge=1, le=10, description="Longest wait for one answer. When not set: 3."
    )

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if (self.preset is MetricsPreset.CUSTOM) != (self.metric is not None):
            refuse(_CUSTOM)
        if self.query is not None and (self.preset is not None or self.metric is not None):
            refuse(_QUERY)
        if self.unit is not None and self.query is None:
            refuse(_UNIT)
        if self.bearer_token_secret_ref is not None and self.basic_auth_secret_ref is not None:
            refuse(_ONE_LOGIN)
        if self.tls is not None and not self.address.startswith("https://"):
            refuse(_TLS)
        return self


class ProcessingTimeSourceSpec(Part):
    model_config = ConfigDict(json_schema_extra=cel("has(self.podMetrics) != has(self.prometheus)", _KIND))

    pod_metrics: PodMetricsSpec | None = Field(
        default=None, description="Read from the Prometheus metrics that the consumers' pods serve."
    )
    prometheus: PrometheusSpec | None = Field(
        default=None, description="Read from a Prometheus that scrapes the consumers' pods."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.pod_metrics is None) == (self.prometheus is None):
            refuse(_KIND)
        return self


class ProcessingTimeSpec(Part):
    sources: list[ProcessingTimeSourceSpec] = Field(
        min_length=1,
        max_length=3,
        description="Where to read it, in order of trust: the first that answers counts.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
