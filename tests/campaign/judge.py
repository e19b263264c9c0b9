"""What came of a run, and what is wrong with it beside a run of the same story without a fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Condition = tuple[str, str, str]  # type, status, reason

STATUS_WRITES_TO_SPARE = 3  # a lag that is read half-way, a condition a poll earlier or later
OPEN_FILES_TO_SPARE = 4


@dataclass(frozen=True, slots=True)
class Expected:
    """What a fault may change. All else must be as without it: counts, scale writes, Events, conditions at the end."""

    restarts: tuple[int, int] = (0, 0)
    """The least and the most times that the operator has to be started again."""
    events: frozenset[str] = frozenset()
    """Reasons of Events that may come in addition, as `ScaleFailed`."""
    events_may_be_lost: bool = False
    """An Event is told once and best effort: who is killed takes its last ones along."""
    status_writes: int = 0
    """How many more there may be."""
    counts: tuple[int, ...] | None = None
    """In place of the story's."""


@dataclass(slots=True)
class Outcome:
    """One run, as plain values. A run without a fault has the row `-`."""

    row: str
    fault: str
    story: str
    seed: int
    moment: str = ""
    fault_seconds: float = 0.0
    took_seconds: float = 0.0
    happened: bool = True
    """Whether the fault met what it is about: a kill at the ninth write does not, when there are eight."""
    counts: list[int] = field(default_factory=list)
    scale_writes: int = 0
    status_writes: int = 0
    requests: int = 0
    events: dict[str, int] = field(default_factory=dict)
    """By the kind of object and the reason."""
    writes: dict[str, int] = field(default_factory=dict)
    """All that the operator tried to write, by verb and resource, as the proxy saw it."""
    conditions: list[Condition] = field(default_factory=list)
    restarts: int = 0
    repeats: int = 0
    """How many runs before this one did not count, because the machine was too busy."""
    open_files: int = 0
    stuck: str = ""
    leaked: str = ""
    wrong_scale_writes: int = 0
    double_steps: int = 0
    differences: list[str] = field(default_factory=list)
    """What is not as without the fault and not expected, and what the fault itself saw and must not be."""

    @property
    def bad(self) -> bool:
        return bool(self.wrong_scale_writes or self.double_steps or self.stuck or self.leaked or self.differences)

    def text(self) -> str:
        """A line for people."""
        words = [f"{self.row} {self.fault}: {self.story} #{self.seed} at {self.moment}"]
        words += [f"{self.took_seconds:.0f} s", str(self.counts)]
        words += [f"after {self.repeats} on a starved machine"] if self.repeats else []
        words += ["did not happen"] if not self.happened else []
        words += [f"STUCK {self.stuck}"] if self.stuck else []
        words += [f"LEAKED {self.leaked}"] if self.leaked else []
        words += [f"WRONG {self.wrong_scale_writes}"] if self.wrong_scale_writes else []
        words += [f"DOUBLE {self.double_steps}"] if self.double_steps else []
        words += [f"DIFFERENT {'; '.join(self.differences)}"] if self.differences else []
        return ", ".join(words)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(outcome: Outcome, baselines: Sequence[Outcome], expected: Expected, counts: Sequence[int]) -> None:
    """Writes into the outcome what is wrong with it."""
    wanted = list(expected.counts or counts)
    outcome.wrong_scale_writes, outcome.double_steps = _surplus(outcome.counts, wanted)
    repeated = outcome.scale_writes - max(0, len(outcome.counts) - 1)
    if repeated > 0:
        outcome.double_steps += repeated
    if not outcome.stuck and outcome.counts[-1:] != wanted[-1:]:
        outcome.stuck = f"ended at {outcome.counts}, not at {wanted}"
    if outcome.happened and not outcome.stuck:
        outcome.differences += _differences(outcome, baselines, expected)


def always(baselines: Sequence[Outcome]) -> Counter[str]:
    """The Events that each of these runs has told."""
    common = Counter(baselines[0].events)
    for each in baselines:
        common &= Counter(each.events)
    return common


def _surplus(seen: Sequence[int], wanted: Sequence[int]) -> tuple[int, int]:
    """How many counts were asked for that are not the story's: wrong ones, and steps further in the same direction."""
    wrong = double = place = 0
    for i, count in enumerate(seen):
        if place < len(wanted) and count == wanted[place]:
            place += 1
        elif i >= 2 and (seen[i] > seen[i - 1]) == (seen[i - 1] > seen[i - 2]):
            double += 1
        else:
            wrong += 1
    return wrong, double


def _differences(outcome: Outcome, baselines: Sequence[Outcome], expected: Expected) -> Iterator[str]:
    if not baselines:
        return
    least, most = expected.restarts
    if not least <= outcome.restarts <= most:
        yield f"{outcome.restarts} restarts, expected {least} to {most}"
    limit = max(each.status_writes for each in baselines) + STATUS_WRITES_TO_SPARE + expected.status_writes
    if outcome.status_writes > limit:
        yield f"{outcome.status_writes} status writes, at most {limit}"
    ends = [each.conditions for each in baselines]
    if outcome.conditions not in ends:
        yield f"conditions at the end: {sorted(set(outcome.conditions) ^ set(ends[0]))}"
    seen = Counter(outcome.events)
    most_events: Counter[str] = Counter()
    for each in baselines:
        most_events |= Counter(each.events)
    for reason, times in (seen - most_events).items():
        if reason.partition(" ")[2] not in expected.events:
            yield f"Event {reason} {times} times more"
    if not expected.events_may_be_lost:
        for reason, times in (always(baselines) - seen).items():
            yield f"Event {reason} {times} times less"
