"""Which addresses tests connect to."""

from __future__ import annotations

from consumer_autoscaler.sources.address_policy import AddressPolicy

ON_THIS_MACHINE = AddressPolicy(allow_loopback=True)
"""Where the servers of tests listen; an installed operator has `AddressPolicy()`."""
