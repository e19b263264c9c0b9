"""One resource's readings of pods' pages, for the tests of what they say."""

from __future__ import annotations

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import ProcessingTime, Unavailable
from consumer_autoscaler.sources.pod_pages import Memory, Per, Pod, Question, conclude, read_page
from consumer_autoscaler.sources.presets import CustomMetric, presets_named

CONVENTION = "kafka_consumer_processing_seconds"
SPRING = "spring_kafka_listener_seconds"
A, B, C = ("app-a", "10.0.0.1"), ("app-b", "10.0.0.2"), ("app-c", "10.0.0.3")


class Readings:
    """Feeds pages to one resource's memory, one reading every 15 s."""

    def __init__(
        self,
        preset: str = "Auto",
        per: Per = "Record",
        topics: tuple[str, ...] = (),
        custom: CustomMetric | None = None,
    ) -> None:
        self.presets = presets_named(preset, custom)
        self.memory = Memory(Question(9100, "/metrics", preset, per, "g", frozenset(topics), custom))
        self.now = 1000.0

    def read(
        self, pages: dict[Pod, str | Exception], consumed: float | None = None, after: float = 15
    ) -> ProcessingTime | Unavailable | None:
        """The result of one reading; an exception stands for a pod that could not be read."""
        self.now += after
        question = self.memory.question
        answers = {
            pod: str(page)
            if isinstance(page, Exception)
            else read_page(page.encode(), self.presets, question.group, question.topics, self.now)
            for pod, page in pages.items()
        }
        return conclude(self.memory, self.presets, answers, consumed, self.now)


def page(count: float, total: float, name: str = CONVENTION, labels: str = 'group="g",topic="t"') -> str:
    return f"{name}_count{{{labels}}} {count}\n{name}_sum{{{labels}}} {total}\n"


def good(result: ProcessingTime | Unavailable | None) -> ProcessingTime:
    assert isinstance(result, ProcessingTime), result
    return result


def refused(result: ProcessingTime | Unavailable | None) -> str:
    assert isinstance(result, Unavailable), result
    assert result.reason is SourceReason.PROCESSING_TIME_UNAVAILABLE
    return result.message
