"""What a scrape costs with 10,000 resources: how long it takes, and how long it holds up the operator's other work.

Real autoscalers with real decisions, in this process, over stand-ins for the API server and the source
(tests/fakes/fleet.py), and the operator's own web server. The scraper is another process, as Prometheus is: it takes
the page again and again, plain and with gzip, over HTTP. Meanwhile this loop looks every 2 ms how late it is, and how
long its thread has really worked since, which does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from dataclasses import dataclass
from typing import Any, cast

from tests.bench.common import Bar, Samples, finish, percentile, say
from tests.fakes.fleet import START, Lone, body, measured, reading

from bed.paths import REPOSITORY
from consumer_autoscaler.decision.values import GroupReading
from consumer_autoscaler.runtime.pauses import short_pauses
from consumer_autoscaler.runtime.web import Health, WebServer

NAMESPACES = 20
LOOK_SECONDS = 0.002
PAUSE_SECONDS = 1.0  # between two scrapes, for what the loop does without one

BARS = (
    Bar("scrape_seconds_p50", 1.0),
    Bar("scrape_seconds_max", 1.0),
    Bar("loop_blocked_ms_max", 50),  # on a machine that does little else
    Bar("loop_worked_ms_max", 50),
)

_SCRAPER = """
import gzip, json, sys, time, urllib.request
url, encoding, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
for _ in range(int(sys.argv[4])):
    time.sleep(pause)
    began = time.time()
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept-Encoding": encoding})) as answer:
        page = answer.read()
    ended = time.time()
    text = gzip.decompress(page) if encoding == "gzip" else page
    lines = [line for line in text.splitlines() if line and not line.startswith(b"#")]
    one = {"began": began, "ended": ended, "sent": len(page), "bytes": len(text), "series": len(lines)}
    print(json.dumps(one), flush=True)
"""


@dataclass(frozen=True, slots=True)
class _Look:
    """One look of the loop at the clock: by how much it came late, and how long the loop's thread worked before it.

    On a machine that is busy with other things the first is longer: the thread waits for a CPU.
    """

    at: float
    late_ms: float
    worked_ms: float


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench scrape", description=__doc__)
    parser.add_argument("--n", dest="resources", type=int, default=10_000, help="resources (10000)")
    parser.add_argument("--scrapes", type=int, default=20, help="scrapes of each kind (20)")
    options = parser.parse_args(arguments)
    if options.resources < 1 or options.scrapes < 1:
        parser.error("at least one resource and one scrape")
    with Samples("scrape") as samples, short_pauses():
        figures = asyncio.run(_measure(options.resources, options.scrapes, samples))
    return finish(figures, BARS)


def _said(group: str, at: float) -> GroupReading:
    """Groups of different loads, a quarter of them behind."""
    number = int(group.removesuffix("-group").rpartition("-")[2])
    return reading(at, done=int((at - START) * (number % 97)), lag=20_000 if number % 4 == 0 else number % 50)


async def _measure(resources: int, scrapes: int, samples: Samples) -> dict[str, float]:
    lone = Lone(_said, measured)
    say(f"{resources} resources, three cycles of each")
    for number in range(resources):
        lone.fleet.observe(body(f"payments-{number}", namespace=f"team-{number % NAMESPACES}"))
        if number % 100 == 0:
            await asyncio.sleep(0)
    for _ in range(3):
        await lone.tick()
    assert lone.meters.failed_cycles == 0
    gc.collect()  # as at rest: what lives long is set aside (runtime/pauses.py)
    server = WebServer(
        host="127.0.0.1",
        port=0,
        page=lone.page,
        health=Health(lambda: None, lambda: (True, "working")),
        kube=cast(Any, lone.cluster),
        bundle_of=lambda *_: None,
    )
    async with server:
        found = {kind: await _scraped(server.port, kind, scrapes, samples) for kind in ("identity", "gzip")}
    await lone.fleet.aclose()
    return _figures(resources, found)


async def _scraped(port: int, encoding: str, scrapes: int, samples: Samples) -> list[dict[str, float]]:
    """Each scrape, with the longest gap of this loop while it went on."""
    say(f"{scrapes} scrapes, Accept-Encoding: {encoding}")
    looks: list[_Look] = []

    async def look() -> None:
        while True:
            due, worked = time.perf_counter() + LOOK_SECONDS, time.thread_time()
            await asyncio.sleep(LOOK_SECONDS)
            looks.append(_Look(time.time(), 1000 * (time.perf_counter() - due), 1000 * (time.thread_time() - worked)))

    looking = asyncio.create_task(look())
    command = ["-c", _SCRAPER, f"http://127.0.0.1:{port}/metrics", encoding, str(PAUSE_SECONDS), str(scrapes)]
    scraper = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY
    )
    out, _ = await scraper.communicate()
    looking.cancel()
    if scraper.returncode:
        raise RuntimeError(f"the scraper ended with {scraper.returncode}")
    found = []
    for line in out.splitlines():
        one = json.loads(line)
        one["seconds"] = one["ended"] - one["began"]
        during = [each for each in looks if one["began"] <= each.at <= one["ended"] + LOOK_SECONDS]
        one["blocked_ms"] = max(each.late_ms for each in during)
        one["worked_ms"] = max(each.worked_ms for each in during)
        between = [each.late_ms for each in looks if one["began"] - PAUSE_SECONDS <= each.at < one["began"]]
        one["blocked_before_ms"] = max(between)
        samples.add("scrape", encoding=encoding, **one)
        found.append(one)
    return found


def _figures(resources: int, found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """The table, and the figures over both kinds."""
    print(f"{resources:,} resources\n")
    print("| Scrape | s, p50 | s, max | loop late, ms, p50 | max | its own work, max | without scrape, max | MB sent |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, scrapes in found.items():
        seconds, blocked = [s["seconds"] for s in scrapes], [s["blocked_ms"] for s in scrapes]
        last = scrapes[-1]
        print(
            f"| {'plain' if kind == 'identity' else kind} | {percentile(seconds, 50):.2f} | {max(seconds):.2f} |"
            f" {percentile(blocked, 50):.1f} | {max(blocked):.1f} | {max(s['worked_ms'] for s in scrapes):.1f} |"
            f" {max(s['blocked_before_ms'] for s in scrapes):.1f} | {last['sent'] / 1e6:.1f} |"
        )
    print()
    every = [scrape for scrapes in found.values() for scrape in scrapes]
    return {
        "resources": resources,
        "scrape_seconds_p50": round(percentile((s["seconds"] for s in every), 50), 3),
        "scrape_seconds_max": round(max(s["seconds"] for s in every), 3),
        "loop_blocked_ms_max": round(max(s["blocked_ms"] for s in every), 1),
        "loop_worked_ms_max": round(max(s["worked_ms"] for s in every), 1),
        "loop_blocked_without_scrape_ms_max": round(max(s["blocked_before_ms"] for s in every), 1),
        "series": int(every[-1]["series"]),
        "bytes": int(every[-1]["bytes"]),
    }
