"""The options of `simulate`. Apart, so that the other commands need no numpy."""

from __future__ import annotations

import argparse
from pathlib import Path

POLICIES = (
    "ours | keda[:LAG][,KNOB=VALUE…] | keda:SCALEDOBJECT.yaml | flink[:quick] | static:N | oracle | today (with"
    " --prometheus: the replicas that were there)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "trace",
        metavar="TRACE",
        nargs="?",
        help="CSV with the columns seconds,events_per_second; or a range query of Prometheus: URL, or answer (.json)."
        " Not with --prometheus",
    )
    parser.add_argument(
        "resource",
        type=Path,
        nargs="?",
        metavar="RESOURCE.yaml",
        help="a ConsumerAutoscaler: its spec is what `ours` obeys",
    )
    parser.add_argument(
        "--policy", action="append", default=[], metavar="POLICY",
        help=f"{POLICIES}; may be repeated (default: ours, with --prometheus: today, ours, keda)"
    )  # fmt: skip
    parser.add_argument("--slo", type=float, metavar="SECONDS", help="the promise (default: the resource's, else 60)")
    parser.add_argument("--seed", type=int, default=1, help="for all that is random (default: 1)")
    parser.add_argument(
        "--from", dest="first", type=float, metavar="S", help="measure from this second of the trace on"
    )
    parser.add_argument("--to", dest="last", type=float, metavar="S", help="measure up to this second of the trace")
    parser.add_argument("--partitions", type=int, default=None, metavar="N",
                        help="of the topic (default: those of the history, else 24)")  # fmt: skip
    parser.add_argument(
        "--noise",
        default="poisson",
        metavar="KIND",
        help="poisson | none | a number: Poisson, and the rate of each 10 s varies by this much (default: poisson)",
    )
    parser.add_argument("--amplitude", type=float, metavar="RATE", help="scale the load: 99th percentile in events/s")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw load, replicas and lag: .png or .html")
    parser.add_argument(
        "--bound", action="store_true", help="also compute the oracle's certified lower bound (takes a while)"
    )
    world = parser.add_argument_group("the modelled group")
    world.add_argument(
        "--capacity",
        type=float,
        metavar="RATE",
        help="records/s of a replica (default: fitted with --prometheus, else the resource's, else 100)",
    )
    world.add_argument(
        "--start", default="30", metavar="S[±CV]", help="pod start time, e.g. 30 or 30±0.4 (default: 30)"
    )
    world.add_argument("--pause", default="10", metavar="S[±CV]", help="pause of a rebalance (default: 10)")
    world.add_argument("--rebalance", choices=["eager", "cooperative", "consumer"], default="eager",
                       help="consumer: KIP-848 (default: eager)")  # fmt: skip
    world.add_argument("--assignor", choices=["roundrobin", "range", "sticky", "uniform"], default="roundrobin")
    world.add_argument("--order", choices=["fair", "turns"], default="fair",
                       help="how a consumer serves its partitions (default: fair)")  # fmt: skip
    world.add_argument("--commit", type=float, default=5.0, metavar="S", help="commit interval (default: 5)")
    world.add_argument("--skew", type=float, default=0.0, metavar="X",
                       help="partition n of the hottest gets 1/n^X of the load (default: 0, equal)")  # fmt: skip
    world.add_argument("--processing-cv", type=float, default=0.0, metavar="CV",
                       help="how much the time of a record varies (default: 0)")  # fmt: skip
    world.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT",
        help="may be repeated: slow@600+300:0.5 (half the pace for 300 s), limit@600+300:800 (at most 800/s in all),"
        " crash@600 (a pod), stuck@600+300:3 (partition 3), partitions@600:48 (48 from then on)",
    )
    world.add_argument("--replicas", type=int, default=None, metavar="N",
                       help="to begin with (default: those of the history, else 1)")  # fmt: skip
    world.add_argument("--warm-up", type=float, default=1800.0, metavar="S",
                       help="seconds before the measured part, not counted (default: 1800)")  # fmt: skip
    _add_history(parser)


def _add_history(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument_group(
        "from your own past", "a group's lag and replicas as a Prometheus has them; TRACE is then left out"
    )
    own.add_argument("--prometheus", metavar="URL", help="of its API, with the path below which it lives")
    own.add_argument("--group", help="the consumer group (default: the resource's)")
    own.add_argument("--topic", action="append", default=[], help="only this topic's lag; may be repeated")
    own.add_argument("--namespace", metavar="NAME", help="of the Deployment (default: the resource's)")
    own.add_argument(
        "--target", metavar="NAME", help="the Deployment or StatefulSet (default: the resource's, else like the group)"
    )
    own.add_argument("--days", type=float, default=7.0, metavar="N", help="how far back (default: 7)")
    own.add_argument(
        "--step", type=float, metavar="S", help="seconds between points (default: 60, up to 6 hours 15; never finer"
        " than a scrape)"
    )  # fmt: skip
    own.add_argument("--query", metavar="PROMQL", help="records/s that arrive, in place of what exporters tell")
    own.add_argument("--replicas-query", metavar="PROMQL", help="the replicas, in place of kube-state-metrics'")
    own.add_argument(
        "--bearer-token-file", type=Path, metavar="FILE", help="a token to show to Prometheus; it needs https://"
    )
