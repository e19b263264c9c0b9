"""No resource can lead the operator's rights into another namespace, or to a file of its pod: checked in the code.

A confused deputy needs a way for the author of a resource to name a namespace or a path. So no field is one, no code
takes a namespace from anything but `metadata`, and no name can be written so that it becomes a path.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_resource_spec import SMALLEST, body

import consumer_autoscaler
from consumer_autoscaler.cluster.kube import _collection, _segment
from consumer_autoscaler.resource.crd import custom_resource_definition
from consumer_autoscaler.resource.spec import InvalidSpec, Resource, parse

PACKAGE = Path(consumer_autoscaler.__file__).parent
AT_WORK = ("cluster", "decision", "resource", "runtime", "sources")  # the operator; the rest are a person's commands
OTHERS = [
    "other/login",
    "../other/secrets/login",
    "..",
    ".",
    "other:login",
    "login?x=1",
    "login#x",
    "a%2fb",
    "-a",
    "A",
    "",
]
REFERENCES = (
    "sources.0.kafka.tls.caSecretRef",
    "sources.0.kafka.tls.certificateSecretRef",
    "sources.0.kafka.sasl.credentialsSecretRef",
    "sources.0.kafka.sasl.oauth.caSecretRef",
    "processingTime.sources.0.prometheus.bearerTokenSecretRef",
    "processingTime.sources.0.prometheus.basicAuthSecretRef",
    "processingTime.sources.0.prometheus.tls.caSecretRef",
    "processingTime.sources.0.prometheus.tls.certificateSecretRef",
)


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}.0")


def spec_schema() -> dict[str, Any]:
    (version,) = custom_resource_definition()["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def fields(kind: object, seen: set[object]) -> Iterator[str]:
    """Names of all fields that can be reached from a type."""
    if kind in seen:
        return
    seen.add(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            yield f"{kind.__name__}.{field.name}"
            yield from fields(hints[field.name], seen)
    for inner in typing.get_args(kind):
        yield from fields(inner, seen)


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def test_no_field_of_a_spec_is_a_namespace_or_a_file() -> None:
    """Neither in the API server's schema nor in what the operator makes of it."""
    named = [path for path, _ in schemas(spec_schema())]
    assert len(named) > 80
    bad = ("namespace", "file", "path", "env", "dir")
    suspects = {path for path in named if any(word in path.rpartition(".")[2].lower() for word in bad)}
    assert suspects == {"processingTime.sources.0.podMetrics.path"}, "the path of a page, asked of a pod"
    reached = list(fields(Resource, set()))
    assert len(reached) > 60
    assert [name for name in reached if "namespace" in name] == ["Resource.namespace"]


def test_every_name_of_a_secret_is_in_the_list_here() -> None:
    """So that the tests below speak of all of them."""
    references = {path for path, schema in schemas(spec_schema()) if path.endswith("SecretRef")}
    assert references == set(REFERENCES)


def test_namespaces_are_taken_from_metadata_only() -> None:
    """Every place where code reads a `namespace` out of a mapping: only of an object's metadata, but for the operator's
    own kubeconfig, and for the address of a page, which names the resource whose reader's rights are then asked for.
    """
    found: set[tuple[str, str]] = set()
    for file, tree in sources(*AT_WORK):
        for node in ast.walk(tree):
            base: ast.expr | None = None
            if isinstance(node, ast.Subscript) and _is_text(node.slice, "namespace"):
                base = node.value
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("get", "pop", "setdefault")
                and node.args
                and _is_text(node.args[0], "namespace")
            ):
                base = node.func.value
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "itemgetter", "_text"):
                base = node.args[0] if any(_is_text(each, "namespace") for each in node.args) else None
            if base is not None:
                found.add((file, ast.unparse(base)))
    assert {where for where in found if where[1] != "metadata"} == {
        ("runtime/web.py", "request.match_info"),
        ("cluster/credentials.py", "context.get('context') or {}"),
    }
    assert ("runtime/fleet.py", "metadata") in found, "the search has to find what is there"


def test_metadata_is_that_of_an_object_and_never_of_a_spec() -> None:
    """`metadata` is what a body has under that name, at the top."""
    taken = {
        ast.unparse(node.value)
        for _, tree in sources(*AT_WORK)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "metadata" for target in node.targets)
    }
    assert taken == {
        "body['metadata']", "body.get('metadata')", "body.get('metadata') or {}", "item['metadata']",
        "page.get('metadata') or {}",
    }  # fmt: skip


def test_secrets_are_asked_for_in_one_place_by_name() -> None:
    """`list` and `watch` would return the contents of all; there is no call that could do either."""
    calls: list[tuple[str, str]] = []
    for file, tree in sources(*AT_WORK):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = [each for each in ast.walk(node) if _is_text(each, "secrets")]
                calls += [(file, node.name)] * bool(inside)
    assert calls == [("cluster/kube.py", "get_secret")]
    callers = {
        (file, ast.unparse(node.args[0]))
        for file, tree in sources(*AT_WORK)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get_secret"
    }
    assert callers == {("cluster/secrets.py", "namespace")}


def test_namespaces_of_secrets_come_from_the_resource() -> None:
    """From the resource's own metadata through every hand: whoever passes one on passes on what it was given."""
    passed: set[tuple[str, str, str]] = set()
    for file, tree in sources("runtime"):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            position = _TAKE_A_NAMESPACE.get(name)
            if position is not None:
                passed.add((file, name, ast.unparse(node.args[position])))
    assert {value for _, _, value in passed} <= {
        "namespace", "self._namespace", "resource.namespace", "self.resource.namespace",
    }  # fmt: skip
    assert len(passed) >= 5


def test_files_are_read_in_few_places_and_none_is_named_by_a_resource() -> None:
    """What is named: the operator's own settings, its service account, and temporary files for a client's key."""
    opens = {"open", "Path", "fdopen", "read_text", "read_bytes", "NamedTemporaryFile", "mkstemp", "load_cert_chain",
             "load_verify_locations"}  # fmt: skip
    files = {
        file
        for file, tree in sources(*AT_WORK)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (_called(node) in opens) and ast.unparse(node.func) not in _OPENS_NO_FILE
    }
    assert files == {
        "cluster/credentials.py",
        "runtime/settings.py",
        "sources/kafka/access/client_properties.py",
        "sources/kafka/access/tls.py",
    }
    users = {file for file, tree in sources(*AT_WORK) if "client_properties" in ast.unparse(tree)}
    assert users == set(), "it reads what a person at a command line names"


_TAKE_A_NAMESPACE = {  # by the position of the argument
    "SecretTexts": 1,
    "_ThroughSecrets": 1,
    "self._secrets.read": 0,
    "self._access.resolve": 0,
    "self._server": 0,
    "parts.access.subscribe": 0,
    "self._parts.access.subscribe": 0,
}
_OPENS_NO_FILE = {"self._access.open", "self._transport.open"}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("reference", [*REFERENCES, "targetRef"])
def test_a_name_cannot_be_a_path(reference: str, name: str) -> None:
    """A refusal that names the field."""
    spec = with_everything()
    at(spec, reference)["name"] = name
    with pytest.raises(InvalidSpec) as caught:
        parse(body(spec))
    assert any(problem.startswith(f"spec.{_indexed(reference)}.name") for problem in caught.value.problems)


@pytest.mark.parametrize("reference", [*REFERENCES, "targetRef"])
def test_a_namespace_beside_a_name_changes_nothing(reference: str) -> None:
    """A field that is not known is not read, whatever it is called."""
    plain = with_everything()
    at(plain, reference)
    spec = copy.deepcopy(plain)
    at(spec, reference)["namespace"] = "other"
    assert parse(body(spec)) == parse(body(plain))
    assert parse(body(spec)).namespace == "shop"


def test_a_part_of_a_path_stays_one_part() -> None:
    """Whatever got through all checks would still ask for an object of the same namespace."""
    path = f"{_collection('', 'v1', 'shop/../other', 'secrets')}/{_segment('../../other/secrets/login?x#y')}"
    assert path == "/api/v1/namespaces/shop%2F..%2Fother/secrets/..%2F..%2Fother%2Fsecrets%2Flogin%3Fx%23y"


def with_everything() -> dict[str, Any]:
    """A spec that names a Secret wherever one can be named."""
    spec = copy.deepcopy(SMALLEST)
    ref = {"name": "login"}
    spec["sources"][0]["kafka"] |= {
        "tls": {"caSecretRef": dict(ref), "certificateSecretRef": dict(ref)},
        "sasl": {
            "mechanism": "OAUTHBEARER",
            "credentialsSecretRef": dict(ref),
            "oauth": {"tokenEndpoint": "https://id.example/token", "caSecretRef": dict(ref)},
        },
    }
    prometheus = {
        "address": "https://prometheus.example",
        "query": "vector(1)",
        "tls": {"caSecretRef": dict(ref), "certificateSecretRef": dict(ref)},
    }
    spec["processingTime"] = {"sources": [{"prometheus": prometheus}]}
    return spec


def at(spec: Any, path: str) -> Any:
    """The part of a spec at a path; a login of Prometheus is made, since only one of two may be there."""
    here = spec
    for step in path.split("."):
        here = here[int(step)] if step.isdigit() else here.setdefault(step, {"name": "login"})
    return here


def _indexed(path: str) -> str:
    return path.replace(".0", "[0]")


def _is_text(node: ast.AST, text: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == text


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
