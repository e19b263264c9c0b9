"""What a group's readings tell one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consumer_autoscaler.decision.reasons import GroupState, SourceReason
from consumer_autoscaler.decision.values import OffsetReset, PartitionReading
from consumer_autoscaler.sources.kafka.groups.facts import GroupFacts
from consumer_autoscaler.sources.kafka.lag.markers import DOUBTED_SECONDS, UNREAD_SECONDS
from consumer_autoscaler.sources.kafka.lag.offsets_to_lag import partition_readings
from consumer_autoscaler.sources.kafka.lag.successive import (
    EMPTY_LONG_SECONDS,
    REBALANCING_LONG_SECONDS,
    Successive,
    Told,
)
from consumer_autoscaler.sources.kafka.topology import Topic

DAY = 86_400.0


class Group:
    """One group's successive readings of topic `t`, a second apart unless said otherwise."""

    def __init__(self, reset: OffsetReset = OffsetReset.EARLIEST) -> None:
        self.successive = Successive()
        self.now = 1000.0
        self.reset = reset
        self.given: tuple[tuple[str, int], ...] = ()
        self.topic_id = b"1"
        self._last: dict[str, list[PartitionReading]] = {}

    def read(
        self,
        committed: Sequence[int],
        ends: Sequence[int],
        *,
        starts: Sequence[int] = (),
        members: int = 1,
        state: GroupState | None = None,
        connect: bool = False,
        after: float = 1.0,
    ) -> Told:
        self.now += after
        state = state or (GroupState.STABLE if members else GroupState.EMPTY)
        facts = GroupFacts(state=state, members=members, partitions=self.given, connect=connect)
        readings = partition_readings(
            "t",
            committed=dict(enumerate(committed)),
            starts=starts or [0] * len(ends),
            ends=ends,
            reset=self.reset,
            previous=self._last.get("t", ()),
        )
        topic = Topic("t", 0.0)
        topic.topic_id, topic.leaders = self.topic_id, (0,) * len(ends)
        told = self.successive.look("g", facts, [topic], self._last, {"t": readings}, self.now)
        self._last = {"t": readings}
        return told

    def lag(self, committed: int, end: int, *, times: int = 1, members: int = 1, after: float = 1.0) -> int | None:
        """Of one partition, at the last of so many equal readings."""
        for _ in range(times):
            told = self.read([committed], [end], members=members, after=after)
        return told.partitions[0].lag_messages

    def skip_two_markers(self) -> None:
        """A transaction of three records, and another: the group rests before both markers."""
        assert self.lag(3, 4, times=4) == 1
        assert self.lag(3, 8) == 5
        assert self.lag(7, 8, times=2) == 1


def test_a_marker_is_one_when_the_group_has_skipped_two() -> None:
    """Not at the first end, not before it has rested at the second, and then for as long as nothing moves."""
    group = Group()
    group.skip_two_markers()
    assert group.lag(7, 8) == 0
    assert group.lag(7, 8, times=500) == 0
    assert group.lag(7, 9) == 2
    assert group.lag(7, 12) == 5


def test_a_group_that_reads_to_the_end_skips_nothing() -> None:
    """Whatever it stands before is a record, however long and however often."""
    group = Group()
    for end in (1, 2, 3, 10):
        assert group.lag(end - 1, end, times=600) == 1
        assert group.lag(end, end) == 0


def test_a_group_that_commits_what_would_be_the_marker_skips_nothing() -> None:
    """Slow single records that come before the last one is done: never at the end, and every offset is committed."""
    group = Group()
    for end in range(1, 6):
        assert group.lag(end - 1, end, times=60) == 1
        assert group.lag(end - 1, end + 1, times=60) == 2


def test_another_partition_of_a_topic_with_markers_needs_to_rest_only_once() -> None:
    """Topics are written in transactions or are not."""
    group = Group()
    group.skip_two_markers()
    group.read([7, 0], [8, 0])
    group.read([7, 3], [8, 4])
    group.read([7, 3], [8, 4])
    told = group.read([7, 3], [8, 4])
    assert [p.lag_messages for p in told.partitions] == [0, 0]
    assert "t-0, t-1" in told.notes[0]


def test_nothing_rests_while_nobody_reads() -> None:
    """A group without members does not skip a marker, it only stands still."""
    group = Group()
    assert group.lag(3, 4, times=9, members=0) == 1
    assert group.lag(7, 8, times=9, members=0) == 1


def test_what_is_hidden_counts_again_after_a_day_without_members() -> None:
    """So that no record is hidden for ever; then a live group must rest before it for five minutes."""
    group = Group()
    group.skip_two_markers()
    assert group.lag(7, 8) == 0
    assert group.lag(7, 8, members=0) == 0
    assert group.lag(7, 8, members=0, after=UNREAD_SECONDS - 1) == 0
    assert group.lag(7, 8, members=0, after=UNREAD_SECONDS) == 1
    assert group.lag(7, 8, times=10) == 1
    assert group.lag(7, 8, after=DOUBTED_SECONDS) == 0


def test_a_topic_made_anew_has_no_markers() -> None:
    """Its single record counts."""
    group = Group()
    group.skip_two_markers()
    assert group.lag(7, 8) == 0
    assert group.lag(0, 1, times=60) == 1


@pytest.mark.parametrize("reset", [OffsetReset.LATEST, OffsetReset.EARLIEST])
def test_new_partitions_are_pending_until_given_or_for_five_minutes(reset: OffsetReset) -> None:
    """Under every reset; after that the reset says what they mean."""
    group = Group(reset)
    group.given = (("t", 1),)
    group.read([5], [5])
    told = group.read([5, -1], [5, 7])
    assert (told.pending_messages, told.partitions[1].lag_messages) == (7, 0)
    later = 7 if reset is OffsetReset.EARLIEST else 0
    told = group.read([5, -1], [5, 7], after=301)
    assert (told.pending_messages, told.partitions[1].lag_messages) == (0, later)

    group = Group(reset)
    group.read([5], [5])
    group.given = (("t", 2),)
    told = group.read([5, -1], [5, 7])
    assert (told.pending_messages, told.partitions[1].lag_messages) == (0, later)


def test_nothing_is_pending_where_nobody_reads_or_the_topic_is_another() -> None:
    """Consumers that start see all partitions."""
    group = Group()
    group.read([5], [5], members=0)
    assert group.read([5, -1], [5, 7], members=0).pending_messages == 0
    group = Group()
    group.read([5], [5])
    group.topic_id = b"2"
    assert group.read([5, -1], [5, 7]).pending_messages == 0


def test_a_start_that_moves_by_more_than_the_room_that_is_left_is_near() -> None:
    """It is looked at with every reading then, until the group has got away."""
    group = Group()
    assert group.read([30], [100], starts=[0]).warnings == ()
    assert group.read([30], [100], starts=[10]).warnings == ()
    assert group.read([30], [100], starts=[25]).warnings == (SourceReason.RETENTION_NEAR,)
    assert group.successive.near_topics == {"t"}
    told = group.read([30], [100], starts=[40])
    assert told.warnings == (SourceReason.MESSAGES_LOST,)
    assert (told.partitions[0].lost_messages, "t-0 (10)" in told.notes[0]) == (10, True)
    assert group.read([100], [100], starts=[90]).warnings == ()
    assert group.successive.near_topics == frozenset()


def test_a_start_that_comes_nearer_in_small_steps_stays_near() -> None:
    """It is read more often then, so each step is smaller, and no farther away for that."""
    group = Group()
    group.read([300], [999], starts=[0])
    assert group.read([300], [999], starts=[160], after=295).warnings == (SourceReason.RETENTION_NEAR,)
    for start in range(161, 260):
        assert group.read([300], [999], starts=[start], after=5).warnings == (SourceReason.RETENTION_NEAR,)


def test_records_that_somebody_deleted_once_are_no_pace() -> None:
    """Ten minutes later it is forgotten."""
    group = Group()
    group.read([300], [999], starts=[0])
    assert group.read([300], [999], starts=[200]).warnings == (SourceReason.RETENTION_NEAR,)
    assert group.read([300], [999], starts=[200], after=600).warnings == ()
    assert group.read([300], [999], starts=[201]).warnings == ()


def test_an_empty_group_is_warned_of_its_commits_end_after_five_days() -> None:
    """Unless it has none; a member begins the time anew."""
    group = Group()
    assert group.read([5], [5], members=0).warnings == ()
    assert group.read([5], [5], members=0, after=EMPTY_LONG_SECONDS - 1).warnings == ()
    assert group.read([5], [5], members=0).warnings == (SourceReason.COMMITS_EXPIRE,)
    assert group.read([5], [5], members=1).warnings == ()
    assert group.read([5], [5], members=0).warnings == ()
    assert group.read([-1], [5], members=0, after=2 * EMPTY_LONG_SECONDS).warnings == ()


def test_a_rebalance_that_lasts_is_a_warning() -> None:
    """With its state and for how long."""
    group = Group()
    state = GroupState.PREPARING_REBALANCE
    assert group.read([5], [5], state=state).warnings == ()
    told = group.read([5], [5], state=state, after=REBALANCING_LONG_SECONDS)
    assert told.warnings == (SourceReason.REBALANCING_LONG,)
    assert told.notes == ("the group has been rebalancing for 5 minutes (PreparingRebalance)",)
    assert group.read([5], [5]).warnings == ()


def test_commits_that_advance_thrice_without_a_member_are_a_manual_assignment() -> None:
    """Twice is a reset by hand; a member ends it, and so does an hour without a commit."""
    group = Group()
    for offset in (1, 2, 3):
        assert group.read([offset], [9], members=0).unscalable is None
    told = group.read([4], [9], members=0)
    assert told.unscalable is not None
    assert told.unscalable.reason is SourceReason.MANUAL_ASSIGNMENT
    assert told.partitions[0].lag_messages == 5
    assert group.read([4], [9], members=0, after=3000).unscalable is not None
    assert group.read([4], [9], members=0, after=3700).unscalable is None
    for offset in (5, 6, 7):
        told = group.read([offset], [9], members=0)
    assert told.unscalable is not None
    assert group.read([8], [9], members=1).unscalable is None
    assert group.read([9], [9], members=0).unscalable is None


def test_a_connect_sink_is_not_scaled() -> None:
    """Its lag is right all the same."""
    told = Group().read([5], [9], connect=True)
    assert told.unscalable is not None
    assert told.unscalable.reason is SourceReason.KAFKA_CONNECT
    assert told.partitions[0].lag_messages == 4
