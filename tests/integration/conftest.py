"""What the operator's tests run on: the shared bed with our CRD and roles, and one operator for a module."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from tests.integration.support import Bed, bed_on, operator_on

from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.operator import Operator, install


@pytest.fixture(scope="module")
async def bed(request: pytest.FixtureRequest, controlplane: ControlPlane, kafka: Kafka) -> AsyncIterator[Bed]:
    """The shared control plane and broker, with CRD, namespace and roles installed as a user would."""
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # members of groups whose broker is killed say so at length
    chosen = [item.name for item in request.session.items if item.path == request.path]
    async with bed_on(controlplane, kafka, chosen=chosen) as bed:
        await bed.aside(install, controlplane)
        yield bed


@pytest.fixture(scope="module")
async def operator(bed: Bed) -> AsyncIterator[Operator]:
    """One operator for all namespaces, for as long as the module's tests run: other modules are not disturbed."""
    async with operator_on(bed) as bed.operator:
        yield bed.operator
