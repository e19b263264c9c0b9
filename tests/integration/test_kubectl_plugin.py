"""`kubectl consumer-autoscaler`, called by the real kubectl as somebody who may only read, and as one who may pause."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from tests.integration.site import Site
from tests.integration.support import Bed, eventually, operator_on

from bed import parts
from bed.controlplane import ControlPlane
from bed.paths import REPOSITORY
from pages.blocks import block_with

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

PAGE = REPOSITORY / "docs" / "kubectl.md"


class Kubectl:
    """kubectl with the plugin in its PATH, as one kubeconfig."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir(parents=True, exist_ok=True)
        if not (programs / "kubectl").exists():
            (programs / "kubectl").symlink_to(parts.program("kubectl"))
        for name, entry in (
            ("consumer-autoscaler", "main"),
            ("kubectl-consumer_autoscaler", "plugin"),
            ("kubectl_complete-consumer_autoscaler", "complete_plugin"),
        ):
            code = f"from consumer_autoscaler.cli import {entry}\nraise SystemExit({entry}())\n"
            (programs / name).write_text(f"#!{sys.executable}\n{code}")
            (programs / name).chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": str(REPOSITORY / "operator"),
        }

    async def __call__(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        command = ["kubectl", "consumer-autoscaler", *arguments]
        return await asyncio.to_thread(self._run, command, environment)

    def _run(self, command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
        done = subprocess.run(
            command, env=self.environment | environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
async def site(bed: Bed) -> AsyncIterator[Site]:
    """A resource at work, with three messages that wait in two partitions and a scaling behind it."""
    async with operator_on(bed, name="plugin") as bed.operator:
        site = await Site.open(bed, "plugin", committed=True)
        await site.until_read()
        await site.produce(2, 1)
        await site.until_replicas(2)
        await site.until_condition("AbleToScale", "True", "ReadyForNewScale")
        yield site


def _account(plane: ControlPlane, namespace: str, name: str, *roles: str) -> Path:
    plane.kubectl("create", "serviceaccount", name, "-n", namespace)
    for role in roles:
        plane.kubectl(
            "create", "rolebinding", f"{name}-{role}", f"--clusterrole={role}", f"--serviceaccount={namespace}:{name}",
            "-n", namespace,
        )  # fmt: skip
    return plane.kubeconfig_for(namespace, name)


@pytest.fixture(scope="module")
async def reader(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Exactly the role of the page, in the site's namespace, which is its context's, too."""
    plane = site.bed.controlplane
    role = block_with(PAGE, "yaml", "consumer-autoscaler-reader")
    await asyncio.to_thread(plane.kubectl, "apply", "-f", "-", input=role)
    config = await asyncio.to_thread(_account, plane, site.name, "looks", "consumer-autoscaler-reader")
    return Kubectl(tmp_path_factory.mktemp("reader"), config)


async def test_status_shows_all_in_a_table(site: Site, reader: Kubectl) -> None:
    """In the context's namespace; `-o wide` has more columns, JSON and YAML are the resources."""
    code, out, err = await reader("status")
    assert (code, err) == (0, "")
    header, row = out.splitlines()
    shown = dict(zip(header.split(), row.split(), strict=True))
    assert shown["NAME"] == "scaler"
    assert shown["TARGET"] == "deployment/consumers"
    assert (shown["REPLICAS"], shown["LAG"], shown["PROMISE"]) == ("2", "3", "1/replica")
    assert "\x1b" not in out

    _, wide, _ = await reader("status", "-o", "wide", "-n", site.name)
    assert {"MIN", "PARTITIONS", "MESSAGE"} <= set(wide.splitlines()[0].split())
    _, text, _ = await reader("status", "-o", "json")
    assert json.loads(text)["items"][0]["kind"] == "ConsumerAutoscaler"
    _, text, _ = await reader("status", "scaler", "-o", "yaml")
    assert yaml.safe_load(text)["metadata"]["name"] == "scaler"


async def test_status_of_one_has_conditions_and_events(site: Site, reader: Kubectl) -> None:
    async def told() -> str:
        code, out, err = await reader("status", f"{site.name}/scaler")
        assert (code, err) == (0, "")
        return out if "TargetScaledUp" in out else ""

    out = await eventually(told)
    assert "Scales     Deployment consumers" in out
    assert "SourceHealthy   True" in out
    assert "from 0 to 2 replicas" in out
    assert "In short" in out


async def test_status_waits_for_a_condition(site: Site, reader: Kubectl) -> None:
    """And fails with what the condition says instead when it does not come true in time."""
    code, out, err = await reader("status", "scaler", "--wait-for", "Ready")
    assert (code, err) == (0, "")
    assert "Ready           True" in out
    code, out, err = await reader("status", "scaler", "--wait-for", "Paused", "--timeout-seconds", "0")
    assert (code, out) == (1, "")
    assert f"{site.name}/scaler: after 0 s Paused is not reported" in err


async def test_what_may_not_be_done_is_said_with_the_place_of_the_rights(site: Site, reader: Kubectl) -> None:
    """A reader may not pause, nor look into other namespaces; nothing is written."""
    for arguments in (("pause", "scaler"), ("resume", "scaler"), ("status", "-A")):
        code, _, err = await reader(*arguments)
        assert code == 1, arguments
        assert err.startswith("kubectl consumer-autoscaler: "), err
        assert "forbidden" in err
        assert "docs/kubectl.md" in err
        assert "Traceback" not in err
    metadata = (await site.get_scaler())["metadata"]
    assert not metadata.get("annotations")
    code, _, err = await reader("status", "nobody")
    assert (code, err) == (1, f"kubectl consumer-autoscaler: there is no ConsumerAutoscaler {site.name}/nobody\n")


async def test_explain_and_lag_read_by_the_operator(site: Site, reader: Kubectl) -> None:
    """As the reader: the operator shows what its token may `get`; nobody needs access to Kafka."""
    assert site.bed.operator is not None
    there = ("--operator", f"http://127.0.0.1:{site.bed.operator.port}")
    code, out, err = await reader("explain", "scaler")
    assert (code, err) == (0, "")
    assert "Decision" in out
    code, out, err = await reader("explain", "scaler", "--live", *there)
    assert (code, err) == (0, "")
    assert "lag 3 / 1 per replica" in out
    code, out, err = await reader("lag", "scaler", *there)
    assert (code, err) == (0, "")
    assert "lag 3 in 2 of 3 partitions" in out
    code, out, _ = await reader("lag", "scaler", "-o", "json", *there)
    (group,) = json.loads(out)["groups"]
    assert [p["lagMessages"] for p in group["partitions"]] == [2, 1, 0]
    code, _, err = await reader("lag", "scaler", "--operator", "http://127.0.0.1:1")
    assert code == 1
    assert "port-forward" in err


async def test_wrong_use_is_two_and_help_speaks_of_kubectl(reader: Kubectl) -> None:
    for arguments in (
        ("lag",),
        ("pause", "a", "--replicas", "1", "--scale-in"),
        ("status", "x/y", "-n", "z"),
        ("status", "--wait-for", "Ready"),
        ("run",),
    ):
        code, out, err = await reader(*arguments)
        assert (code, out) == (2, ""), arguments
        assert "kubectl consumer-autoscaler" in err
    code, out, _ = await reader("pause", "--help")
    assert code == 0
    assert out.startswith("usage: kubectl consumer-autoscaler pause")


async def test_who_may_patch_pauses_and_resumes(site: Site, tmp_path: Path) -> None:
    """One annotation replaces another; the operator obeys and says so."""
    plane = site.bed.controlplane
    rule = ["--verb=patch", "--resource=consumerautoscalers.consumerautoscaler.dev"]
    await asyncio.to_thread(plane.kubectl, "create", "clusterrole", "cas-pauser", *rule)
    pauser = Kubectl(tmp_path, await asyncio.to_thread(_account, plane, site.name, "pauses", "cas-pauser"))

    code, out, err = await pauser("pause", "scaler", "--replicas", "4")
    assert (code, err) == (0, "")
    assert out == "consumerautoscaler.consumerautoscaler.dev/scaler paused at 4 replicas\n"
    await site.until_replicas(4)
    await site.until_condition("Ready", "True", "Paused")
    await pauser("pause", "scaler", "--scale-in", "--scale-out")
    await site.until_condition("Ready", "True", "PartlyPaused")
    annotations = (await site.get_scaler())["metadata"]["annotations"]
    prefix = "consumerautoscaler.dev/paused"
    assert annotations == {f"{prefix}-scale-in": "true", f"{prefix}-scale-out": "true"}
    code, out, _ = await pauser("resume", "scaler")
    assert out.endswith("scaler resumed\n")
    await site.until_condition("Ready", "True", "Working")
    assert not (await site.get_scaler())["metadata"].get("annotations")


async def test_kubectl_completes_the_plugin(reader: Kubectl) -> None:
    """Subcommands, options, their values, and names from the cluster; by the program that kubectl calls for it."""

    async def completed(*words: str) -> list[str]:
        command = ["kubectl", "__complete", "consumer-autoscaler", *words]
        _, out, _ = await asyncio.to_thread(reader._run, command, {})
        return [line for line in out.splitlines() if not line.startswith(":")]

    assert "status" in await completed("sta")
    assert "--scale-in" in await completed("pause", "--sc")
    assert await completed("status", "-o", "") == ["wide", "json", "yaml"]
    assert await completed("status", "") == ["scaler"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_a_completion_script_is_printed(reader: Kubectl, shell: str) -> None:
    command = ["consumer-autoscaler", "completion", shell]
    code, out, _ = await asyncio.to_thread(reader._run, command, {})
    assert code == 0
    assert "consumer-autoscaler __complete" in out


BY_SHELL = {
    "bash": (
        "source <(consumer-autoscaler completion bash); COMP_WORDS=(consumer-autoscaler status sca); COMP_CWORD=2;"
        ' _consumer_autoscaler; echo "${COMPREPLY[@]}"'
    ),
    "fish": 'consumer-autoscaler completion fish | source; complete -C "consumer-autoscaler status sca"',
    "zsh": (  # compdef and compadd are there in interactive shells only
        'compdef() { :; }; compadd() { shift; print -- "$@"; }; source <(consumer-autoscaler completion zsh);'
        " words=(consumer-autoscaler status sca); CURRENT=3; _consumer_autoscaler"
    ),
}


@pytest.mark.parametrize("shell", BY_SHELL)
async def test_a_shell_completes_the_program(reader: Kubectl, shell: str) -> None:
    """The script, sourced by the real shell, with the words of a line as the shell hands them over."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    code, out, err = await asyncio.to_thread(reader._run, [shell, "-c", BY_SHELL[shell]], {})
    assert (code, out.strip()) == (0, "scaler"), err
