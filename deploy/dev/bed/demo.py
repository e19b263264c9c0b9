"""The main job, played live: `make demo`.

A load rises to ten times its base and falls again; the operator keeps the promise of 60 s and comes back. Shows what
happens while it happens, then a summary and `demo.png`. Exit status 0 only if the group was scaled up, caught up with
no late message, came back to within one replica of its start, and never had more replicas than partitions.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from bed import parts
from bed.picture import draw
from bed.processes import ProcessFailed
from bed.scenario import NAME, PARTITIONS, Sample, Scenario, Summary, say

BASE, PEAK = 80.0, 800.0  # records per second
PROFILE = [(0.0, BASE), (25.0, BASE), (75.0, PEAK), (165.0, PEAK), (190.0, BASE), (325.0, BASE)]
CAUGHT_UP_LAG = 4 * BASE  # what is committed within a few seconds is no backlog
_SPARK = "▁▂▃▄▅▆▇█"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bed.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the bed up at the end, until Ctrl-C")
    parser.add_argument("--picture", type=Path, default=Path("demo.png"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        parts.ensure("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        parts.kafka_libs()
        with Scenario() as scene:
            _play(scene)
            summary = scene.summary()
            say("drawing the picture")
            draw(
                scene.samples,
                options.picture,
                promise_seconds=scene.promise_seconds,
                partitions=PARTITIONS,
                title="Ten times the load and back, with a promise of 60 s",
            )
            problems = verdict(summary)
            _tell(scene, summary, problems, options.picture)
            if options.keep:
                _keep(scene)
        return 1 if problems else 0
    except KeyboardInterrupt:
        say("stopped")
        return 130
    except (ProcessFailed, parts.PartUnavailable) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1


def verdict(summary: Summary) -> list[str]:
    """What the demo has to show and did not; empty when all is well."""
    checks = {
        "the group was not scaled up": summary.replicas_most > summary.replicas_first,
        f"{summary.late_share:.3%} of the messages were late": summary.late_share == 0,
        f"the group has not caught up: {summary.lag_last} messages of lag": summary.lag_last is not None
        and summary.lag_last <= CAUGHT_UP_LAG,
        f"it did not come back: {summary.replicas_last} replicas": abs(summary.replicas_last - summary.replicas_first)
        <= 1,
        f"{summary.replicas_most} replicas are more than there are partitions": summary.replicas_most <= PARTITIONS,
        "nothing was consumed": summary.records > 0,
    }
    return [problem for problem, holds in checks.items() if not holds]


def _play(scene: Scenario) -> None:
    scene.begin(PROFILE)
    say(f"the load begins: {BASE:.0f} records/s, up to {PEAK:.0f}/s, and back; {PROFILE[-1][0]:.0f} s in all")
    with _Screen() as screen:
        event, looks = "", 0
        tick = threading.Event()
        while not scene.samples or scene.samples[-1].seconds < PROFILE[-1][0]:
            sample = scene.look()
            if looks % 3 == 0:
                event = scene.last_event() or event
            looks += 1
            screen.show(sample, scene.samples, event)
            tick.wait(1.0)


class _Screen:
    """A live table on a terminal, a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._said_at = -100.0

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
                f"  oldest {_n(now.delay_seconds)} s  replicas {now.replicas} ({now.ready} ready)  {event[:90]}"
            )

    def _table(self, now: Sample, samples: list[Sample], event: str) -> Table:
        table = Table(title=f"{now.seconds:.0f} of {PROFILE[-1][0]:.0f} s", title_justify="left", width=100)
        table.add_column("", width=18)
        table.add_column("now", justify="right", width=12)
        table.add_column("so far", width=60)
        rows: list[tuple[str, str, list[float]]] = [
            ("arriving, /s", _n(now.arrival_per_second), [s.arrival_per_second or 0 for s in samples]),
            ("lag, messages", _n(now.lag_messages), [s.lag_messages or 0 for s in samples]),
            ("oldest waits, s", _n(now.delay_seconds), [s.delay_seconds or 0 for s in samples]),
            ("replicas (ready)", f"{now.replicas} ({now.ready})", [float(s.replicas) for s in samples]),
        ]
        for name, value, past in rows:
            table.add_row(name, value, _spark(past))
        table.caption, table.caption_justify = event[:200], "left"
        return table


def _spark(values: list[float], width: int = 58) -> str:
    step = max(1, -(-len(values) // width))
    groups = [max(values[i : i + step]) for i in range(0, len(values), step)]
    top = max(groups, default=0) or 1
    return "".join(_SPARK[min(7, int(8 * value / top))] for value in groups)


def _n(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def _tell(scene: Scenario, summary: Summary, problems: list[str], picture: Path) -> None:
    kubectl = scene.controlplane.kubectl
    print(f"\n{summary.records} records, each committed within {summary.delay_max_seconds} s at the latest")
    print(f"late (over {scene.promise_seconds} s): {summary.late_share:.3%}")
    print(
        f"replicas {summary.replicas_first} → {summary.replicas_most} → {summary.replicas_last}"
        f" of {PARTITIONS} at most, {summary.scalings} scalings, {summary.replica_seconds:.0f} replica-seconds"
    )
    print("\n$ kubectl get cas\n" + kubectl("get", "cas"))
    chosen = "involvedObject.kind=ConsumerAutoscaler"
    print("$ kubectl get events\n" + kubectl("get", "events", "--field-selector", chosen))
    print(f"picture: {picture}")
    print("result: " + ("; ".join(problems) if problems else "the promise was kept, and nothing was wasted for long"))


def _keep(scene: Scenario) -> None:
    print("\nThe bed stays up until Ctrl-C. In another terminal:\n")
    print(f"  export KUBECONFIG={scene.controlplane.kubeconfig}")
    print("  kubectl get cas -w")
    print(f"  kubectl describe cas {NAME}")
    print(f'  kubectl patch cas {NAME} --type merge -p \'{{"spec":{{"mode":"Observe"}}}}\'')
    print(f"  .venv/bin/consumer-autoscaler explain default/{NAME}")
    print(f"  curl -s http://127.0.0.1:{scene.operator.port}/metrics | grep consumer_autoscaler_lag")
    scene.begin([(0.0, BASE), (86400.0, BASE)])
    threading.Event().wait()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
