"""The Java snippets of docs/processing-time-snippets.md, compiled into a consumer that reads from a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.wait import eventually
from tests.unit.processing_support import Readings, good

from bed import kafka_admin, micrometer
from bed.fetch import PartUnavailable
from bed.javac import compiled
from bed.jvm import java
from bed.kafka import Kafka
from bed.paths import REPOSITORY
from bed.processes import Process
from consumer_autoscaler.decision.values import ProcessingTime
from pages.blocks import block_with

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PAGE = REPOSITORY / "docs" / "processing-time-snippets.md"
SNIPPETS = {"registry": "PrometheusMeterRegistry registry", "client": "KafkaClientMetrics", "timer": "Timer.builder"}
POD = ("app-a", "10.0.0.1")


@pytest.fixture(scope="module")
def pages(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What the consumer shows at two moments, some seconds apart, while it is always busy."""
    folder = tmp_path_factory.mktemp("metered")
    source = (Path(__file__).parent / "Metered.java").read_text()
    for name, text in SNIPPETS.items():
        source = source.replace(f"/* snippet: {name} */", block_with(PAGE, "java", text))
    assert "/* snippet" not in source
    (folder / "Metered.java").write_text(source)
    try:
        libs = micrometer.libs()
    except PartUnavailable as error:
        pytest.skip(str(error))
    classes = compiled(folder / "Metered.java", libs)
    kafka.create_topic("metered", partitions=1)
    # In batches of a second's work each: the client counts records when all that one fetch brought has been worked off.
    for _ in range(30):
        kafka_admin.run(kafka_admin.produce_now(kafka.bootstrap, "metered", {0: 100}))
    page = folder / "page"
    process = Process(
        "metered",
        [str(java()), "-Xmx96m", "-cp", f"{classes}:{libs}/*", "Metered", kafka.bootstrap, "g", "metered", str(page)],
        log=folder / "metered.log",
    )
    try:
        seen: list[str] = []

        def consumed() -> float:
            text = page.read_text() if page.exists() else ""
            lines = [line for line in text.splitlines() if line.startswith("kafka_consumer_processing_seconds_count")]
            return float(lines[0].split()[-1]) if lines else 0.0

        for records in (1200, 2200):
            assert eventually(lambda: consumed() >= records, timeout_seconds=60), process.log_tail(40)  # noqa: B023
            seen.append(page.read_text())
        yield seen
    finally:
        process.stop()


@pytest.mark.parametrize("preset", ["Auto", "JavaClient"])
def test_the_snippets_tell_how_long_a_record_takes(pages: list[str], preset: str) -> None:
    """10 ms and what a sleep takes besides; by the timer, and by the client's ratio, where empty polls still count."""
    readings = Readings(preset, topics=("metered",))
    results = [readings.read({POD: page}) for page in pages]
    result: ProcessingTime = good(results[-1])
    assert 0.008 < result.seconds_per_record < 0.016, json.dumps(results, default=str)
