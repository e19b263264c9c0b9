"""What the pages show to be pasted: executed, and what it gives is read by the operator's own code."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from typing import Any

import lupa.lua51 as lua
import pytest
import yaml
from tests.unit.processing_support import Readings, good

from bed.paths import REPOSITORY
from pages.blocks import block_with

DOCS = REPOSITORY / "docs"


@dataclass
class Record:
    topic: str = "orders"


def test_the_python_snippet_gives_what_the_convention_reads() -> None:
    """Records of 20 ms each, one of them a failure, which counts, too."""
    names: dict[str, Any] = {}
    exec(block_with(DOCS / "processing-time-snippets.md", "python", "def consume"), names)
    took: list[float] = []

    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

    def process(record: Record) -> None:
        Clock.now += 0.02
        took.append(0.02)
        if len(took) == 30:
            raise OSError("the bank does not answer")

    names["time"] = Clock
    server, thread = names["serve"](0)
    try:
        readings = Readings()

        def page() -> str:
            url = f"http://127.0.0.1:{server.server_port}/metrics"
            with urllib.request.urlopen(url, timeout=5) as answer:
                text: str = answer.read().decode()
                return text

        names["consume"]([Record()] * 10, "g", process)
        readings.read({("app-a", "10.0.0.1"): page()})
        with pytest.raises(OSError, match="bank"):
            names["consume"]([Record()] * 40, "g", process)
        result = good(readings.read({("app-a", "10.0.0.1"): page()}))
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert result.seconds_per_record == pytest.approx(0.02)
    assert result.records == 20


def condition(kind: str, status: str, reason: str, generation: int = 2) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": "words", "observedGeneration": generation}


@pytest.mark.parametrize(
    ("conditions", "health"),
    [
        (None, "Progressing"),
        ([condition("Ready", "True", "Working", generation=1)], "Progressing"),
        ([condition("Ready", "True", "Working"), condition("SourceHealthy", "Unknown", "NotReadYet")], "Progressing"),
        ([condition("Ready", "True", "Working"), condition("SourceHealthy", "True", "Valid")], "Healthy"),
        ([condition("Ready", "True", "Observing"), condition("SourceHealthy", "True", "Valid")], "Healthy"),
        ([condition("Ready", "True", "Paused"), condition("SourceHealthy", "True", "Valid")], "Suspended"),
        ([condition("Ready", "False", "TargetNotFound")], "Degraded"),
        ([condition("Ready", "True", "Working"), condition("SourceHealthy", "False", "BrokerUnreachable")], "Degraded"),
        (
            [
                condition("Ready", "True", "Working"),
                condition("AbleToScale", "False", "Forbidden"),
                condition("SourceHealthy", "True", "Valid"),
            ],
            "Degraded",
        ),
        (
            [
                condition("Ready", "True", "Working"),
                condition("SourceHealthy", "True", "Valid"),
                condition("Backpressured", "True", "MaxReplicas"),
                condition("PromiseKept", "False", "DelayAbovePromise"),
            ],
            "Healthy",
        ),
    ],
)
def test_the_health_script_for_argo_cd_says_how_the_resource_is(
    conditions: list[dict[str, Any]] | None, health: str
) -> None:
    """Executed by Lua 5.1, which Argo CD's is compatible with."""
    shown = yaml.safe_load(block_with(DOCS / "gitops.md", "yaml", "customizations.health"))
    (script,) = shown["data"].values()
    runtime = lua.LuaRuntime()
    status = None if conditions is None else {"conditions": conditions}
    body = {"metadata": {"generation": 2}, **({} if status is None else {"status": status})}
    runtime.globals().obj = runtime.table_from(body, recursive=True)
    assert runtime.execute(script)["status"] == health
