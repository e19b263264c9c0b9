"""Which pods can best be spared, by what the members of the group in them have to do."""

from __future__ import annotations

import pytest

from consumer_autoscaler.cluster.objects import Pod
from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.decision.values import GroupReading, PartitionReading
from consumer_autoscaler.runtime.least_work import least_work_first, pod_of
from consumer_autoscaler.sources.kafka.inspection.owners import Owner

A, B, C = (Pod(f"web-{letter}", f"10.0.0.{number}", True) for number, letter in enumerate("abc", 1))


def member(host: str = "/10.9.9.9", client: str = "c", instance: str = "") -> Owner:
    return Owner("member", instance, client, host)


def reading(*lags: int) -> GroupReading:
    partitions = tuple(PartitionReading("t", p, 0, None, lag, lag) for p, lag in enumerate(lags))
    return GroupReading(at=0.0, state=GroupState.STABLE, members=3, partitions=partitions)


def names(pods: list[Pod] | None) -> list[str] | None:
    return None if pods is None else [pod.name for pod in pods]


def test_who_has_nothing_goes_before_who_has_little() -> None:
    """No partition at all, then the least lag over all partitions of a pod."""
    owners = {("t", 0): member("/10.0.0.1"), ("t", 1): member("/10.0.0.1"), ("t", 2): member("/10.0.0.2")}
    assert names(least_work_first([A, B, C], owners, reading(4, 5, 8))) == ["web-c", "web-b", "web-a"]
    assert names(least_work_first([A, B, C], owners, reading(4, 3, 8))) == ["web-c", "web-a", "web-b"]


def test_with_equal_lag_the_fewest_partitions_go_first() -> None:
    owners = {("t", 0): member("/10.0.0.1"), ("t", 1): member("/10.0.0.1"), ("t", 2): member("/10.0.0.2")}
    assert names(least_work_first([A, B], owners, reading(0, 0, 0))) == ["web-b", "web-a"]


def test_pods_that_are_not_ready_are_spared_first() -> None:
    """As the controller does, so they need no mark."""
    late = Pod("web-z", None, False)
    owners = {("t", 0): member("/10.0.0.1"), ("t", 1): member("/10.0.0.2")}
    assert names(least_work_first([A, B, late], owners, reading(1, 2))) == ["web-z", "web-a", "web-b"]


def test_nothing_is_said_while_a_member_is_in_no_known_pod() -> None:
    """A pod that seems to be idle might be the one it works in."""
    owners = {("t", 0): member("/10.0.0.1"), ("t", 1): member("/10.7.7.7")}
    assert least_work_first([A, B], owners, reading(1, 2)) is None
    assert least_work_first([A, B], {}, reading(1, 2)) is None


@pytest.mark.parametrize(
    ("owner", "pod"),
    [
        (member("/10.0.0.2"), "web-b"),
        (member("10.0.0.2"), "web-b"),
        (member("/10.0.0.2", client="web-a"), "web-b"),  # the address says more than a name
        (member(client="web-c"), "web-c"),
        (member(client="web-c-StreamThread-1-consumer"), "web-c"),
        (member(client="consumer-web-c"), "web-c"),
        (member(instance="web-a", client="rdkafka"), "web-a"),
        (member(client="rdkafka"), None),
        (member(client="web-cc"), None),
        (member(client="web-a.web-b"), None),
    ],
)
def test_a_member_is_found_in_its_pod(owner: Owner, pod: str | None) -> None:
    found = pod_of(owner, [A, B, C])
    assert (found.name if found else None) == pod


def test_a_shared_address_does_not_decide() -> None:
    """Host networks: the name has to."""
    shared = [Pod("web-a", "10.0.0.1", True), Pod("web-b", "10.0.0.1", True)]
    assert pod_of(member("/10.0.0.1"), shared) is None
    found = pod_of(member("/10.0.0.1", client="web-b"), shared)
    assert found is not None
    assert found.name == "web-b"


def test_the_longest_name_that_fits_is_meant() -> None:
    pods = [Pod("w-1", None, True), Pod("w-1-x", None, True)]
    found = pod_of(member(client="w-1-x"), pods)
    assert found is not None
    assert found.name == "w-1-x"
