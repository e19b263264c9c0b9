"""`consumer-autoscaler simulate`, as a person or a program calls it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.traces import TRACES

from consumer_autoscaler.cli import main

AZURE = str(TRACES / "azure_llm_conv_steady.csv")
KEYS = [
    "late_share", "delay_p50_s", "delay_p95_s", "delay_p99_s", "delay_max_s", "replica_hours",
    "replica_hours_vs_oracle", "scalings", "scalings_per_day", "reversals", "rebalance_share",
]  # fmt: skip
RESOURCE = """
apiVersion: consumerautoscaler.dev/v1alpha1
kind: ConsumerAutoscaler
metadata: {name: payments}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: payments}
  maxReplicas: 6
  sources: [{name: orders, kafka: {bootstrapServers: "kafka:9092", consumerGroup: payments}}]
  objective: {maxDelaySeconds: 90}
  capacity: {expectedRecordsPerMinute: 12000}
"""


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, float]]:
    assert main(["simulate", *arguments, "--to", "1500", "--warm-up", "300", "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    policies: dict[str, dict[str, float]] = answer["policies"]
    return policies


def test_all_policies_answer_with_the_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """By the names they were asked for, in that order; the oracle costs 1.0 times the oracle."""
    names = ["ours", "keda", "keda:3000", "flink", "flink:quick", "static:12", "oracle"]
    arguments = [AZURE, "--from", "1750", *(part for name in names for part in ("--policy", name))]
    assert main(["simulate", *arguments, "-o", "json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    answer = json.loads(printed.out)
    assert (answer["trace"], answer["seed"]) == ("azure_llm_conv_steady", 1)
    assert list(answer["policies"]) == names
    assert all(list(numbers) == KEYS for numbers in answer["policies"].values())
    assert answer["policies"]["oracle"]["replica_hours_vs_oracle"] == 1.0
    static = answer["policies"]["static:12"]
    assert (static["late_share"], static["scalings"], static["rebalance_share"]) == (0, 0, 0)
    assert static["replica_hours"] == pytest.approx(12 * 1750 / 3600, abs=0.01)


def test_the_seed_decides(capsys: pytest.CaptureFixture[str]) -> None:
    """The same call prints the same, another seed does not."""
    first, again = (asked(capsys, AZURE, "--policy", "ours", "--seed", "7") for _ in range(2))
    assert first == again
    assert asked(capsys, AZURE, "--policy", "ours", "--seed", "8") != first


def test_a_table_is_printed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each policy under a line with the names of the columns."""
    assert main(["simulate", AZURE, "--policy", "static:8", "--policy", "oracle", "--bound", "--to", "900"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("azure_llm_conv_steady, promise 60 s, seed 1; the oracle's plan costs")
    assert lines[2].split()[:3] == ["policy", "late", "p50"]
    assert [line.split()[0] for line in lines[3:]] == ["static:8", "oracle"]


def test_a_resource_gives_the_promise_the_limits_and_the_capacity(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """At most 6 replicas of 200/s each; `--slo` and `--capacity` have the last word."""
    path = tmp_path / "payments.yaml"
    path.write_text(RESOURCE)
    from_file = asked(capsys, AZURE, str(path), "--policy", "ours")["ours"]
    assert from_file["replica_hours"] < 0.75 * asked(capsys, AZURE, "--policy", "ours")["ours"]["replica_hours"]
    slower = asked(capsys, AZURE, str(path), "--policy", "ours", "--capacity", "50")["ours"]
    assert slower["late_share"] > 0.1  # 6 of 50/s do not carry it
    for given, promise in ((), 90), (("--slo", "45"), 45):
        assert main(["simulate", AZURE, str(path), "--to", "600", *given]) == 0
        assert f"promise {promise} s" in capsys.readouterr().out


def test_a_scaled_object_and_pod_metrics_are_played_from_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One's own ScaledObject against one's own resource."""
    keda, mine = tmp_path / "keda.yaml", tmp_path / "mine.yaml"
    trigger = "{type: kafka, metadata: {lagThreshold: '100'}}"
    keda.write_text(f"kind: ScaledObject\nspec: {{minReplicaCount: 3, maxReplicaCount: 9, triggers: [{trigger}]}}")
    mine.write_text(
        RESOURCE.replace("  capacity: {", "  processingTime: {sources: [{podMetrics: {port: 9100}}]}\n  capacity: {")
    )
    policies = asked(capsys, AZURE, str(mine), "--policy", "ours", "--policy", f"keda:{keda}")
    assert list(policies) == ["ours", f"keda:{keda}"]
    assert 3 * 1500 / 3600 < policies[f"keda:{keda}"]["replica_hours"] <= 9 * 1500 / 3600
    assert main(["simulate", AZURE, "--policy", f"keda:{mine}"]) == 2
    assert "mine.yaml: has no document of kind ScaledObject" in capsys.readouterr().err


def test_faults_are_played(capsys: pytest.CaptureFixture[str]) -> None:
    """Each by its own words; a load that 12 replicas carry is late while half of the pace or a pod is gone."""
    whole = asked(capsys, AZURE, "--policy", "static:12")["static:12"]
    assert whole["late_share"] == 0
    for fault in ("slow@600+600:0.3", "limit@600+600:300", "stuck@600+600:3"):
        assert asked(capsys, AZURE, "--policy", "static:12", "--fault", fault)["static:12"]["late_share"] > 0.01
    crashed = asked(capsys, AZURE, "--policy", "static:12", "--fault", "crash@600", "--fault", "partitions@900:48")
    assert crashed["static:12"]["rebalance_share"] == pytest.approx(30 / 1500, abs=0.003)


@pytest.mark.parametrize("ending", ["png", "html"])
def test_a_picture_is_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    """PNG, or one HTML page with the table in it and nothing fetched from elsewhere."""
    path = tmp_path / f"out.{ending}"
    assert main(["simulate", AZURE, "--policy", "static:8", "--to", "600", "--plot", str(path)]) == 0
    drawn = path.read_bytes()
    if ending == "png":
        assert drawn.startswith(b"\x89PNG")
    else:
        assert b"static:8" in drawn
        assert b"<svg" in drawn
        assert b"<script" not in drawn


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no.csv"], "no.csv: there is no such file"),
        ([AZURE, "no.yaml"], "no.yaml: there is no such file"),
        ([AZURE, "--policy", "hpa"], "--policy hpa: must be one of ours"),
        ([AZURE, "--policy", "static:0"], "--policy static:0: must be one of"),
        ([AZURE, "--policy", "keda:treshold=5"], "'treshold' is not one of lagThreshold, activationLagThreshold"),
        ([AZURE, "--policy", "keda:lagThreshold=x"], "lagThreshold cannot be 'x'"),
        ([AZURE, "--from", "9000"], "must be within the trace, 0 to 3500"),
        ([AZURE, "--from", "900", "--to", "100"], "in this order"),
        ([AZURE, "--noise", "pink"], "--noise pink: must be poisson, none, or a number"),
        ([AZURE, "--slo", "-1"], "--slo -1: must be greater than 0"),
        ([AZURE, "--fault", "flood@5"], "--fault flood@5: must be one of slow@SECOND+DURATION:FACTOR"),
        ([AZURE, "--fault", "slow"], "--fault slow: must be KIND@SECOND"),
        ([AZURE, "--fault", "stuck@9+9:24"], "stuck@SECOND+DURATION:PARTITION (below 24)"),
        ([AZURE, "--start", "soon"], "--start soon: must be seconds"),
    ],
)
def test_wrong_use_is_told_with_the_remedy(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    """Exit code 2, one line on standard error, nothing on standard output."""
    assert main(["simulate", *arguments]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_resource_that_is_not_one_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """No such kind, a bad field, no YAML: each in words."""
    path = tmp_path / "r.yaml"
    for text, says in (
        ("kind: Deployment", "has no document of kind ConsumerAutoscaler"),
        (RESOURCE.replace("maxReplicas: 6", "maxReplicas: 0"), "spec.maxReplicas"),
        ("a: [", ":1: is not YAML"),
    ):
        path.write_text(text)
        assert main(["simulate", AZURE, str(path)]) == 2
        assert says in capsys.readouterr().err


async def test_a_load_is_fetched_from_prometheus(capsys: pytest.CaptureFixture[str]) -> None:
    """TRACE may be the URL of a range query; what cannot be fetched or understood ends the command with a word."""
    answer = {"resultType": "matrix", "result": [{"values": [[t, "300"] for t in range(0, 600, 60)]}]}

    async def range_query(request: web.Request) -> web.Response:
        if request.query["query"] != "sum(rate(x[1m]))":
            return web.json_response({"status": "error", "error": "parse error"}, status=400)
        return web.json_response({"status": "success", "data": answer})

    app = web.Application()
    app.router.add_get("/api/v1/query_range", range_query)
    async with TestServer(app) as server:
        for query, code in (("sum(rate(x[1m]))", 0), ("sum(", 2)):
            url = str(server.make_url("/api/v1/query_range").with_query(query=query))
            assert await asyncio.to_thread(main, ["simulate", url, "--policy", "static:4", "--warm-up", "0"]) == code
    printed = capsys.readouterr()
    assert "static:4" in printed.out
    assert "Prometheus did not answer with success, but: parse error" in printed.err
    assert await asyncio.to_thread(main, ["simulate", url]) == 1
    assert "the load cannot be fetched (ClientConnectorError): check the URL" in capsys.readouterr().err


def test_without_the_extra_the_command_says_what_to_install() -> None:
    """And the other commands never ask for numpy."""
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from consumer_autoscaler.cli import main\n"
        "assert main(['crd']) == 0\n"
        "sys.exit(main(['simulate', 'x.csv']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "`simulate` needs numpy: pip install 'consumer-autoscaler[simulation]'" in done.stderr
