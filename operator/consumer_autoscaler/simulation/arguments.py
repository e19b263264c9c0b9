"""The options of `simulate`. Apart, so that the other commands need no numpy."""

from __future__ import annotations

import argparse
from pathlib import Path

POLICIES = "ours | keda[:LAG][,KNOB=VALUE…] | keda:SCALEDOBJECT.yaml | flink[:quick] | static:N | oracle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "trace",
        metavar="TRACE",
        help="CSV with the columns seconds,events_per_second; or a range query of Prometheus: URL, or answer (.json)",
    )
    parser.add_argument(
        "resource",
        type=Path,
        nargs="?",
        metavar="RESOURCE.yaml",
        help="a ConsumerAutoscaler: its spec is what `ours` obeys",
    )
    parser.add_argument(
        "--policy", action="append", default=[], metavar="POLICY", help=f"{POLICIES}; may be repeated (default: ours)"
    )
    parser.add_argument("--slo", type=float, metavar="SECONDS", help="the promise (default: the resource's, else 60)")
    parser.add_argument("--seed", type=int, default=1, help="for all that is random (default: 1)")
    parser.add_argument(
        "--from", dest="first", type=float, metavar="S", help="measure from this second of the trace on"
    )
    parser.add_argument("--to", dest="last", type=float, metavar="S", help="measure up to this second of the trace")
    parser.add_argument("--partitions", type=int, default=24, metavar="N", help="of the topic (default: 24)")
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
        "--capacity", type=float, metavar="RATE", help="records/s of a replica (default: the resource's, else 100)"
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
    world.add_argument("--replicas", type=int, default=1, metavar="N", help="to begin with (default: 1)")
    world.add_argument("--warm-up", type=float, default=1800.0, metavar="S",
                       help="seconds before the measured part, not counted (default: 1800)")  # fmt: skip
