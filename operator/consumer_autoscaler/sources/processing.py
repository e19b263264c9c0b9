"""How long one record takes, read from the consumers' own Prometheus pages.

Gets the pages, all pods of a resource at once within bounds, and remembers what the next reading needs;
what the pages mean is in pod_pages.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.pod_http import PodHttp, ScrapeFailed
from consumer_autoscaler.sources.pod_pages import Memory, Per, Pod, PodPage, Question, conclude, read_page
from consumer_autoscaler.sources.presets import AnyPreset, CustomMetric, presets_named

READ_SECONDS = 8.0  # for all pods of one resource together
PODS_AT_ONCE = 8  # of one resource


class PodMetrics:
    """Reads and remembers the pods of many resources. One per process: it bounds all their connections."""

    def __init__(self, http: PodHttp | None = None) -> None:
        self._http = http or PodHttp()
        self._memories: dict[str, Memory] = {}

    async def read(
        self,
        *,
        key: str,
        pods: Sequence[Pod],
        port: int,
        preset: str,
        per: Per,
        group: str,
        topics: Sequence[str],
        consumed_records: float | None,
        at: float,
        path: str = "/metrics",
        custom: CustomMetric | None = None,
    ) -> ProcessingTime | Unavailable | None:
        """The mean over all pods since the last call with this `key`, the resource's uid.

        `pods` are the ready ones as (name, IP). `consumed_records` is what the group's offsets advanced by
        since the last call; `per` "Batch" needs it, and it tells an idle group from a metric that stands still.
        While no record is processed the last mean is given again, with its own `at`, for GOOD_FOR_INTERVALS
        intervals, then None, as there is nothing to measure. Takes READ_SECONDS at most.
        `custom` goes with the preset Custom. ValueError for an unknown preset.
        """
        presets = presets_named(preset, custom)
        question = Question(port, path, preset, per, group, frozenset(topics), custom)
        memory = self._memories.get(key)
        if memory is None or memory.question != question:
            memory = self._memories[key] = Memory(question)
        listed = list(dict.fromkeys(pods))
        answers = await self._answers(memory, listed, presets, at)
        return conclude(memory, presets, answers, consumed_records, at)

    def forget(self, key: str) -> None:
        """Drops what is remembered of a resource that is gone."""
        self._memories.pop(key, None)

    async def aclose(self) -> None:
        """Forgets everything and closes the connections."""
        self._memories.clear()
        await self._http.aclose()

    async def _answers(
        self, memory: Memory, pods: Sequence[Pod], presets: Sequence[AnyPreset], at: float
    ) -> dict[Pod, PodPage | str]:
        """Each pod's page, or what went wrong. Healthy pods first: those that hang shall not hold them up."""
        question = memory.question
        answers: dict[Pod, PodPage | str] = dict.fromkeys(
            pods, f"was not reached within the {READ_SECONDS:g} s for all"
        )
        places = asyncio.Semaphore(PODS_AT_ONCE)

        async def ask(pod: Pod, suspect: bool) -> None:
            async with places:
                try:
                    page = await self._http.get(ip=pod[1], port=question.port, path=question.path, suspect=suspect)
                    answers[pod] = read_page(page, presets, question.group, question.topics, at)
                except ScrapeFailed as problem:
                    answers[pod] = str(problem)

        healthy = [pod for pod in pods if pod not in memory.failed]
        suspects = [pod for pod in pods if pod in memory.failed]
        random.shuffle(suspects)  # so that each of many has its turn
        try:
            async with asyncio.timeout(READ_SECONDS), asyncio.TaskGroup() as group:
                for pod in healthy:
                    group.create_task(ask(pod, suspect=False))
                for pod in suspects:
                    group.create_task(ask(pod, suspect=True))
        except TimeoutError:
            pass
        return answers
