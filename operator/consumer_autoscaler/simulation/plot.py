"""A picture of a comparison: the load, the replicas and the delays over time, as PNG or as one HTML page."""

from __future__ import annotations

import html
import io
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no display
from matplotlib.figure import Figure

from consumer_autoscaler.simulation.report import Report, as_table
from consumer_autoscaler.simulation.run import Window
from consumer_autoscaler.simulation.trace import Trace

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]  # told apart by all eyes


def draw(report: Report, trace: Trace, window: Window, path: Path) -> None:
    """Writes the file; its ending chooses the form, PNG where it is not `.html`."""
    figure = _figure(report, trace, window)
    if path.suffix.lower() != ".html":
        figure.savefig(path, format="png", dpi=110)
        return
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    title = html.escape(f"{report.trace}: simulated scaling")
    path.write_text(
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title></head><body>"
        f"<pre>{html.escape(as_table(report))}</pre>{svg[svg.index('<svg') :]}</body></html>\n",
        encoding="utf-8",
    )


def _figure(report: Report, trace: Trace, window: Window) -> Figure:
    unit, name = _unit(window.last - window.first)
    figure = Figure(figsize=(11, 8), layout="constrained")
    load, replicas, delay = figure.subplots(3, 1, sharex=True)
    inside = (trace.starts >= window.first) & (trace.starts < window.last)
    load.step(trace.starts[inside] / unit, trace.rates[inside], where="post", color="#555555", linewidth=0.8)
    load.set_ylabel("records/s")
    load.set_title(f"{report.trace}, promise {report.promise_seconds:g} s, seed {report.seed}")
    for index, row in enumerate(report.rows):
        colour = COLOURS[index % len(COLOURS)]
        counts = [*row.outcome.replicas, (window.last, row.outcome.replicas[-1][1])]
        replicas.step([at / unit for at, _ in counts], [count for _, count in counts], where="post", color=colour,
                      linewidth=1.0, label=row.name)  # fmt: skip
        delays = [(at, wait) for at, wait in row.outcome.delays if at >= window.first]
        delay.plot([at / unit for at, _ in delays], [wait for _, wait in delays], color=colour, linewidth=0.8)
    replicas.set_ylabel("replicas")
    replicas.legend(loc="upper right", fontsize=8)
    delay.axhline(report.promise_seconds, color="#aa0000", linestyle="--", linewidth=0.8)
    delay.set_ylabel("longest delay, s")
    longest = max((wait for row in report.rows for _, wait in row.outcome.delays), default=0.0)
    delay.set_ylim(0, min(max(longest, report.promise_seconds) * 1.05, 5 * report.promise_seconds))
    delay.set_xlabel(name)
    delay.set_xlim(window.first / unit, window.last / unit)
    return figure


def _unit(seconds: float) -> tuple[float, str]:
    if seconds > 3 * 86_400:
        return 86_400.0, "days"
    return (3600.0, "hours") if seconds > 2 * 3600 else (60.0, "minutes")
