"""A real broker that leads its clients to an address which nobody may connect to."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.addresses import ON_THIS_MACHINE

from bed.kafka import Kafka, _Broker
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.sources.address_policy import AS_INSTALLED, AddressPolicy
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.protocol import GroupRequest

pytestmark = pytest.mark.integration

METADATA_SERVICE = "169.254.169.254"


class Misleading(Kafka):
    """Its `advertised.listeners` name the clouds' metadata service."""

    def _properties(self, broker: _Broker) -> dict[str, str]:
        advertised = f"CLIENT://{METADATA_SERVICE}:80,PEER://127.0.0.1:{broker.peer_port}"
        return {**super()._properties(broker), "advertised.listeners": advertised}


@pytest.fixture(scope="module")
def misleading() -> Iterator[Kafka]:
    with Misleading() as kafka:
        yield kafka


async def read(policy: AddressPolicy, kafka: Kafka) -> GroupReading | Unavailable:
    source = KafkaLagSource(time.time, request_timeout_seconds=20, policy=policy)
    request = GroupRequest(
        bootstrap_servers=(kafka.bootstrap,),
        consumer_group="misled",
        topics=("orders",),
        offset_reset=OffsetReset.EARLIEST,
        interval_seconds=1,
    )
    try:
        return await source.subscribe(request).next()
    finally:
        await source.aclose()


async def test_an_address_that_a_real_broker_advertises_is_refused_at_once(misleading: Kafka) -> None:
    """Not after a timeout: nothing is sent there. The message has the address, its class and where it comes from."""
    begin = time.monotonic()
    reading = await read(ON_THIS_MACHINE, misleading)
    assert time.monotonic() - begin < 20
    assert isinstance(reading, Unavailable)
    assert reading.reason is SourceReason.ADDRESS_DENIED
    assert reading.message == (
        f"broker 0 ({METADATA_SERVICE}:80) is not connected to: `advertised.listeners` of the brokers: "
        f"{METADATA_SERVICE} is a link-local address: name another"
    )


async def test_an_installed_operator_does_not_ask_a_broker_at_loopback(kafka: Kafka) -> None:
    reading = await read(AS_INSTALLED, kafka)
    assert isinstance(reading, Unavailable)
    assert reading.reason is SourceReason.ADDRESS_DENIED
    assert "`bootstrapServers`: 127.0.0.1 is a loopback address" in reading.message
