"""All faults of the campaign, by the letters of the checklist."""

from __future__ import annotations

from tests.campaign.faults import a_api, c_kafka
from tests.campaign.run import Fault

FAULTS: tuple[Fault, ...] = (
    *a_api.FAULTS, *c_kafka.FAULTS,
)  # fmt: skip
