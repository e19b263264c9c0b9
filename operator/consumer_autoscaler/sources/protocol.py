"""What every source of lag gives: a subscription that yields one reading per tick.

The seam between the stream and the rest of the operator. A reading is a `GroupReading` or an `Unavailable`, never an
exception and never a partial sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from consumer_autoscaler.decision.values import GroupReading, IsolationLevel, OffsetReset, Unavailable
from consumer_autoscaler.sources.kafka.access.security import Security
from consumer_autoscaler.sources.kafka.inspection.owners import Owners


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRequest:
    """Which group is to be read, where, and how often."""

    bootstrap_servers: tuple[str, ...]  # "host:port", as the user ordered them
    consumer_group: str
    topics: tuple[str, ...] = ()  # empty: the group's own
    offset_reset: OffsetReset = OffsetReset.LATEST
    isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    interval_seconds: float = 15
    security: Security | None = None  # PLAINTEXT without


class Subscription(Protocol):
    """One group's place in the shared readings of its cluster."""

    async def next(self) -> GroupReading | Unavailable:
        """Waits for the next tick's reading. The first comes at once, not at the next tick.

        Always returns within one interval plus the read timeout. A reading that nobody fetched is replaced by the
        newer one: a slow caller gets the latest, never a queue.
        """
        ...

    def look_up_older_than(self, seconds: float | None) -> None:
        """From the next tick on, readings also say whether an unprocessed record is older than that; None: no more."""
        ...

    def look_again(self, seconds: float) -> None:
        """One more reading of this group so many seconds from now, unless one comes before."""
        ...

    async def owners(self) -> Owners:
        """Which member of the group has which partition now, asked for anew; empty where nobody says it."""
        ...

    def close(self) -> None:
        """Leaves the shared reading. The cluster's client is closed when its last subscriber has left."""
        ...


class LagSource(Protocol):
    """All readings of one kind of stream, shared between the resources that ask for them."""

    def subscribe(self, request: GroupRequest) -> Subscription: ...

    async def aclose(self) -> None:
        """Ends all clients and tasks; subscriptions that wait get Unavailable."""
        ...
