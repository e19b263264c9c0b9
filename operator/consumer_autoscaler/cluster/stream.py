"""A LIST and WATCH of one kind that keeps a few numbers of each object, through restarts and dead streams.

It follows the API server through expired versions and streams that fell silent, and forgets what was deleted in a
gap. It never guesses: before the kind was listed once, asking for one of its objects raises what stood in the way.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from consumer_autoscaler.cluster.errors import Expired, KubeError, KubeUnreachable
from consumer_autoscaler.cluster.transport import Json

log = logging.getLogger(__name__)

LONGEST_BACKOFF_SECONDS = 30.0

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Stream(Generic[K, V]):
    """LIST and WATCH of one kind in one namespace (None: all). `cut` makes a key and a view of an object.

    `on_change(key)` is called for an object that appeared, changed in its view, or went away.
    """

    def __init__(
        self,
        *,
        what: str,
        kind: str,
        namespace: str | None,
        list_all: Callable[[], Awaitable[tuple[list[Json], str]]],
        watch_from: Callable[[str], AsyncIterator[Json]],
        cut: Callable[[Json], tuple[K, V]],
        on_change: Callable[[K], None],
        first_backoff_seconds: float,
    ) -> None:
        self.what, self.kind, self.namespace = what, kind, namespace
        self._list_all, self._watch_from, self._cut = list_all, watch_from, cut
        self._on_change = on_change
        self._first_backoff_seconds = first_backoff_seconds
        self.views: dict[K, V] = {}
        self.synced = asyncio.Event()
        self._error: KubeError = KubeUnreachable("NotListedYet", f"no {kind} was listed yet")
        self._version: str | None = None
        self._alive_at = time.monotonic()
        self._watched = False  # whether the present watch was of use: it told something, or lasted
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name=f"{self.what} {self.kind} {self.namespace or '*'}")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._alive_at

    def get(self, key: K) -> V | None:
        if not self.synced.is_set():
            raise self._error
        return self.views.get(key)

    async def _follow(self) -> None:
        """For ever: list when there is nothing to continue from, then watch; back off while it fails."""
        failures = 0
        while True:
            self._watched = False
            try:
                if self._version is None:
                    await self._list()
                await self._watch(self._version or "")
            except Expired as error:
                log.info("%s=relist kind=%s namespace=%s error=%s", self.what, self.kind, self.namespace or "*", error)
                self._version = None
            except KubeError as error:
                self.failed(error, first=failures == 0)
            except Exception:
                # An object of a shape we did not expect must not end the view for all others.
                log.exception("%s=failed kind=%s namespace=%s", self.what, self.kind, self.namespace or "*")
                self._version = None
            failures = 0 if self._watched else failures + 1
            if failures:
                await asyncio.sleep(self.pause_seconds(failures))

    def listed(self) -> None:
        """A LIST was answered; the views are what it said."""

    def restart(self) -> None:
        """Forget all that is known, and begin with a LIST."""
        before, self.views, self._version = self.views, {}, None
        for key in before:
            self._on_change(key)

    def failed(self, error: KubeError, *, first: bool) -> None:
        """A LIST or WATCH was refused or broke off; `first` in a row."""
        self._error = error
        if first:
            log.warning(
                "%s=unreachable kind=%s namespace=%s error=%s", self.what, self.kind, self.namespace or "*", error
            )
        if error.reason not in ("ConnectionFailed", "WatchEnded", "Timeout"):
            # The server itself refused to continue, for instance since its store was restored from a backup
            # and does not know our version: continuing from it would fail for ever.
            self._version = None

    def pause_seconds(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        longest = min(self._first_backoff_seconds * 2.0 ** min(failures - 1, 10), LONGEST_BACKOFF_SECONDS)
        return longest * random.uniform(0.5, 1.0)

    async def _list(self) -> None:
        items, version = await self._list_all()
        seen: dict[K, V] = {}
        for item in items:
            key, view = self._cut(item)
            seen[key] = view
        before, self.views = self.views, seen
        self._version = version
        self._alive_at = time.monotonic()
        if not self.synced.is_set():
            self.synced.set()
            log.info("%s=listed kind=%s namespace=%s count=%d", self.what, self.kind, self.namespace or "*", len(seen))
        self.listed()
        for key in before.keys() | seen.keys():
            if before.get(key) != seen.get(key):
                self._on_change(key)

    async def _watch(self, version: str) -> None:
        started = time.monotonic()
        async for event in self._watch_from(version):
            self._watched = True
            self._alive_at = time.monotonic()
            item: Json = event["object"]
            if event["type"] != "BOOKMARK":
                self._apply(item, deleted=event["type"] == "DELETED")
            self._version = str(item["metadata"]["resourceVersion"])
        self._alive_at = time.monotonic()  # the server ended it, as it does every few minutes
        self._watched = self._watched or self._alive_at - started > self._first_backoff_seconds

    def _apply(self, item: Json, *, deleted: bool) -> None:
        key, view = self._cut(item)
        before = self.views.get(key)
        if deleted:
            self.views.pop(key, None)
        else:
            self.views[key] = view
        if deleted or before != view:
            self._on_change(key)
