"""One metric family: its name, type, labels and meaning, and the text of its samples (Prometheus' text format)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from consumer_autoscaler.durations import BOUNDS_SECONDS, Durations

PREFIX = "consumer_autoscaler_"


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Group(StrEnum):
    """The parts of the page about metrics, in its order."""

    IDENTITY = "What a resource is and asks for"
    STATE = "Its state"
    LOAD = "Its load"
    DECISION = "What was decided and done"
    TROUBLE = "What went wrong"
    OPERATOR = "The operator"
    REQUESTS = "Its requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a name means. `labels` are those of its own, without `namespace` and `name` of a resource's series."""

    name: str  # without PREFIX
    kind: Kind = Kind.GAUGE
    help: str
    group: Group
    labels: tuple[str, ...] = ()

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Those of its own and, for a resource's series, the two that name it."""
        return self.labels

    @property
    def full_name(self) -> str:
        return PREFIX + self.name

    @property
    def head(self) -> str:
        words = self.help.replace("\\", r"\\").replace("\n", r"\n")
        return f"# HELP {self.full_name} {words}\n# TYPE {self.full_name} {self.kind}\n"


def escaped(value: str) -> str:
    """A label's value as it stands between the quotes."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def pairs(names: Iterable[str], values: Iterable[str]) -> str:
    """`a="1",b="2"`."""
    return ",".join(f'{name}="{escaped(value)}"' for name, value in zip(names, values, strict=True))


def sample(name: str, labels: str, value: float) -> str:
    """One line."""
    return f"{name}{{{labels}}} {float(value)!r}\n" if labels else f"{name} {float(value)!r}\n"


def histogram_samples(name: str, labels: str, durations: Durations) -> Iterator[str]:
    """The buckets, the sum and the count."""
    comma = "," if labels else ""
    *below, count = durations.cumulative
    for bound, number in zip(BOUNDS_SECONDS, below, strict=True):
        yield sample(f"{name}_bucket", f'{labels}{comma}le="{bound!r}"', number)
    yield sample(f"{name}_bucket", f'{labels}{comma}le="+Inf"', count)
    yield sample(f"{name}_sum", labels, durations.total_seconds)
    yield sample(f"{name}_count", labels, count)
