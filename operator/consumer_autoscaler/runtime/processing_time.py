"""How long one record takes, from the sources that a resource names, in its order of trust.

The first that answers counts. When one fails that has answered before, its value stands for a few intervals: until
then the reading is Unavailable and says so, and nothing goes down; after that the next one counts. So a source that
fails now and then does not make two that differ take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from consumer_autoscaler.cluster.errors import KubeError
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.cluster.secrets import Secrets
from consumer_autoscaler.cluster.targets import TargetView
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.pace import PROCESSING_TIME_INTERVALS
from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.resource.processing import OwnMetric, PodMetrics, Prometheus
from consumer_autoscaler.resource.spec import Resource
from consumer_autoscaler.runtime.secret_texts import SecretTexts, Unresolved
from consumer_autoscaler.sources import processing
from consumer_autoscaler.sources.kafka.access.security import Tls
from consumer_autoscaler.sources.measured import unavailable
from consumer_autoscaler.sources.presets import CustomMetric
from consumer_autoscaler.sources.prometheus import Ask, PrometheusMetrics
from consumer_autoscaler.sources.prometheus_http import Server
from consumer_autoscaler.sources.promql import Scope, pods_of

SECRETS_AGAIN_SECONDS = 30.0  # how old what was read of a Secret may be; all resources share the reading

Result = ProcessingTime | Unavailable | None


@dataclass(slots=True)
class Trust:
    """When each source of one resource last answered, by its place in the list."""

    answered_at: dict[int, float] = field(default_factory=dict)

    def weigh(self, results: Sequence[tuple[str, Result]], *, interval_seconds: float, at: float) -> Result:
        """The result that counts, from (kind, result) in order of trust. None: nothing is wrong, nothing to measure.

        A value that counts because others failed says so in `instead_of`.
        """
        failures: list[str] = []
        idle = False
        for place, (kind, result) in enumerate(results):
            if isinstance(result, ProcessingTime):
                self.answered_at[place] = at
                if not failures:
                    return result
                return replace(result, instead_of=f"{'; '.join(failures)}; {kind} is used instead")
            if result is None:
                idle = True
                continue
            since = self.answered_at.get(place)
            if since is not None and at - since <= PROCESSING_TIME_INTERVALS * interval_seconds:
                return Unavailable(result.reason, f"{result.message}; the value of {at - since:.0f} s ago stands")
            failures.append(f"{kind}: {result.message}")
        return None if idle or not failures else unavailable("; ".join(failures))


@dataclass(slots=True)
class _Memory:
    trust: Trust = field(default_factory=Trust)
    consumed: dict[int, int] = field(default_factory=dict)  # by the group, when each source was read last


class ProcessingTimes:
    """Reads for all resources. One per process, as its readers bound their connections."""

    def __init__(
        self,
        kube: Kube,
        secrets: Secrets,
        pods: processing.PodMetrics,
        prometheus: PrometheusMetrics,
        *,
        allow_passwords_without_tls: bool = False,
    ) -> None:
        self._kube = kube
        self._secrets = secrets
        self._pods = pods
        self._prometheus = prometheus
        self._allow_passwords_without_tls = allow_passwords_without_tls
        self._memories: dict[str, _Memory] = {}

    async def read(self, resource: Resource, history: History, view: TargetView | None, now: float) -> Result:
        """`history` is that before this reading of the group. None also where no source is named."""
        if not resource.processing or view is None or history.replicas == 0:
            return None
        memory = self._memories.setdefault(resource.uid, _Memory())
        consumed = history.samples[-1].consumed if history.samples else None
        results: list[tuple[str, Result]] = []
        for place, source in enumerate(resource.processing):
            key = f"{resource.uid}/{place}"
            if isinstance(source, PodMetrics):
                before = memory.consumed.pop(place, None)
                records = None if consumed is None or before is None else float(consumed - before)
                if consumed is not None:
                    memory.consumed[place] = consumed
                result = await self._from_pods(resource, source, key, view, records, now)
                results.append(("podMetrics", result))
            else:
                result = await self._from_prometheus(resource, source, key, view, history, now)
                results.append(("prometheus", result))
            if isinstance(result, ProcessingTime):
                break  # those of less trust are read when they are needed
        return memory.trust.weigh(results, interval_seconds=resource.policy.poll_interval_seconds, at=now)

    def forget(self, resource: Resource) -> None:
        """Drops what is remembered of a resource that is gone."""
        self._memories.pop(resource.uid, None)
        for place in range(len(resource.processing)):
            self._pods.forget(f"{resource.uid}/{place}")
            self._prometheus.forget(f"{resource.uid}/{place}")

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._pods.aclose()
        await self._prometheus.aclose()

    async def _from_pods(
        self,
        resource: Resource,
        source: PodMetrics,
        key: str,
        view: TargetView,
        consumed_records: float | None,
        now: float,
    ) -> Result:
        try:
            pods = await self._kube.pods(resource.namespace, view.selector)
        except KubeError as error:
            return unavailable(f"the pods cannot be listed: {error}")
        return await self._pods.read(
            key=key,
            pods=[(pod.name, pod.ip) for pod in pods if pod.ready and pod.ip],
            port=source.port,
            path=source.path,
            preset=str(source.preset),
            per=source.per.value,
            group=resource.kafka.consumer_group,
            topics=resource.kafka.topics,
            consumed_records=consumed_records,
            at=now,
            custom=_custom(source.own),
        )

    async def _from_prometheus(
        self,
        resource: Resource,
        source: Prometheus,
        key: str,
        view: TargetView,
        history: History,
        now: float,
    ) -> Result:
        try:
            server = await self._server(resource.namespace, source)
        except Unresolved as problem:
            return unavailable(f"Prometheus cannot be asked: {problem}")
        except KubeError as error:
            return unavailable(f"Prometheus cannot be asked, the Secrets cannot be read now: {error.reason}")
        return await self._prometheus.read(
            key=key,
            server=server,
            ask=Ask(
                preset=str(source.preset),
                per=source.per.value,
                custom=_custom(source.own),
                query=source.query,
                unit_seconds=source.unit_seconds,
            ),
            scope=Scope(
                namespace=resource.namespace,
                pods=pods_of(str(resource.target.kind), resource.target.name),
                group=resource.kafka.consumer_group,
                topics=frozenset(resource.kafka.topics),
            ),
            consumption_rate=history.consumption_rate,
            ready_pods=view.ready,
            at=now,
        )

    async def _server(self, namespace: str, source: Prometheus) -> Server:
        """Raises Unresolved, KubeError."""
        login = source.token is not None or source.username is not None
        if login and not source.address.startswith("https://") and not self._allow_passwords_without_tls:
            raise Unresolved(
                "a login without TLS shows itself to whoever listens: use https://, or start the operator with"
                " --allow-passwords-without-tls"
            )
        texts = SecretTexts(self._secrets, namespace, SECRETS_AGAIN_SECONDS)
        tls = None
        if source.tls is not None:
            tls = Tls(
                ca_pem=await texts.text(source.tls.ca),
                certificate_pem=await texts.text(source.tls.certificate),
                key_pem=await texts.text(source.tls.private_key),
            )
        return Server(
            address=source.address,
            token=(await texts.text(source.token)).strip(),
            username=(await texts.text(source.username)).strip(),
            password=await texts.text(source.password),
            tls=tls,
            timeout_seconds=source.timeout_seconds,
        )


def _custom(own: OwnMetric | None) -> CustomMetric | None:
    return CustomMetric(own.name, own.unit_seconds, own.labels) if own else None
