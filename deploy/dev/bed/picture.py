"""The picture of a scenario: load, lag, delay and replicas over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from bed.scenario import Sample

mpl.use("Agg")

from matplotlib import pyplot as plt

_BLUE, _RED, _GREEN, _GREY = "#2364aa", "#c8553d", "#3d8361", "#8d99ae"


def draw(samples: Sequence[Sample], path: Path, *, promise_seconds: float, partitions: int, title: str) -> None:
    """Writes a PNG of four panels that share the time axis."""
    at = [sample.seconds for sample in samples]
    figure, panels = plt.subplots(4, 1, figsize=(10, 9), sharex=True, layout="constrained")
    load, lag, delay, replicas = panels

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
    replicas.axhline(partitions, color=_GREY, linestyle="--", label=f"{partitions} partitions")
    replicas.set_ylabel("replicas")
    replicas.set_xlabel("seconds since the load began")

    for panel in panels:
        panel.set_ylim(bottom=0)
        panel.set_xlim(left=0, right=at[-1])
        panel.grid(alpha=0.25)
        if panel is not lag:
            panel.legend(loc="upper right", fontsize=8, framealpha=0.9)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
