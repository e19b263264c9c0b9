"""KEDA's ScaledObjects and HPAs, each converted or refused with the reason.

The samples restate those of KEDA's documentation and of its end-to-end tests; the variants are what people make of it.
"""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
import yaml
from tests.unit.convert_samples import (
    CONVERTED,
    FAST,
    HPA_REFUSED,
    HPAS,
    REFUSED,
    Sample,
    authentication,
    behavior,
    deployment,
    hpa,
    scaled,
    secret,
    secured,
    trigger,
)

from consumer_autoscaler.convert.documents import BadDocument, Documents, read
from consumer_autoscaler.convert.everything import convert_all
from consumer_autoscaler.convert.hpa import Stream
from consumer_autoscaler.convert.notes import Converted, Kind
from consumer_autoscaler.convert.report import as_text, as_yaml
from consumer_autoscaler.convert.resource import poll_seconds, suggested_promise_seconds
from consumer_autoscaler.resource.spec import parse

STREAM = Stream("kafka:9092")


def converted(*objects: dict[str, Any], stream: Stream = STREAM) -> Converted:
    """The one result; the objects go through YAML, as they do for a user."""
    text = yaml.safe_dump_all(objects)
    (result,) = convert_all(Documents(read(text), "shop"), stream)
    return result


def spec_of(*objects: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = converted(*objects, **more).body
    assert body is not None
    spec: dict[str, Any] = body["spec"]
    return spec


def said(result: Converted, kind: Kind, where: str) -> str:
    return " ".join(note.text for note in result.notes if note.kind is kind and where in note.where)


@pytest.mark.parametrize("sample", [*CONVERTED, *HPAS], ids=lambda s: s.name)
def test_it_is_converted(sample: Sample) -> None:
    """To a resource that the operator reads, with what was to be kept, and each loss in the notes."""
    result = converted(*sample.objects)
    assert result.body is not None, result.notes
    parse({**result.body, "metadata": {**result.body["metadata"], "uid": "u"}})
    flat = yaml.safe_dump(result.body["spec"], default_flow_style=True, width=10_000)
    for wanted in sample.wanted:
        assert wanted in flat
    for words in sample.said:
        assert any(words in f"{n.where}: {n.text}" for n in result.notes), result.notes
    assert not any(n.kind is Kind.REFUSED for n in result.notes) or sample.part_refused


@pytest.mark.parametrize("sample", [*REFUSED, *HPA_REFUSED], ids=lambda s: s.name)
def test_it_is_refused_with_the_reason(sample: Sample) -> None:
    result = converted(*sample.objects, stream=Stream())
    assert result.body is None
    assert result.refused
    refusals = [f"{n.where}: {n.text}" for n in result.notes if n.kind is Kind.REFUSED]
    for words in sample.said:
        assert any(words in text for text in refusals), refusals


def test_the_samples_are_many() -> None:
    assert len(CONVERTED) + len(REFUSED) >= 30


def test_a_plain_one_scales_as_keda_did() -> None:
    """The number per replica, the HPA's window for downs, KEDA's default bounds, the pace of the faster loop."""
    assert spec_of(scaled(trigger(lagThreshold="50"))) == {
        "targetRef": {"kind": "Deployment", "name": "consumers"},
        "minReplicas": 0,
        "maxReplicas": 100,
        "mode": "Observe",
        "sources": [
            {
                "name": "main",
                "kafka": {
                    "bootstrapServers": "kafka:9092",
                    "consumerGroup": "group",
                    "topics": ["orders"],
                    "offsetReset": "Latest",
                },
            }
        ],
        "objective": {"lagPerReplica": 50},
        "scaling": {
            "pollIntervalSeconds": 15,
            "replicaSteps": "Any",
            "scaleDown": {"cooldownSeconds": 300},
            "idleSeconds": 300,
        },
    }


def test_a_promise_is_suggested() -> None:
    assert "maxDelaySeconds: 120" in said(converted(scaled(trigger())), Kind.ADVICE, "objective")
    assert (suggested_promise_seconds(1), suggested_promise_seconds(15), suggested_promise_seconds(300)) == (
        120, 120, 690,
    )  # fmt: skip


@pytest.mark.parametrize(("wanted", "offered"), [(1, 1), (3, 2), (15, 15), (29, 15), (45, 30), (10_000, 300)])
def test_the_poll_is_the_next_shorter_that_is_offered(wanted: int, offered: int) -> None:
    assert poll_seconds(wanted) == offered


def test_no_password_is_in_the_result_or_the_report() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "kafka", "namespace": "shop"},
        "stringData": {"sasl": "plaintext", "tls": "enable", "username": "ann", "password": "hunter2"},
    }
    targets = [{"parameter": p, "name": "kafka", "key": p} for p in ("sasl", "tls", "username", "password")]
    auth = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": {"name": "auth", "namespace": "shop"},
        "spec": {"secretTargetRef": targets},
    }
    result = converted(secret, auth, scaled({**trigger(), "authenticationRef": {"name": "auth"}}))
    assert result.body is not None
    shown = as_yaml([result]) + as_text([result])
    assert "hunter2" not in shown
    assert "usernameKey: username" in shown


def test_the_hpa_of_a_scaled_object_is_passed_over() -> None:
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "scaler", "uid": "u"}
    made = hpa()
    made["metadata"]["ownerReferences"] = [owner]
    results = convert_all(Documents([scaled(trigger()), made], "shop"), STREAM)
    assert [one.origin for one in results] == ["ScaledObject shop/scaler"]
    (alone,) = convert_all(Documents([made], "shop"), STREAM)
    assert "KEDA made it for the ScaledObject scaler" in alone.notes[0].text


def test_lists_are_unpacked_and_other_kinds_are_named() -> None:
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [scaled(trigger()), {"kind": "CronJob"}]})
    results = convert_all(Documents(read(text), "shop"), STREAM)
    assert [(one.origin, one.refused) for one in results] == [
        ("ScaledObject shop/scaler", False), ("CronJob shop/None", True),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a: [", "- 1", "just words", "kind: ScaledObject\nmetadata: 3"])
def test_what_is_no_object_is_said(text: str) -> None:
    with pytest.raises(BadDocument):
        read(textwrap.dedent(text))


RICH = scaled(
    secured(tls="enable", bootstrapServers=None, bootstrapServersFromEnv="SERVERS"),
    fallback={"failureThreshold": 3, "replicas": 6},
    advanced=behavior(scaleUp=FAST, scaleDown=FAST),
)
LOGIN = authentication(parameters=("sasl", "username", "password"), env=[{"parameter": "ca", "name": "CA"}])
TARGET = deployment(
    {"name": "SERVERS", "value": "k:9092"}, {"name": "CA", "valueFrom": {"secretKeyRef": {"name": "s", "key": "ca"}}}
)
SECRET = secret(sasl="plaintext")


@pytest.mark.parametrize("broken", [None, 3, "x", [], {}, {"a": 1}, [None], [3]])
def test_whatever_stands_in_a_field_is_a_refusal_and_no_crash(broken: object) -> None:
    """Each field of a ScaledObject, its authentication, its target, and of an HPA, in turn."""
    objects = [RICH, LOGIN, TARGET, SECRET, hpa()]
    for number, original in enumerate(objects):
        for path in _paths(original):
            if path == ("metadata",) or path[0] in ("kind", "apiVersion"):
                continue  # no Kubernetes object then, which the reader of the text says
            changed = yaml.safe_load(yaml.safe_dump(objects))
            place = changed[number]
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = broken
            results = convert_all(Documents(changed, "shop"), STREAM)
            assert len(results) == 2
            assert all(one.notes for one in results)


def test_the_rich_one_is_converted_when_nothing_is_broken() -> None:
    results = convert_all(Documents([RICH, LOGIN, TARGET, SECRET], "shop"), STREAM)
    assert [one.refused for one in results] == [False], results


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, child in items for p in ((*path, key), *_paths(child, (*path, key)))]
