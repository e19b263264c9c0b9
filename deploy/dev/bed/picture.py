"""The picture of a scenario: load, lag, delay and replicas over time; the time of a record where it wanders."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from bed.scenario import Sample

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_NOT_BEHIND = ("", "KeepingUp", "LagUnknown", "Rebalancing")
_SHADES = ("#f2c14e", "#c8553d", "#8d99ae", "#3d8361")
_BLUE, _RED, _GREEN, _GREY = "#2364aa", "#c8553d", "#3d8361", "#8d99ae"


def draw(samples: Sequence[Sample], path: Path, *, promise_seconds: float, most: int, title: str) -> None:
    """Writes a PNG of four panels that share the time axis."""
    at = [sample.seconds for sample in samples]
    wanders = any(sample.seconds_per_record is not None for sample in samples)
    count = 5 if wanders else 4
    figure, panels = plt.subplots(count, 1, figsize=(10, 2.25 * count), sharex=True, layout="constrained")
    load, lag, delay, replicas = panels[:4]

    load.plot(at, [s.planned_per_second for s in samples], color=_GREY, linestyle="--", label="sent (plan)")
    load.plot(at, [_or_nan(s.arrival_per_second) for s in samples], color=_BLUE, label="arriving, as measured")
    carried = [_or_nan(s.capacity_per_second) * s.ready for s in samples]
    load.plot(at, carried, color=_GREEN, linewidth=1, label="ready replicas × learned capacity")
    load.set_ylabel("records per second")

    lag.plot(at, [_or_nan(s.lag_messages) for s in samples], color=_BLUE)
    lag.set_ylabel("lag, messages")

    delay.plot(at, [_or_nan(s.delay_seconds) for s in samples], color=_RED, label="oldest message waits")
    delay.axhline(promise_seconds, color=_GREY, linestyle="--", label=f"promise: {promise_seconds:.0f} s")
    delay.set_ylabel("delay, seconds")

    replicas.step(at, [s.replicas for s in samples], where="post", color=_BLUE, label="replicas")
    replicas.step(at, [s.ready for s in samples], where="post", color=_GREEN, linewidth=1, label="ready")
    replicas.axhline(most, color=_GREY, linestyle="--", label=f"at most {most}")
    replicas.set_ylabel("replicas")
    if wanders:
        _time_of_a_record(panels[4], samples)
    panels[-1].set_xlabel("seconds since the load began")
    _shade(lag, samples)

    for panel in panels:
        panel.set_ylim(bottom=0)
        panel.set_xlim(left=0, right=at[-1])
        panel.grid(alpha=0.25)
        if panel.get_legend_handles_labels()[1]:
            panel.legend(loc="best", fontsize=8, framealpha=0.9)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _time_of_a_record(panel: Axes, samples: Sequence[Sample]) -> None:
    at = [sample.seconds for sample in samples]
    panel.plot(at, [_or_nan(s.seconds_per_record) for s in samples], color=_GREY, linestyle="--", label="mean (plan)")
    learned = [1 / s.capacity_per_second if s.capacity_per_second else float("nan") for s in samples]
    panel.plot(at, learned, color=_GREEN, label="1 / learned capacity")
    panel.set_ylabel("seconds per record")


def _shade(panel: Axes, samples: Sequence[Sample]) -> None:
    """The spans in which the operator says that the group is behind, by the reason that it gives."""
    reasons = [r for r in dict.fromkeys(s.backpressured for s in samples) if r not in _NOT_BEHIND]
    for reason, color in zip(reasons, itertools.cycle(_SHADES), strict=False):
        label: str | None = f"Backpressured: {reason}"
        for here, after in itertools.pairwise(samples):
            if here.backpressured == reason:
                panel.axvspan(here.seconds, after.seconds, color=color, alpha=0.35, linewidth=0, label=label)
                label = None


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
