"""The workflows of the project's repository: sound by actionlint, with pinned actions and few rights."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bed import parts
from bed.paths import REPOSITORY

FOLDER = REPOSITORY / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yaml"))
TOOLS = Path(sys.executable).parent
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def loaded(name: str) -> dict[Any, Any]:
    body: dict[Any, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return body


def test_there_are_workflows_to_check() -> None:
    assert [path.name for path in WORKFLOWS] == ["audit.yaml", "e2e.yaml", "release.yaml", "test.yaml"]


@pytest.mark.timeout(600)  # the first time it is built
def test_actionlint_finds_nothing() -> None:
    """With shellcheck, which it runs on each script."""
    done = _run(parts.program("actionlint"), "-color", *WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck_finds_nothing_in_scripts() -> None:
    scripts = [*(REPOSITORY / "tests" / "e2e").glob("*.sh"), REPOSITORY / ".ci" / "run"]
    done = _run(TOOLS / "shellcheck", *scripts)
    assert done.returncode == 0, done.stdout + done.stderr


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_of_others_are_pinned_by_commit(path: Any) -> None:
    """With the version as a comment, which Dependabot keeps up; a tag could be moved."""
    used = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses: " in line]
    assert used
    assert [line for line in used if not line.startswith("uses: ./") and not PINNED.match(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_allowed_that_a_job_does_not_ask_for(path: Any) -> None:
    """No rights by default; only the job that publishes may write."""
    workflow = loaded(path.name)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        writes = {right for right, level in job["permissions"].items() if level == "write"}
        assert not writes or (path.name, name) == ("release.yaml", "publish")


def test_checkouts_keep_no_credentials_and_expressions_stay_out_of_scripts() -> None:
    """What comes from outside reaches scripts as variables, not as text of the script."""
    for path in WORKFLOWS:
        for job in loaded(path.name)["jobs"].values():
            for step in job.get("steps", []):
                assert "${{" not in step.get("run", ""), f"{path.name}: {step['run']}"
                if "actions/checkout" in step.get("uses", ""):
                    assert step["with"]["persist-credentials"] is False


def test_a_release_needs_all_tests() -> None:
    assert loaded("release.yaml")["jobs"]["publish"]["needs"] == ["test", "e2e"]
