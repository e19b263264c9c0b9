"""Which addresses may be connected to on behalf of a resource.

Whoever writes a resource names brokers, Prometheus and token endpoints, and brokers name each other. So every
connection that is made for a resource asks here first, with the address that is about to be connected to: what a name
resolves to counts, not the name, and nothing is looked up between the question and the connection.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = "a loopback address"


def _networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# No broker, Prometheus, token endpoint or pod of anybody has one of these.
_NEVER = {
    "a link-local address": _networks("169.254.0.0/16", "fe80::/10"),
    # What clouds answer at with credentials of the machine, beside the link-local 169.254.169.254: AWS (IMDS and Pod
    # Identity by IPv6), Google (by IPv6), Azure (WireServer), Alibaba, Oracle.
    "an address of a cloud's metadata": _networks(
        "fd00:ec2::/32", "fd20:ce::254/128", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"
    ),
    "an unspecified address": _networks("0.0.0.0/8", "::/128"),
    "a multicast or broadcast address": _networks("224.0.0.0/4", "255.255.255.255/32", "ff00::/8"),
}
_LOOPBACK = _networks("127.0.0.0/8", "::1/128")
_LAST_FOUR_OCTETS = _networks("::/96", "64:ff9b::/96")  # IPv4-compatible, NAT64
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")
# Where RFC 6052 puts the octets of an IPv4 address, for the prefix lengths that fit into the one for local use.
_NAT64_LOCAL_PLACES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))


class AddressDenied(ConnectionError):
    """An address that must not be connected to. The text says which, of which class it is, and what to do; `field`
    where the address comes from, when that is not what the connection was made for.
    """

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What `--allowed-endpoints` has: a network, or a name with all names below it, and a port if only that one."""

    network: IPNetwork | None
    name: str = ""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`10.0.0.0/8`, `10.1.2.3:9092`, `[fd00::/8]:9092`, `kafka.svc`, `kafka.svc:9092`; raises ValueError."""
        text = text.strip()
        host, port = text, None
        before, separator, after = text.rpartition(":")
        if separator and (before.endswith("]") or ":" not in before):
            if not (after.isascii() and after.isdecimal() and 0 < int(after) < 65536):
                raise ValueError(f"{text!r} has a port that is none")
            host, port = before, int(after)
        host = host.removeprefix("[").removesuffix("]")
        try:
            return cls(ipaddress.ip_network(host), port=port)
        except ValueError as problem:
            labels = host.rstrip(".").lower().split(".")
            if "/" in host or not all(_is_label(label) for label in labels) or labels[-1].isdecimal():
                raise ValueError(f"{text!r} is neither a network nor a name: {problem}") from None
            return cls(None, ".".join(labels), port)

    def covers(self, host: str, address: IPAddress, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return _within(address, (self.network,))
        host = host.rstrip(".").lower()
        return host == self.name or host.endswith(f".{self.name}")


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Loopback unless allowed, link-local, cloud metadata, unspecified and multicast addresses are denied always, also
    in the IPv6 forms of IPv4 addresses; then what `denied` has; then, if there is anything in `allowed`, all else.
    """

    denied: tuple[IPNetwork, ...] = ()
    allowed: tuple[Endpoint, ...] = ()
    allow_loopback: bool = False

    def check(self, host: str, address: str, port: int) -> None:
        """`host`: as it was asked for, name or address. `address`: what is about to be connected to.

        Raises AddressDenied.
        """
        told = address if host == address else f"{host} is at {address}, which"
        parsed = parse_address(address)
        if parsed is None or parse_address(host) not in (None, parsed):
            raise AddressDenied(f"{told} is not what was asked for")
        if (why := self._why_not(host, parsed, port)) is not None:
            raise AddressDenied(f"{told} is {why}")

    def _why_not(self, host: str, address: IPAddress, port: int) -> str | None:
        forms = [address, *embedded(address)]
        for kind, networks in _NEVER.items():
            if any(_within(form, networks) for form in forms):
                return f"{kind}: name another"
        if not self.allow_loopback and any(_within(form, _LOOPBACK) for form in forms):
            return f"{LOOPBACK}, which is the operator's own host: name another, or start it with --allow-loopback"
        for network in self.denied:
            if any(_within(form, (network,)) for form in forms):
                return f"in {network}, which the operator's --denied-cidrs has: name another"
        if self.allowed and not any(endpoint.covers(host, form, port) for endpoint in self.allowed for form in forms):
            return f"not among the operator's --allowed-endpoints (port {port}): name another, or have it added"
        return None


AS_INSTALLED = AddressPolicy()
"""Without any setting."""


def parse_address(text: str) -> IPAddress | None:
    """None for what is no address."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def embedded(address: IPAddress) -> list[IPAddress]:
    """The IPv4 addresses that an IPv6 address may lead to: mapped, compatible, 6to4, NAT64 (RFC 6052, RFC 8215)."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    octets = address.packed
    found: list[IPAddress] = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    if _within(address, _LAST_FOUR_OCTETS) and not address.is_loopback:
        found.append(ipaddress.IPv4Address(octets[12:]))
    if address in _NAT64_LOCAL:
        found += [ipaddress.IPv4Address(bytes(octets[i] for i in places)) for places in _NAT64_LOCAL_PLACES]
    return found


def _within(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_label(text: str) -> bool:
    return 0 < len(text) < 64 and text.isascii() and text.replace("-", "").replace("_", "").isalnum()
