"""docs/metrics.md: the queries it shows are asked by a real Prometheus' tool, and for series that there are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.integration.promql_names import unknown

from bed.parts import program
from bed.paths import REPOSITORY
from pages.blocks import blocks
from pages.metrics import queries

pytestmark = pytest.mark.integration


def test_the_page_shows_queries() -> None:
    shown = [block.strip() for block in blocks(REPOSITORY / "docs" / "metrics.md", "promql")]
    assert shown == queries()
    assert len(shown) >= 5


@pytest.mark.parametrize("query", queries())
def test_each_asks_for_series_that_the_operator_has(query: str) -> None:
    assert unknown(query) == []


def test_prometheus_understands_all_of_them(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        [program("promtool"), "check", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
