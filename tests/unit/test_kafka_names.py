"""Looking names up while the resolver hangs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter

import pytest

from consumer_autoscaler.sources.kafka.access.names import Names, as_address


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("kafka", None), ("", None)]
)
def test_addresses_need_no_look_up(host: str, family: socket.AddressFamily | None) -> None:
    """Of both versions of IP."""
    assert as_address(host) == ([(family, host)] if family else [])


async def test_names_that_hang_hold_up_no_other_and_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are and however often they are wanted; when the resolver answers, the name is free again."""
    asked: Counter[str] = Counter()
    hang = threading.Event()

    def resolve(host: str, *_: object, **__: object) -> list[object]:
        asked[host] += 1
        if host != "good":
            hang.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    names = Names()
    for _ in range(3):
        hanging = [asyncio.create_task(names.look_up(f"bad-{i}")) for i in range(64)]
        assert await asyncio.wait_for(names.look_up("good"), 5) == [(socket.AF_INET, "192.0.2.1")]
        for task in hanging:
            task.cancel()
        assert all(
            isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*hanging, return_exceptions=True)
        )
    assert asked["good"] == 3
    assert {asked[f"bad-{i}"] for i in range(64)} == {1}
    last = asyncio.create_task(names.look_up("bad-0"))
    await asyncio.sleep(0)
    hang.set()
    with pytest.raises(socket.gaierror):
        await last
    with pytest.raises(socket.gaierror):
        await names.look_up("bad-0")
    assert asked["bad-0"] == 2
