"""An HPA's `behavior` as `scaling.scaleUp` and `scaling.scaleDown`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumer_autoscaler.convert.notes import Json, Notes, mapping, members, whole
from consumer_autoscaler.resource.pauses import PAUSED_SCALE_IN, PAUSED_SCALE_OUT

DOWN_WINDOW_SECONDS = 300


def scaling_of(behavior: Any, where: str, notes: Notes) -> tuple[Json, dict[str, str]]:
    """Members of `spec.scaling`, and annotations that pause a direction."""
    given = mapping(behavior, where)
    up, down = (mapping(given.get(side), f"{where}.{side}") for side in ("scaleUp", "scaleDown"))
    found: Json = {}
    annotations: dict[str, str] = {}
    up_spec, down_spec = _up(up, f"{where}.scaleUp", notes), _down(down, f"{where}.scaleDown", notes)
    for rules, name, annotation in ((up, "scaleUp", PAUSED_SCALE_OUT), (down, "scaleDown", PAUSED_SCALE_IN)):
        if rules.get("selectPolicy") == "Disabled":
            annotations[annotation] = "true"
            notes.changed(f"{where}.{name}.selectPolicy", f"Disabled has become the annotation {annotation}")
        elif rules.get("selectPolicy") == "Min" and len(members(rules.get("policies"), where)) > 1:
            notes.changed(f"{where}.{name}.selectPolicy", "Min: of several policies the smallest step is taken over")
        if rules.get("tolerance") is not None:
            notes.left_out(f"{where}.{name}.tolerance", "there is no tolerance here: counts are whole, and final")
    if up_spec:
        found["scaleUp"] = up_spec
    if down_spec:
        found["scaleDown"] = down_spec
    return found, annotations


def _up(rules: Mapping[str, Any], where: str, notes: Notes) -> Json:
    spec: Json = {}
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and (seconds := whole(window, f"{where}.stabilizationWindowSeconds")):
        spec["cooldownSeconds"] = seconds
        notes.changed(
            f"{where}.stabilizationWindowSeconds",
            f"{seconds} s have become a cooldown: the least time since the last change, instead of the lowest count"
            " within a window",
        )
    pods = _values(rules, where, "Pods")
    if pods and rules.get("selectPolicy") != "Disabled":
        percent = _values(rules, where, "Percent")
        if percent and rules.get("selectPolicy", "Max") == "Max":
            notes.changed(f"{where}.policies", "no limit of the step: the larger of a number and a percentage has none")
        else:
            spec["maxStep"] = min(pods) if rules.get("selectPolicy") == "Min" else max(pods)
            notes.changed(f"{where}.policies", f"at most {spec['maxStep']} more in one poll; periodSeconds has no part")
    elif _values(rules, where, "Percent"):
        notes.changed(f"{where}.policies", "a percentage for ups has no counterpart: an up is one step to the demand")
    return spec


def _down(rules: Mapping[str, Any], where: str, notes: Notes) -> Json:
    spec: Json = {}
    window = rules.get("stabilizationWindowSeconds")
    if window is not None:
        spec["cooldownSeconds"] = whole(window, f"{where}.stabilizationWindowSeconds")
    percent = _values(rules, where, "Percent")
    pods = _values(rules, where, "Pods")
    if percent and not pods and rules.get("selectPolicy") != "Disabled":
        most = min(percent) if rules.get("selectPolicy") == "Min" else max(percent)
        if most < 100:
            spec["maxStepPercent"] = max(1, most)
            notes.changed(f"{where}.policies", f"at most {most} % fewer in one poll; periodSeconds has no part")
    elif pods:
        notes.changed(f"{where}.policies", "a number of pods for downs has no counterpart: set maxStepPercent instead")
    return spec


def _values(rules: Mapping[str, Any], where: str, kind: str) -> list[int]:
    policies = members(rules.get("policies"), f"{where}.policies")
    return [whole(each.get("value"), f"{where}.policies", least=1) for each in policies if each.get("type") == kind]
