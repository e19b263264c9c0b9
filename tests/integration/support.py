"""What the operator's tests share: the parts of a module, a witness of what was scaled, tests that run together.

Each test has a site of its own (namespace, topic and consumer group of one name), so many of them share one API server
and one broker, and those of a module run at the same time.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.kubeapi import KubeApi
from bed.operator import Operator
from bed.paths import REPOSITORY

Json = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")


class Aside:
    """A thread for the bed's blocking calls: `await aside(function, …)`.

    One thread that lives as long as the block, because the bed's processes die with the thread that started them.
    """

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aside")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    async def __call__(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, functools.partial(function, *arguments, **named)
        )


class TargetWitness:
    """Every count that each Deployment was ever asked to have, from a watch of our own."""

    def __init__(self, api: KubeApi) -> None:
        self.counts: dict[str, list[int]] = defaultdict(list)
        """Of each namespace's Deployment: the counts in their order, without repeats."""
        self.ready: dict[str, int] = {}
        self._api = api

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        async for _, items in self._api.list_and_watch("/apis/apps/v1/deployments", {}):
            for item in items:
                namespace = item["metadata"]["namespace"]
                count, seen = item["spec"].get("replicas", 1), self.counts[namespace]
                if not seen or seen[-1] != count:
                    seen.append(count)
                self.ready[namespace] = item.get("status", {}).get("readyReplicas", 0)


@dataclass(slots=True)
class Bed:
    """The parts that the tests of a module share."""

    controlplane: ControlPlane
    kafka: Kafka
    api: KubeApi
    witness: TargetWitness
    aside: Aside
    chosen: frozenset[str] = frozenset()
    """The names of the module's tests that will run."""
    operator: Operator | None = None
    """The one for all namespaces, where the module asks for it."""


@asynccontextmanager
async def bed_on(controlplane: ControlPlane, kafka: Kafka, *, chosen: Sequence[str] = ()) -> AsyncIterator[Bed]:
    """A Bed on parts that are up."""
    with Aside() as aside:
        async with KubeApi(controlplane.kubeconfig) as api, TargetWitness(api) as witness:
            yield Bed(controlplane, kafka, api, witness, aside, frozenset(chosen))


class Together:
    """A decorator for the tests of a module that shall run at the same time: each awaits its own of many tasks."""

    def __init__(self, within_seconds: float = 200) -> None:
        self._within_seconds = within_seconds
        self._cases: dict[str, Callable[[Any], Awaitable[None]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __call__(self, case: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        name = case.__name__
        self._cases[name] = case

        @functools.wraps(case)
        async def test(bed: Bed) -> None:
            if not self._tasks:
                for each, work in self._cases.items():
                    if each in bed.chosen:
                        self._tasks[each] = asyncio.create_task(_within(self._within_seconds, work(bed)), name=each)
            try:
                await self._tasks[name]
            finally:
                self._tasks[name].cancel()

        return test


async def _within(seconds: float, work: Awaitable[None]) -> None:
    async with asyncio.timeout(seconds):
        await work


async def eventually(
    check: Callable[[], Awaitable[T] | T],
    within_seconds: float = 30.0,
    what: Callable[[], object] | None = None,
) -> T:
    """What `check` gives as soon as it is true; fails with its last value, or what `what` says, when time runs out."""
    end = time.monotonic() + within_seconds
    while True:
        found = check()
        value: T = await found if isinstance(found, Awaitable) else found
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_seconds:.0f} s: {what() if what else value!r}")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def operator_on(
    bed: Bed, *arguments: str, name: str = "operator", working: bool = True
) -> AsyncIterator[Operator]:
    """An operator process with the shipped rights; with `working` it has its Lease and its first list."""
    operator = await bed.aside(Operator, bed.controlplane, arguments=arguments, name=name)
    try:
        if working:
            await until_working(operator)
        yield operator
    except BaseException:
        print(operator.process.log_tail(80))
        raise
    finally:
        await asyncio.to_thread(operator.stop)


async def until_working(operator: Operator, *, within_seconds: float = 30.0) -> None:
    """Until /readyz says `working`."""

    async def there() -> bool:
        assert operator.process.returncode is None, operator.process.log_tail(40)
        return await asyncio.to_thread(operator.get, "/readyz") == (200, "working")

    await eventually(there, within_seconds, lambda: operator.process.log_tail(40))


async def command_line(*arguments: str, token: str = "") -> tuple[int, str, str]:
    """The program's exit status, standard output and standard error."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "operator"), "CONSUMER_AUTOSCALER_TOKEN": token}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consumer_autoscaler", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
