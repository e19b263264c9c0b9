"""The parts of the test bed as fixtures, each started when a test first asks for it and shared by all.

Tests keep apart by namespaces and topics of their own, not by fresh clusters.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from bed.controlplane import ControlPlane
from bed.kafka import Kafka
from bed.kwok import Kwok

# How long an example takes says something about the machine, not about the code.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


@pytest.fixture(scope="session")
def controlplane() -> Iterator[ControlPlane]:
    """A real control plane with three fake nodes, whose pods become Ready within a second."""
    with ControlPlane() as plane, Kwok(plane):
        yield plane


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One real broker; tests that stop brokers or need three start their own."""
    with Kafka() as cluster:
        yield cluster
