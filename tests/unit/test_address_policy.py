"""Which addresses a resource may lead the operator to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer_autoscaler.runtime.settings import InvalidSettings, read_settings
from consumer_autoscaler.sources.address_policy import (
    AS_INSTALLED,
    AddressDenied,
    AddressPolicy,
    Endpoint,
    embedded,
)

LOCAL = AddressPolicy(allow_loopback=True)


def refused(policy: AddressPolicy, address: str, *, host: str = "", port: int = 9092) -> str:
    """Why; empty when it may be connected to."""
    try:
        policy.check(host or address, address, port)
    except AddressDenied as denied:
        return str(denied)
    return ""


def dressed(address: IPv4Address) -> list[str]:
    """An IPv4 address in all its IPv6 clothes."""
    a, b, c, d = address.packed
    return [
        f"::ffff:{address}",
        f"::{address}",
        f"64:ff9b::{address}",
        f"2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1",
        f"64:ff9b:1:ff:ff:ff:{a:02x}{b:02x}:{c:02x}{d:02x}",  # RFC 6052 with 96 bits of prefix
        f"64:ff9b:1:{a:02x}{b:02x}:{c:x}:{d:02x}00::",  # with 48
        f"64:ff9b:1:{a:x}:{b:x}:{c:02x}{d:02x}::",  # with 56
        f"64:ff9b:1:ff:{a:x}:{b:02x}{c:02x}:{d:02x}00:0",  # with 64
    ]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fd00:ec2::254", "cloud's metadata"),
        ("fd20:ce::254", "cloud's metadata"),
        ("168.63.129.16", "cloud's metadata"),
        ("100.100.100.200", "cloud's metadata"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("ff02::1", "multicast"),
    ],
)
def test_what_is_always_denied_names_its_class_and_what_to_do(address: str, kind: str) -> None:
    """Whatever else is set."""
    own = Endpoint.parse(address.partition("%")[0])
    for policy in (AS_INSTALLED, LOCAL, AddressPolicy(allowed=(own,), allow_loopback=True)):
        words = refused(policy, address)
        assert words.startswith(f"{address} is ")
        assert kind in words
        assert "name another" in words


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.255.254", "::1"])
def test_loopback_is_denied_unless_allowed(address: str) -> None:
    words = refused(AS_INSTALLED, address, host="kafka.shop")
    assert f"kafka.shop is at {address}, which is a loopback address" in words
    assert "--allow-loopback" in words
    assert refused(LOCAL, address) == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3"])
def test_an_ipv4_address_is_known_in_every_ipv6_form(address: str) -> None:
    policy = AddressPolicy(denied=(ip_network("10.0.0.0/8"),))
    for form in dressed(IPv4Address(address)):
        assert refused(policy, form), form
        assert refused(AddressPolicy(denied=(ip_network("10.1.2.3"),)), form), form


@given(st.ip_addresses(v=4))
def test_what_is_denied_is_denied_in_every_form(address: IPv4Address) -> None:
    """Of any IPv4 address, over all forms: never more open than the plain one."""
    if refused(AS_INSTALLED, str(address)):
        assert all(refused(AS_INSTALLED, form) for form in dressed(address))
    assert all(address in embedded(ip_address(form)) for form in dressed(address) if form != "::0.0.0.1")


@given(st.ip_addresses(), st.integers(1, 65535))
def test_more_settings_never_allow_more(address: IPv4Address | IPv6Address, port: int) -> None:
    """`denied` and `allowed` only take away."""
    plain = refused(AS_INSTALLED, str(address), port=port)
    tight = AddressPolicy(denied=(ip_network("10.0.0.0/8"),), allowed=(Endpoint.parse("0.0.0.0/0"),))
    if plain:
        assert refused(tight, str(address), port=port)


def test_ordinary_addresses_are_connected_to() -> None:
    for address in ("10.0.0.1", "192.168.1.1", "172.16.0.9", "52.1.2.3", "fd00::1", "2001:db8::1", "64:ff9b::3401:203"):
        assert refused(AS_INSTALLED, address) == "", address


def test_a_denied_network_is_named() -> None:
    policy = AddressPolicy(denied=(ip_network("10.96.0.0/12"), ip_network("fd00:1::/64")))
    assert "in 10.96.0.0/12, which the operator's --denied-cidrs has" in refused(policy, "10.96.0.1")
    assert "fd00:1::/64" in refused(policy, "fd00:1::9")
    assert refused(policy, "10.95.0.1") == ""


@pytest.mark.parametrize(
    ("endpoint", "host", "address", "port", "allowed"),
    [
        ("10.0.0.0/8", "b0.kafka.svc", "10.1.2.3", 9092, True),
        ("10.0.0.0/8", "b0.kafka.svc", "11.1.2.3", 9092, False),
        ("10.0.0.0/8:9092", "b0", "10.1.2.3", 9092, True),
        ("10.0.0.0/8:9092", "b0", "10.1.2.3", 9093, False),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3", 1, True),
        ("[fd00::/8]:9092", "b0", "fd00::5", 9092, True),
        ("[fd00::/8]:9092", "b0", "fd00::5", 9093, False),
        ("fd00::/8", "b0", "fd00::5", 9093, True),
        ("fd00::5", "b0", "fd00::5", 9093, True),
        ("10.0.0.0/8", "b0", "::ffff:10.0.0.1", 9092, True),
        ("kafka.svc", "kafka.svc", "10.1.2.3", 9092, True),
        ("kafka.svc", "B0.Kafka.SVC.", "10.1.2.3", 9092, True),
        ("kafka.svc", "evilkafka.svc", "10.1.2.3", 9092, False),
        ("kafka.svc", "kafka.svc.evil.example", "10.1.2.3", 9092, False),
        ("kafka.svc:9092", "kafka.svc", "10.1.2.3", 9093, False),
        ("kafka.svc", "kafka.svc", "127.0.0.1", 9092, False),
    ],
)
def test_with_allowed_endpoints_only_these_are_connected_to(
    endpoint: str, host: str, address: str, port: int, allowed: bool
) -> None:
    policy = AddressPolicy(allowed=(Endpoint.parse(endpoint),))
    words = refused(policy, address, host=host, port=port)
    assert (words == "") is allowed, words


def test_an_endpoint_that_is_missing_is_named_with_its_port() -> None:
    words = refused(AddressPolicy(allowed=(Endpoint.parse("kafka.svc"),)), "10.0.0.5", host="other", port=9093)
    assert words.startswith("other is at 10.0.0.5, which is not among the operator's --allowed-endpoints (port 9093)")


def test_an_address_that_was_asked_for_is_the_one_that_is_connected_to() -> None:
    """Nothing may turn one number into another on the way."""
    assert "is not what was asked for" in refused(AS_INSTALLED, "10.0.0.2", host="10.0.0.1")
    assert refused(AS_INSTALLED, "kafka", host="kafka") != ""


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("denied_cidrs", "10.0.0.1/8"),
        ("denied_cidrs", "kafka.svc"),
        ("allowed_endpoints", "10.0.0.0/33"),
        ("allowed_endpoints", "kafka.svc:0"),
        ("allowed_endpoints", "kafka.svc:99999"),
        ("allowed_endpoints", "10.0.0.0/8:x"),
        ("allowed_endpoints", "http://kafka"),
        ("allowed_endpoints", "*.kafka.svc"),
        ("allowed_endpoints", "10.0.0.300"),
    ],
)
def test_a_setting_that_cannot_be_read_stops_the_start(setting: str, text: str) -> None:
    """A policy with a hole would be worse."""
    with pytest.raises(InvalidSettings, match="--" + setting.replace("_", "-")):
        read_settings({setting: f"10.1.0.0/16,{text}"}, {})


def test_the_settings_make_the_policy() -> None:
    text = {"denied_cidrs": "10.96.0.0/12, fd00::/64", "allowed_endpoints": "10.0.0.0/8:9092,kafka.svc"}
    policy = read_settings(text, {}).address_policy()
    assert policy == AddressPolicy(
        denied=(ip_network("10.96.0.0/12"), ip_network("fd00::/64")),
        allowed=(Endpoint(ip_network("10.0.0.0/8"), port=9092), Endpoint(None, "kafka.svc")),
    )
    assert read_settings({}, {}).address_policy() == AS_INSTALLED
    assert read_settings({"allow_loopback": True}, {}).address_policy() == LOCAL
