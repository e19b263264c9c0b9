"""The rows of the fleet's dashboard about the operator's process: how it reads Kafka, and how it is itself."""

from __future__ import annotations

from dashboards.model import BLUE, GREEN, GREY, RED, Panel, Query, in_words, lines, states, table

P = "consumer_autoscaler_"
IN = 'namespace=~"$namespace"'
OF = 'job=~"$job"'
RATE = "$__rate_interval"
RUNS = {1: ("yes", GREEN)}


def _quantiles(series: str) -> tuple[Query, ...]:
    return tuple(
        Query(f"histogram_quantile({part}, sum by (le) (rate({P}{series}_bucket{{{OF}}}[{RATE}])))", word)
        for part, word in ((0.5, "median"), (0.95, "95th percentile"), (0.99, "99th percentile"))
    )


def kafka() -> list[Panel]:
    """How its groups are read."""
    return [
        lines(
            "Readings",
            "Of consumer groups, by their result: Valid, or why not.",
            Query(f"sum by (result) (rate({P}source_readings_total{{{OF}}}[{RATE}])) > 0", "{{result}}"),
            unit="ops",
            stacked=True,
        ),
        lines(
            "Readings that failed",
            "By the reason of SourceHealthy, in the namespaces that were chosen.",
            Query(f"sum by (reason) (rate({P}source_errors_total{{{IN}}}[{RATE}]))", "{{reason}}"),
            unit="ops",
            stacked=True,
        ),
        lines(
            "How long requests to Kafka take",
            "Failed ones and time-outs are among them.",
            *_quantiles("source_request_duration_seconds"),
            unit="s",
        ),
        lines(
            "Requests to Kafka",
            "By Kafka's name for them. They grow with the brokers, not with the groups.",
            Query(f"sum by (kind) (rate({P}kafka_requests_total{{{OF}}}[{RATE}]))", "{{kind}}"),
            unit="reqps",
            stacked=True,
        ),
        lines(
            "Polls are late by",
            "How much later than planned the last shared reading began.",
            Query(f"max by (instance) ({P}poll_lateness_seconds{{{OF}}})", "{{instance}}"),
            unit="s",
            steps=((None, GREEN), (5, RED)),
        ),
        lines(
            "Connections to brokers",
            "Open now.",
            Query(f"sum by (instance) ({P}kafka_connections{{{OF}}})", "{{instance}}"),
        ),
    ]


def operator() -> list[Panel]:
    """How the process itself is, and what it asks of the API server."""
    return [
        states(
            "Who leads",
            "Exactly one at any time; the others stand by.",
            Query(f"max by (instance) ({P}operator_leader{{{OF}}})", "{{instance}}"),
            {1: ("leads", GREEN), 0: ("stands by", GREY)},
            height=6,
        ),
        states(
            "Health",
            "What /readyz and /healthz say.",
            Query(f"max by (instance) ({P}operator_health_status{{{OF}}})", "{{instance}}"),
            {0: ("well", GREEN), 1: ("not ready yet", BLUE), 2: ("sick", RED)},
            height=6,
        ),
        lines(
            "Cycles",
            "One for each resource and reading: success or error.",
            Query(f"sum by (result) (rate({P}reconcile_total{{{OF}}}[{RATE}]))", "{{result}}"),
            unit="ops",
        ),
        lines(
            "How long a cycle takes",
            "From the reading of the group to the end of the report.",
            *_quantiles("reconcile_time_seconds"),
            unit="s",
        ),
        lines(
            "Requests to the API server",
            "By verb and answer. At rest there are almost none.",
            Query(f"sum by (verb, code) (rate({P}kube_requests_total{{{OF}}}[{RATE}]))", "{{verb}} {{code}}"),
            unit="reqps",
        ),
        lines(
            "How long the API server takes",
            "95th percentile for each verb, watches excepted.",
            Query(
                f"histogram_quantile(0.95, sum by (le, verb)"
                f" (rate({P}kube_request_duration_seconds_bucket{{{OF}}}[{RATE}])))",
                "{{verb}}",
            ),
            unit="s",
        ),
        lines(
            "The event loop was held up for",
            "The longest time in the last minute. Everything else waits meanwhile.",
            Query(f"max by (instance) ({P}event_loop_lag_seconds{{{OF}}})", "{{instance}}"),
            unit="s",
        ),
        lines(
            "All resources were listed",
            "So long ago. Beside the watch they are listed again and again, so that"
            " nothing that it missed is missed for long.",
            Query(f"time() - max by (instance) ({P}resources_listed_timestamp_seconds{{{OF}}})", "{{instance}}"),
            unit="s",
        ),
        lines(
            "CPU",
            "Cores that are used.",
            Query(f"sum by (instance) (rate(process_cpu_seconds_total{{{OF}}}[{RATE}]))", "{{instance}}"),
        ),
        lines(
            "Memory",
            "Resident.",
            Query(f"sum by (instance) (process_resident_memory_bytes{{{OF}}})", "{{instance}}"),
            unit="bytes",
        ),
        table(
            "Versions",
            "What runs where.",
            {"Running": Query(f"max by (instance, job, version) ({P}build_info{{{OF}}})", instant=True)},
            renamed={"instance": "Instance", "job": "Operator", "version": "Version"},
            overrides=[in_words("Running", RUNS)],
            height=5,
        ),
    ]
