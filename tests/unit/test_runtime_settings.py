"""Settings of the process: which source wins, and what is refused before anything is connected."""

from __future__ import annotations

import pytest

from consumer_autoscaler.runtime.settings import InvalidSettings, read_settings


def test_a_flag_wins_over_the_environment_and_that_over_the_default() -> None:
    environment = {"CONSUMER_AUTOSCALER_PORT": "9000", "CONSUMER_AUTOSCALER_NAMESPACES": "shop, billing"}
    settings = read_settings({"namespaces": "shop"}, environment)
    assert (settings.namespaces, settings.port, settings.log_level) == (("shop",), 9000, "INFO")


def test_a_part_of_the_resources_needs_a_lease_of_its_own() -> None:
    """With one Lease for two parts one of them would be served by nobody."""
    with pytest.raises(InvalidSettings, match="--lease-name of its own"):
        read_settings({"label_selector": "shard=a"}, {})
    assert read_settings({"label_selector": "shard=a", "lease_name": "a"}, {}).label_selector == "shard=a"
    assert read_settings({"label_selector": "shard=a", "leader_election": False}, {}).label_selector == "shard=a"


def test_what_is_wrong_is_named_by_its_flag() -> None:
    with pytest.raises(InvalidSettings, match="--resync-seconds"):
        read_settings({"resync_seconds": "0"}, {})
