"""How long one record takes, read from a Prometheus.

What is asked is in promql, what the answers mean in prometheus_reading.
"""

from __future__ import annotations

from dataclasses import dataclass

from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.measured import unavailable
from consumer_autoscaler.sources.pod_pages import LONGEST_INTERVAL_SECONDS, Per
from consumer_autoscaler.sources.presets import CustomMetric, presets_named
from consumer_autoscaler.sources.prometheus_http import PrometheusFailed, PrometheusHttp, Server
from consumer_autoscaler.sources.prometheus_reading import (
    ConsumptionRate,
    Memory,
    choose,
    conclude,
    conclude_query,
)
from consumer_autoscaler.sources.promql import Scope, discovery, reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a resource wants to know: a preset's metric, or the result of its own query in `unit_seconds`."""

    preset: str
    per: Per
    custom: CustomMetric | None = None
    query: str = ""
    unit_seconds: float = 1.0


class PrometheusMetrics:
    """Reads for many resources. One per process: it bounds all their connections."""

    def __init__(self, http: PrometheusHttp | None = None) -> None:
        self._http = http or PrometheusHttp()
        self._memories: dict[str, tuple[tuple[str, Ask, Scope], Memory]] = {}

    async def read(
        self,
        *,
        key: str,
        server: Server,
        ask: Ask,
        scope: Scope,
        consumption_rate: ConsumptionRate,
        ready_pods: int,
        at: float,
    ) -> ProcessingTime | Unavailable | None:
        """The mean over the last minute or, where pods are scraped seldom, over a few scrapes. Never raises.

        While no record is processed the last mean is given again, with its own `at`, for GOOD_FOR_INTERVALS
        intervals, then None. Takes two answers at most, three where the metric has changed. ValueError for an unknown
        preset.
        """
        presets = () if ask.query else presets_named(ask.preset, ask.custom)
        asked = (server.address, ask, scope)
        known = self._memories.get(key)
        memory = known[1] if known is not None and known[0] == asked else Memory()
        self._memories[key] = (asked, memory)
        if memory.read_at is not None and at > memory.read_at:
            memory.interval_seconds = min(at - memory.read_at, LONGEST_INTERVAL_SECONDS)
        memory.read_at = at
        try:
            if ask.query:
                entries = await self._http.query(server, ask.query)
                return conclude_query(
                    entries,
                    unit_seconds=ask.unit_seconds,
                    batch=ask.per == "Batch",
                    consumption_rate=consumption_rate,
                    at=at,
                )
            if memory.chosen is None:
                chosen = choose(presets, await self._http.query(server, discovery(presets, scope)), scope)
                if isinstance(chosen, Unavailable):
                    return chosen
                memory.chosen, memory.family = chosen
            batch = ask.per == "Batch"
            query = reading(memory.chosen, memory.family, scope, memory.window_seconds, batch=batch)
            return conclude(
                memory,
                await self._http.query(server, query),
                topics=scope.topics,
                batch=batch,
                consumption_rate=consumption_rate,
                ready_pods=ready_pods,
                at=at,
            )
        except PrometheusFailed as problem:
            return unavailable(f"Prometheus {problem}")

    def forget(self, key: str) -> None:
        """Drops what is remembered of a resource that is gone."""
        self._memories.pop(key, None)

    async def aclose(self) -> None:
        """Forgets everything and closes the connections."""
        self._memories.clear()
        await self._http.aclose()
