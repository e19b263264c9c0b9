"""All faults of the campaign, by the letters of the checklist."""

from __future__ import annotations

from tests.campaign.faults import a_api, a_views, b_process, c_kafka, d_sources, e_resource, f_target, g_life
from tests.campaign.run import Fault

FAULTS: tuple[Fault, ...] = (
    *a_api.FAULTS, *a_views.FAULTS, *b_process.FAULTS, *c_kafka.FAULTS,
    *d_sources.FAULTS, *e_resource.FAULTS, *f_target.FAULTS, *g_life.FAULTS,
)  # fmt: skip
