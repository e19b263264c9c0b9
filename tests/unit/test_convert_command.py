"""`convert` as a command: what goes to which stream, and the exit status."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from tests.unit.convert_samples import authentication, hpa, scaled, secured, trigger

from consumer_autoscaler.cli import main, plugin

CPU = {"type": "cpu", "metadata": {"value": "60"}}


def test_resources_go_to_standard_output_and_the_report_beside(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that `… | kubectl apply -f -` works; pauses of KEDA become those of this resource."""
    one = scaled(trigger(), annotations={"autoscaling.keda.sh/paused-replicas": "3"})
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(one)))
    assert plugin(["convert", "-f", "-", "--mode", "Active"]) == 0
    out, err = capsys.readouterr()
    body = yaml.safe_load(out)
    assert (body["kind"], body["spec"]["mode"]) == ("ConsumerAutoscaler", "Active")
    assert body["metadata"]["annotations"] == {"consumerautoscaler.dev/paused-replicas": "3"}
    assert err.startswith("ScaledObject shop/scaler: converted\n")
    assert err.endswith("1 of 1 converted\n")


@pytest.mark.parametrize(
    ("objects", "status", "made"),
    [
        ([scaled(trigger())], 0, 1),
        ([scaled(trigger(), CPU)], 1, 1),
        ([scaled(trigger()), scaled(CPU)], 1, 1),
        ([authentication(hashiCorpVault={"address": "x"}), scaled(secured(sasl="plaintext"))], 1, 0),
        ([hpa()], 1, 0),
        ([authentication(parameters=("username",))], 1, 0),
    ],
)
def test_the_status_is_one_when_something_was_refused(
    objects: list[object], status: int, made: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    assert main(["convert", "-f", str(file)]) == status
    assert len(list(yaml.safe_load_all(capsys.readouterr().out))) == made


def test_json_has_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump(scaled(trigger(), CPU)))
    assert main(["convert", "-f", str(file), "-o", "json"]) == 1
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["origin"] == "ScaledObject shop/scaler"
    assert result["resource"]["spec"]["objective"] == {"lagPerReplica": 10}
    assert result["refused"]
    assert "spec.triggers[1]" in {note["where"] for note in result["notes"] if note["kind"] == "refused"}


@pytest.mark.parametrize("text", ["a: [", "- 1", "kind: 1\nmetadata: 2"])
def test_wrong_use_is_two(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text(text)
    assert main(["convert", "-f", str(file)]) == 2
    assert str(file) in capsys.readouterr().err
    assert main(["convert", "-f", str(file), "-A"]) == 2
