"""The environment and the command line of a container, made from its pod as a kubelet makes them."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from bed.kubeapi import ApiError

GetObject = Callable[[str, str], Awaitable[dict[str, Any]]]
"""(plural, name) -> the object in the pod's namespace; raises ApiError."""


class ContainerConfigError(Exception):
    """The container cannot be started as it is declared; the message says why."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` by its value, unknown names as they stand, `$$(NAME)` as the literal `$(NAME)`."""
    return re.sub(
        r"\$\$|\$\(([A-Za-z_.\-][\w.\-]*)\)",
        lambda m: "$" if m.group(0) == "$$" else values.get(m.group(1), m.group(0)),
        text,
    )


async def environment(
    container: Mapping[str, Any], pod: Mapping[str, Any], pod_ip: str, host_ip: str, get: GetObject
) -> dict[str, str]:
    """`envFrom`, then `env` in order, each value able to refer to those before it; ContainerConfigError."""
    values = {"HOSTNAME": str(pod["metadata"]["name"])}
    for source in container.get("envFrom") or []:
        for kind, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if reference := source.get(kind):
                data = await _data(plural, reference, get)
                values |= {source.get("prefix", "") + name: value for name, value in data.items()}
    for variable in container.get("env") or []:
        found = await _value(variable, values, pod, pod_ip, host_ip, get)
        if found is not None:
            values[variable["name"]] = found
    return values


def command_line(
    container: Mapping[str, Any], values: Mapping[str, str], entrypoints: Mapping[str, Sequence[str]]
) -> list[str]:
    """`command` and `args`, expanded; without `command` the image's entry point, if the node was told of it."""
    command = container.get("command") or entrypoints.get(re.sub(r"(@.*|:[^/]*)$", "", container.get("image") or ""))
    if not command:
        raise ContainerConfigError("images are not used on this node: give the container a command, not only args")
    return [expand(word, values) for word in [*command, *(container.get("args") or [])]]


async def _value(
    variable: Mapping[str, Any],
    values: Mapping[str, str],
    pod: Mapping[str, Any],
    pod_ip: str,
    host_ip: str,
    get: GetObject,
) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return expand(variable.get("value") or "", values)
    if reference := source.get("fieldRef"):
        return _field(reference["fieldPath"], pod, pod_ip, host_ip)
    for kind, plural in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if reference := source.get(kind):
            data = await _data(plural, reference, get)
            if reference["key"] not in data and not reference.get("optional"):
                raise ContainerConfigError(f"no key {reference['key']} in {plural}/{reference['name']}")
            return data.get(reference["key"])
    raise ContainerConfigError(f"the source of variable {variable['name']} is not known on this node")


def _field(path: str, pod: Mapping[str, Any], pod_ip: str, host_ip: str) -> str:
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((pod["metadata"].get(match.group(1)) or {}).get(match.group(2), ""))
    known = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.namespace": pod["metadata"]["namespace"],
        "metadata.uid": pod["metadata"]["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
    }
    if path not in known:
        raise ContainerConfigError(f"the field {path} is not known on this node")
    return str(known[path])


async def _data(plural: str, reference: Mapping[str, Any], get: GetObject) -> dict[str, str]:
    try:
        found = await get(plural, reference["name"])
    except ApiError as error:
        if error.status == 404 and reference.get("optional"):
            return {}
        raise ContainerConfigError(f"{plural}/{reference['name']}: {error}") from error
    data = found.get("data") or {}
    if plural == "secrets":
        return {name: base64.b64decode(value).decode("utf-8", "replace") for name, value in data.items()}
    return dict(data)
