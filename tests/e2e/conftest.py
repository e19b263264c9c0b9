"""One kind cluster for the suite: made or taken as it is, with images, a broker, and the operator by Helm.

KEEP=1 leaves it up, and the next run takes it; without, it is deleted at the end and our own engine is stopped.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.integration.support import Bed, bed_on

from kind import broker
from kind.cluster import Cluster
from kind.lifecycle import down, up
from kind.release import Release


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e/" in item.nodeid:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster with the images of this checkout in its nodes, and a broker."""
    try:
        yield up()
    finally:
        if not os.environ.get("KEEP"):
            down()


@pytest.fixture(scope="session")
async def bed(cluster: Cluster) -> AsyncIterator[Bed]:
    """The cluster and its broker in the place of the test bed's, for the sites of the operator's other tests."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    kafka = SimpleNamespace(bootstrap=broker.outside(cluster))
    async with bed_on(cast(Any, cluster), cast(Any, kafka)) as bed:
        yield bed


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Release:
    """The operator for the whole cluster."""
    release = Release(cluster)
    release.install()
    return release
