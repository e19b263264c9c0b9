"""The Grafana dashboards of the chart, made by `make chart`.

model.py      a panel of each kind, rows of them, a dashboard: what Grafana's JSON needs
fleet.py      all resources, the sources they are read from, and the operator itself
resource.py   one resource: what was decided, from what, and why
"""

from __future__ import annotations

import json

from dashboards import fleet, resource


def made() -> dict[str, str]:
    """The JSON text of each dashboard by its uid."""
    return {board["uid"]: json.dumps(board, indent=2) + "\n" for board in (fleet.board(), resource.board())}
