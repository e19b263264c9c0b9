"""Partitions with unequal shares of the load: levels, backlog and capacity by the fullest consumer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer_autoscaler.decision.capacity import MEASURED, capacity_of
from consumer_autoscaler.decision.levels import levels_for
from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.decision.tracks import Track
from consumer_autoscaler.decision.uneven import Uneven, uneven_of
from consumer_autoscaler.decision.values import GroupKind, GroupReading, Policy
from consumer_autoscaler.simulation.policy import Ours
from consumer_autoscaler.simulation.run import Outcome, Window, simulate
from consumer_autoscaler.simulation.trace import Noise, constant
from consumer_autoscaler.simulation.world import Assignor, World, assign, skewed_weights

SHARES = (0.4, 0.1, 0.1, 0.1, 0.1, 0.2)


def tracks(counts: dict[str, list[float]]) -> tuple[Track, ...]:
    return tuple(
        Track(topic, number, 0, 0, (0.0,), (0,), arrived_of_late=count)
        for topic, each in counts.items()
        for number, count in enumerate(each)
    )


def group(assignor: str | None = "roundrobin", kind: GroupKind = GroupKind.CLASSIC) -> GroupReading:
    return GroupReading(at=0.0, state=GroupState.STABLE, kind=kind, members=1, assignor=assignor)


def test_roundrobin_deals_one_after_the_other_and_range_in_blocks() -> None:
    assert Uneven(SHARES, (6,), "roundrobin").fullest_share(2) == pytest.approx(0.4 + 0.1 + 0.1)
    assert Uneven(SHARES, (6,), "range").fullest_share(4) == pytest.approx(0.4 + 0.1)
    assert Uneven(SHARES, (6,), "range").held_by_fullest(4) == (0, 1)
    assert Uneven(SHARES, (3, 3), "range").fullest_share(2) == pytest.approx(0.4 + 0.1 + 0.1 + 0.1)
    assert Uneven(SHARES, (6,), "cooperative-sticky").held_by_fullest(2) is None


@given(
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=12),
    st.integers(1, 12),
    st.sampled_from(["range", "roundrobin"]),
)
def test_by_position_it_is_what_the_assignor_does(weights: list[float], consumers: int, assignor: str) -> None:
    shares = tuple(weight / sum(weights) for weight in weights)
    owners = assign(Assignor(assignor), [len(shares)], list(range(consumers)), [-1] * len(shares))
    fullest = max(sum(s for s, owner in zip(shares, owners, strict=True) if owner == c) for c in range(consumers))
    assert Uneven(shares, (len(shares),), assignor).fullest_share(consumers) == pytest.approx(fullest)


def test_counts_that_no_longer_relieve_the_hot_partition_s_consumer_are_no_levels() -> None:
    uneven = Uneven((0.5, *[0.5 / 23] * 23), (24,), "roundrobin")
    levels = levels_for(Policy(min_replicas=1, max_replicas=24), 24, uneven)
    assert levels.worth(levels.counts[-1]) == pytest.approx(2.0, rel=0.1)
    assert levels.counts[-1] <= 12
    assert levels.at_least(5.0) == levels.counts[-1]


def test_small_differences_and_few_records_count_as_none() -> None:
    assert uneven_of(tracks({"a": [5000.0, 5200.0, 4900.0, 5600.0]}), group()) is None
    assert uneven_of(tracks({"a": [10.0, 2.0, 0.0, 4.0]}), group()) is None
    found = uneven_of(tracks({"a": [9000.0, 3000.0], "b": [3000.0, 3000.0]}), group())
    assert found is not None
    assert found.sizes == (2, 2)
    assert found.shares[0] == pytest.approx(9100 / 18400)


@pytest.mark.parametrize("kind", [GroupKind.SHARE, GroupKind.STREAMS])
def test_where_partitions_are_not_what_is_shared_out_nothing_is_uneven(kind: GroupKind) -> None:
    assert uneven_of(tracks({"a": [9000.0, 10.0, 10.0, 10.0]}), group(kind=kind)) is None
    assert uneven_of(tracks({"a": [9000.0, 10.0, 10.0, 10.0]}), group("stream")) is None


def run(rate: float, world: World, policy: Policy, hours: float = 1.0) -> tuple[Outcome, Ours]:
    ours = Ours(policy, first_look=-3599.0)
    window = Window(first=0.0, last=hours * 3600, warm_up=3600.0)
    outcome = simulate(
        constant(rate, window.last), world, ours, window=window, promise_seconds=60.0, noise=Noise(), seed=1
    )
    return outcome, ours


@pytest.mark.parametrize("assignor", Assignor)
def test_a_skewed_group_is_sized_for_its_fullest_consumer(assignor: Assignor) -> None:
    """24 partitions of which the fullest gets 2.2 times the mean: sized as if all were equal, a tenth came late."""
    world = World(weights=skewed_weights(24, 0.3), assignor=assignor)
    policy = Policy(min_replicas=1, max_replicas=24, max_delay_seconds=60, expected_records_per_second=100.0)
    outcome, _ = run(700.0, world, policy)
    assert outcome.lateness.late_share == 0
    assert outcome.scalings <= (0 if assignor in (Assignor.RANGE, Assignor.ROUNDROBIN) else 4)


def test_the_capacity_is_learned_from_the_fullest_consumer() -> None:
    """Never are all of them saturated, and nobody has declared anything."""
    world = World(weights=skewed_weights(24, 0.3))
    outcome, ours = run(700.0, world, Policy(min_replicas=1, max_replicas=24, max_delay_seconds=60))
    found = capacity_of(ours.policy, ours.history)
    assert found.source == MEASURED
    assert found.per_replica == pytest.approx(100.0, rel=0.1)
    assert outcome.lateness.late_share == 0
