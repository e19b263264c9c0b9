"""The main job, played live: `make demo`, or another story: `make demo SCENARIO=payments`.

telemetry: a load rises to ten times its base and falls again; the operator keeps the promise of 60 s and comes back.
payments: records take 50 to 2000 ms, and their mean wanders; the promise is kept without going to and fro.
shared-limit: a database behind all consumers takes half of what arrives; the operator says so and stops adding.

Shows what happens while it happens, then a summary and `demo.png`. Exit status 0 only if all that the story is about
was seen: for telemetry that the group was scaled up, caught up with no late message, came back to within one replica
of its start, and never had more replicas than partitions.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bed import parts
from bed.picture import draw
from bed.processes import ProcessFailed
from bed.scenario import Sample, Scenario, Summary, say
from bed.stories import STORIES, Story

_SPARK = "▁▂▃▄▅▆▇█"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bed.demo", description=__doc__)
    parser.add_argument("--scenario", choices=sorted(STORIES), default="telemetry")
    parser.add_argument("--keep", action="store_true", help="leave the bed up at the end, until Ctrl-C")
    parser.add_argument("--picture", type=Path, default=Path("demo.png"))
    options = parser.parse_args()
    story = STORIES[options.scenario]
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        parts.ensure("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        parts.kafka_libs()
        with Scenario(story.setting) as scene:
            _play(scene, story)
            summary = scene.summary()
            say("drawing the picture")
            draw(
                scene.samples,
                options.picture,
                promise_seconds=story.setting.promise_seconds,
                most=min(story.setting.max_replicas, story.setting.partitions),
                title=story.title,
            )
            problems = story.verdict(scene.samples, summary)
            _tell(scene, story, summary, problems, options.picture)
            if options.keep:
                _keep(scene, story)
        return 1 if problems else 0
    except KeyboardInterrupt:
        say("stopped")
        return 130
    except (ProcessFailed, parts.PartUnavailable) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1


def _play(scene: Scenario, story: Story) -> None:
    end, rates = story.profile[-1][0], [rate for _, rate in story.profile]
    scene.begin(story.profile)
    say(f"the load begins: {rates[0]:.0f} records/s, at most {max(rates):.0f}/s; {end:.0f} s in all")
    with _Screen(end) as screen:
        event, looks = "", 0
        tick = threading.Event()
        while not scene.samples or scene.samples[-1].seconds < end:
            sample = scene.look()
            if looks % 3 == 0:
                event = scene.last_event() or event
            looks += 1
            screen.show(sample, scene.samples, event)
            tick.wait(1.0)


class _Screen:
    """A live table on a terminal, elsewhere a line every ten seconds and one for each Event that is new."""

    def __init__(self, end_seconds: float) -> None:
        self._end_seconds = end_seconds
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._said_at = -100.0
        self._said_event = ""

    def __enter__(self) -> _Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, now: Sample, samples: list[Sample], event: str) -> None:
        if self._live:
            self._live.update(self._table(now, samples, event), refresh=True)
        elif now.seconds - self._said_at >= 10:
            self._said_at = now.seconds
            say(
                f"{now.seconds:4.0f} s  {_n(now.arrival_per_second)}/s arriving  lag {_n(now.lag_messages)}"
                f"  oldest {_n(now.delay_seconds)} s  replicas {now.replicas} ({now.ready} ready)"
                f"  {now.backpressured}"
            )
            if event != self._said_event:
                self._said_event = event
                say(f"       {event}")

    def _table(self, now: Sample, samples: list[Sample], event: str) -> Table:
        table = Table(title=f"{now.seconds:.0f} of {self._end_seconds:.0f} s", title_justify="left", width=100)
        table.add_column("", width=18)
        table.add_column("now", justify="right", width=12)
        table.add_column("so far", width=60)
        rows: list[tuple[str, str, list[float]]] = [
            ("arriving, /s", _n(now.arrival_per_second), [s.arrival_per_second or 0 for s in samples]),
            ("lag, messages", _n(now.lag_messages), [s.lag_messages or 0 for s in samples]),
            ("oldest waits, s", _n(now.delay_seconds), [s.delay_seconds or 0 for s in samples]),
            ("replicas (ready)", f"{now.replicas} ({now.ready})", [float(s.replicas) for s in samples]),
        ]
        if now.seconds_per_record is not None:
            times = [1000 * (s.seconds_per_record or 0) for s in samples]
            rows.insert(1, ("a record takes, ms", _n(times[-1]), times))
        for name, value, past in rows:
            table.add_row(name, value, _spark(past))
        table.add_row("behind because", "", now.backpressured)
        table.caption, table.caption_justify = event[:200], "left"
        return table


def _spark(values: list[float], width: int = 58) -> str:
    step = max(1, -(-len(values) // width))
    groups = [max(values[i : i + step]) for i in range(0, len(values), step)]
    top = max(groups, default=0) or 1
    return "".join(_SPARK[min(7, int(8 * value / top))] for value in groups)


def _n(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def _tell(scene: Scenario, story: Story, summary: Summary, problems: list[str], picture: Path) -> None:
    kubectl = scene.controlplane.kubectl
    print(f"\n{summary.records} records, each committed within {summary.delay_max_seconds} s at the latest")
    print(f"late (over {story.setting.promise_seconds} s): {summary.late_share:.3%}")
    print(
        f"replicas {summary.replicas_first} → {summary.replicas_most} → {summary.replicas_last}"
        f" of {story.setting.max_replicas} at most, {summary.scalings} scalings,"
        f" {summary.replica_seconds:.0f} replica-seconds"
    )
    print("\n$ kubectl get cas\n" + kubectl("get", "cas"))
    chosen = "involvedObject.kind=ConsumerAutoscaler"
    print("$ kubectl get events\n" + kubectl("get", "events", "--field-selector", chosen))
    print(f"behind, as the operator says: {_reasons(scene.samples)}")
    print(f"picture: {picture}")
    print("result: " + ("; ".join(problems) if problems else story.well))


def _reasons(samples: list[Sample]) -> str:
    """How long each reason of `Backpressured` held, in the order in which they came up."""
    seconds: dict[str, float] = {}
    for here, after in pairwise(samples):
        seconds[here.backpressured] = seconds.get(here.backpressured, 0.0) + after.seconds - here.seconds
    return ", ".join(f"{reason} {length:.0f} s" for reason, length in seconds.items() if reason)


def _keep(scene: Scenario, story: Story) -> None:
    name, base = story.setting.name, story.profile[-1][1]
    print("\nThe bed stays up until Ctrl-C. In another terminal:\n")
    print(f"  export KUBECONFIG={scene.controlplane.kubeconfig}")
    print("  kubectl get cas -w")
    print(f"  kubectl describe cas {name}")
    print(f'  kubectl patch cas {name} --type merge -p \'{{"spec":{{"mode":"Observe"}}}}\'')
    print(f"  .venv/bin/consumer-autoscaler explain default/{name}")
    print(f"  curl -s http://127.0.0.1:{scene.operator.port}/metrics | grep consumer_autoscaler_lag")
    scene.begin(((0.0, base), (86400.0, base)))
    threading.Event().wait()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
