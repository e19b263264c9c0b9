"""Addresses and backoff of connections; varints of the codec."""

from __future__ import annotations

import pytest
from aiokafka.protocol.types import UnsignedVarInt32
from hypothesis import given
from hypothesis import strategies as st

from consumer_autoscaler.sources.kafka.broker import backoff_seconds, parse_address
from consumer_autoscaler.sources.kafka.wire.codec import Cursor, string, varint


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("kafka:9093", ("kafka", 9093)),
        (" kafka.shop.svc:9092 ", ("kafka.shop.svc", 9092)),
        ("kafka", ("kafka", 9092)),
        ("[::1]:9094", ("::1", 9094)),
        ("[fe80::1]", ("fe80::1", 9092)),
        ("::1", ("::1", 9092)),
    ],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    """host:port, with the usual port where none is named, and IPv6 in brackets."""
    assert parse_address(address) == expected


@pytest.mark.parametrize("address", ["", ":9092", "kafka:", "kafka:nine", "kafka:0", "kafka:65536"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ValueError, match="host:port"):
        parse_address(address)


def test_backoff_grows_to_a_bound_and_never_to_nothing() -> None:
    """A cluster that is down is neither hammered nor forgotten."""
    for failures in range(1, 100):
        assert 0.25 <= backoff_seconds(failures) <= 5.0
    assert min(backoff_seconds(10) for _ in range(50)) >= 2.5


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_varints_are_those_of_another_codec(value: int) -> None:
    """Written alike, and read back."""
    encoded = varint(value)
    assert encoded == UnsignedVarInt32.encode(value)
    cursor = Cursor(encoded + b"rest")
    assert (cursor.varint(), cursor.position) == (value, len(encoded))


@given(st.text(max_size=300))
def test_strings_come_back(text: str) -> None:
    """Of any length and alphabet."""
    assert Cursor(string(text)).string() == text
