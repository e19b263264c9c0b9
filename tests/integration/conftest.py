"""What the operator's tests run on: the shared bed with our CRD and roles, and one operator for a module."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.integration.support import Bed, bed_on, operator_on

from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.kafka_admin import AclFor, AclOn
from bed.kafka_security import SecureKafka
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


@pytest.fixture(scope="session")
def secure_kafka() -> Iterator[SecureKafka]:
    """A broker with every way in. May describe everything: alice, bea (whose password a test changes), app (tokens),
    and the certificate `client`. Passwords are the names and `-secret`. Others have the rights that a test gives them.
    """
    names = ("alice", "bea", "full", "no-group", "no-topic", "one-topic")
    clients = {"app": "app-secret", "forged": "forged-secret"}
    with SecureKafka(passwords={name: f"{name}-secret" for name in names}, clients=clients, heap_mib=256) as kafka:
        for user in ("alice", "bea", "app", "CN=client"):
            for on in (AclOn.TOPIC, AclOn.GROUP):
                kafka.allow(user, AclFor.DESCRIBE, on, "*")
        yield kafka
