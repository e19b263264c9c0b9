"""What faults of several rows share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.campaign.apiproxy import Act, Asked, Rule
from tests.campaign.run import Run


@contextmanager
def ruled(run: Run, about: Callable[[Asked], bool], act: Act) -> Iterator[None]:
    """What `act` does with the operator's requests that `about` picks is in force within the block."""
    rule = Rule(about, act)
    run.proxy.rules.append(rule)
    try:
        yield
    finally:
        run.proxy.rules.remove(rule)
