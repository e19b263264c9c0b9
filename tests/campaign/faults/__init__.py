"""All faults of the campaign, by the letters of the checklist."""

from __future__ import annotations

from tests.campaign.faults import a_api, a_views, b_process, c_kafka
from tests.campaign.run import Fault

FAULTS: tuple[Fault, ...] = (
    *a_api.FAULTS, *a_views.FAULTS, *b_process.FAULTS,
    *c_kafka.FAULTS,
)  # fmt: skip
