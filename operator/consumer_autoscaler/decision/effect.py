"""Did the last up bring anything? One that did not is not to be followed by another.

A group that waits for one database does no more with more consumers, and its lag asks for ever more of them. So each
up is an experiment: what the group did before it is compared with what it does in the minute after it has settled.
Only a group that is still saturated says anything: after a good up it returns to the rate of arrivals once the lag is
gone. The way back is an experiment, too: a group that does less with fewer replicas had use for them, and what had
become slower was each consumer by itself.
"""

from __future__ import annotations

from dataclasses import replace

from consumer_autoscaler.decision.capacity import capacity_of
from consumer_autoscaler.decision.history import LONG_WINDOW_SECONDS, History, Pace, Useless
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.tracks import commit_seconds
from consumer_autoscaler.decision.values import GroupReading, Policy, Scale

JUDGED_SECONDS = 60.0  # a settled and saturated group has shown after it what its count does
EARLY_SECONDS = 30.0  # the same, when records take longer in proportion to the replicas
LEAST_STEP = 0.1  # of what the group does; what a smaller step brings cannot be told from chance
USELESS_GAIN, NOISE = 0.1, 0.04  # of what was expected, and of what the group did before: less is no gain
DOUBTFUL_GAIN = 0.25  # of what was expected: less so far, and the next up waits until this one has been judged
BIG_STEP = 0.3  # of what the group did before
PARTLY = 0.35  # of what so many more would bring if each did as much as before: less, and something else sets the pace
DOUBT_SECONDS = 15.0  # before a settled group shows anything at all: commits come in lumps
RISES = 1.1  # times the rate of the last five minutes
LINEAR_GAIN = 0.5  # of what was expected: less, and what a replica did before says better what one can do
BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 600.0, 4 * 3600.0
MOST_PROLONGED = 2  # times that a block goes on without another try, as what is seen does not change
BACKLOG_SECONDS = 10.0  # of work waiting: nobody is idle
RESERVE = 1.15  # the count that is kept could do so much more, so that a recovery downstream shows
RECOVERED = 1.1  # it does so much more: what held it back has gone
RECENT_SECONDS, CHANGED = 10.0, 0.85  # if it does less than this of late, that is what it does
AS_MUCH = 0.95  # it does so much with fewer: they are enough
FELL = 0.85  # it does less than this with fewer replicas: they were of use


def follow(
    policy: Policy, history: History, levels: Levels, group: GroupReading, scale: Scale | None, now: float
) -> History:
    """The history with what the reading at `now` says about the last change of the count.

    Call it when offsets, durations and capacity have been followed, with the reading's own time.
    """
    history = _follow_saturation(policy, history, group, now)
    settled, pace, replicas = history.settled_since, history.pace, history.replicas
    if scale is None or not replicas:
        return history
    if settled is None:
        return _still_the_old_ones(policy, history, group, scale, now)
    seen_seconds = now - (history.began_at if history.began_at is not None else now)
    well = history.saturated_since is None and not history.behind
    if history.useless is not None and well and seen_seconds >= max(JUDGED_SECONDS, 4.0 * policy.poll_interval_seconds):
        history = replace(history, useless=None)  # the load has fallen, or all is well again
    if pace is None or pace.replicas == replicas:
        return _renewed(policy, _follow_block(policy, history, now), levels, now)
    lasts = now - settled
    if lasts < max(2.0 * policy.poll_interval_seconds, 10.0):
        return history
    if history.saturated_since is None or (replicas < pace.replicas and slow_downstream(history) is None):
        return _renewed(policy, history, levels, now)
    done = history.consumption_rate(min(lasts, JUDGED_SECONDS))
    if done is None or lasts < _judged_seconds(policy, history, levels, pace):
        return history
    if replicas < pace.replicas:
        return _renewed(policy, _judge_down(history, levels, done), levels, now)
    expected, gain = _expected_gain(levels, pace, replicas), done - pace.per_second
    if done < FELL * pace.per_second:  # something has become slower meanwhile, so the two say nothing about the up
        return _renewed(policy, history, levels, now)
    if (sure := _brought_nothing(history, levels, pace, replicas, done)) is not None:
        history = _useless(history, levels, pace, done, now, sure=sure)
        return _renewed(policy, history, levels, now, best=pace.best_per_worth)
    best = pace.best_per_worth if gain < LINEAR_GAIN * expected else 0.0
    return _renewed(policy, replace(history, useless=_refuted(history.useless, now)), levels, now, best=best)


def slow_downstream(history: History) -> Useless | None:
    """What was seen of the last useless up, as long as that is why the group is behind."""
    useless = history.useless
    return None if useless is None or useless.refuted else useless


def _still_the_old_ones(policy: Policy, history: History, group: GroupReading, scale: Scale, now: float) -> History:
    """While the pods of an up are starting, those before them show for a little longer what they do by themselves.

    It may be what has just become slower that asked for the up, so the latest is the best.
    """
    pace, raised_at = history.pace, history.raised_at
    if pace is None or raised_at is None or pace.replicas >= scale.replicas or scale.ready != pace.replicas:
        return history
    if group.state.rebalancing or group.members != pace.replicas * policy.consumers_per_pod or scale.rolling:
        return history
    since = now - raised_at + policy.poll_interval_seconds
    done = history.consumption_rate(min(JUDGED_SECONDS, since))
    lately = history.consumption_rate(_recent_seconds(policy, history))
    if done is None or lately is None or now - raised_at < _recent_seconds(policy, history):
        return history
    done = lately if lately < CHANGED * done else done
    saturated = pace.saturated or group.lag_messages > BACKLOG_SECONDS * done
    best = pace.best_per_worth * min(1.0, done / pace.per_second) if pace.per_second > 0 else 0.0
    best = max(best, done / pace.worth) if pace.worth > 0 else best
    return replace(history, pace=replace(pace, per_second=done, best_per_worth=best, saturated=saturated))


def _recent_seconds(policy: Policy, history: History) -> float:
    commits = 2.0 * (commit_seconds(history.tracks, policy.poll_interval_seconds) or 0.0)
    return max(RECENT_SECONDS, float(policy.poll_interval_seconds), commits)


def most_useful(history: History, now: float) -> int | None:
    """The most replicas that are of use as far as was seen; None while nothing speaks against more."""
    useless = slow_downstream(history)
    return useless.keep if useless is not None and now < useless.until else None


def doubtful(policy: Policy, history: History, levels: Levels, now: float) -> bool:
    """Whether the last up has brought so little yet that it must be judged before another one follows."""
    settled, pace, replicas = history.settled_since, history.pace, history.replicas
    if pace is None or not replicas or replicas <= pace.replicas:
        return False
    if policy.lag_per_replica is not None and _load_rises(policy, history):
        return False  # more lag is what more arrivals bring, whatever the last up did
    if settled is None:  # by the lag alone an up would be raised as long as its pods are not there yet
        starting = history.raised_to is not None and history.ready_at is None
        return policy.lag_per_replica is not None and starting
    expected = _expected_gain(levels, pace, replicas)
    if expected < LEAST_STEP * pace.per_second or now - settled >= _judged_seconds(policy, history, levels, pace):
        return False
    least = max(DOUBT_SECONDS, float(policy.poll_interval_seconds))
    done = history.consumption_rate(now - settled) if now - settled >= least else None
    return done is None or done - pace.per_second < DOUBTFUL_GAIN * expected


def _load_rises(policy: Policy, history: History) -> bool:
    lately = history.arrival_rate(2.0 * policy.poll_interval_seconds)
    usual = history.arrival_rate(LONG_WINDOW_SECONDS)
    return lately is None or usual is None or lately > RISES * usual


def _follow_saturation(policy: Policy, history: History, group: GroupReading, now: float) -> History:
    since, stretch = history.saturated_since, history.saturation
    if stretch is None and (history.settled_since is None or not _waits_everywhere(policy, history, group)):
        return history if since is None else replace(history, saturated_since=None)
    if since is not None:
        return history
    return replace(history, saturated_since=now if stretch is None else stretch.since)


def _waits_everywhere(policy: Policy, history: History, group: GroupReading) -> bool:
    """Whether half of the partitions have some of a backlog that counts. Less than what capacity is learned from:
    those that a consumer has just served have little left, while the others wait for their turn.
    """
    done = history.consumption_rate(2.0 * policy.poll_interval_seconds) or 0.0
    lag, count = group.lag_messages, len(group.partitions)
    if count == 0 or lag < max(1.0, BACKLOG_SECONDS * done):
        return False
    return sum(1 for p in group.partitions if (p.lag_messages or 0) >= 0.1 * lag / count) >= 0.5 * count


def _judged_seconds(policy: Policy, history: History, levels: Levels, pace: Pace) -> float:
    """How long the group must have been settled before its count can be judged."""
    polls = 2.0 * policy.poll_interval_seconds
    commits = 4.0 * (commit_seconds(history.tracks, policy.poll_interval_seconds) or 0.0)
    now_busy, before = history.busy_per_replica, pace.busy_seconds
    if now_busy and before and history.replicas and pace.worth > 0:
        more = levels.worth(history.replicas) / pace.worth - 1
        if more > 0 and 1 / now_busy >= before * (1 + 0.7 * more):
            return max(EARLY_SECONDS, polls, commits)
    return max(JUDGED_SECONDS, polls, commits)


def _expected_gain(levels: Levels, pace: Pace, replicas: int) -> float:
    """Records per second that the count should do more than the one before, if replicas did not hinder each other."""
    if pace.saturated:
        return _seen_gain(levels, pace, replicas)
    return pace.best_per_worth * levels.worth(replicas) - pace.per_second


def _brought_nothing(history: History, levels: Levels, pace: Pace, replicas: int, done: float) -> bool | None:
    """Whether the up from `pace` brought less than a tenth of what it should have (True: a saturated group did as much
    before; False: so it seems), or far too little for chance (False). None: it brought something.

    That a replica did much more a minute before, when there were fewer, is only a suspicion: each may have become
    slower at the same time. The way back tells; where it has told, the suspicion is not followed again.
    """
    expected, gain = _expected_gain(levels, pace, replicas), done - pace.per_second
    if expected < LEAST_STEP * pace.per_second:
        return None
    if gain < max(USELESS_GAIN * expected, NOISE * pace.per_second):
        return pace.saturated
    seen = _seen_gain(levels, pace, replicas)
    suspicious = seen >= BIG_STEP * pace.per_second and gain < PARTLY * seen
    return False if suspicious and (history.useless is None or not history.useless.refuted) else None


def _seen_gain(levels: Levels, pace: Pace, replicas: int) -> float:
    """Records per second that the count should do more by what each did before; as long as all partitions have a
    backlog the consumers with fewer of them work, too, so the lesser of what levels and numbers say.
    """
    if pace.worth <= 0:
        return 0.0
    by_numbers = levels.at_work(replicas) / levels.at_work(pace.replicas)
    return pace.per_second * (min(by_numbers, levels.worth(replicas) / pace.worth) - 1)


def _renewed(policy: Policy, history: History, levels: Levels, now: float, *, best: float = 0.0) -> History:
    """What the next count will be weighed by: the present one, as it is now."""
    settled, saturated, old = history.settled_since, history.saturated_since, history.pace
    assert settled is not None
    assert history.replicas
    short = _recent_seconds(policy, history)
    long = max(short, 2.0 * policy.poll_interval_seconds)
    if saturated is not None:
        long = max(long, min(JUDGED_SECONDS, now - saturated))
    since = max(now - settled, short)
    worth = levels.worth(history.replicas)
    done, lately = history.consumption_rate(min(long, since)), history.consumption_rate(min(short, since))
    if done is None or lately is None or worth <= 0:
        return history
    if lately < CHANGED * done:  # each consumer has become slower just now: what was before that says nothing
        done = lately
    per_worth = done / worth
    if saturated is None:  # it could do more than it had to
        per_worth = max(per_worth, capacity_of(policy, history).per_replica)
    if old is not None and old.replicas == history.replicas and old.per_second > 0:
        best = old.best_per_worth * min(1.0, done / old.per_second)
    busy = 1 / history.busy_per_replica if history.busy_per_replica else None
    pace = Pace(history.replicas, worth, done, max(best, per_worth), saturated is not None, busy)
    return replace(history, pace=pace)


def _useless(history: History, levels: Levels, pace: Pace, done: float, now: float, *, sure: bool) -> History:
    replicas, before = history.replicas or 0, history.useless
    times = 1 if before is None or before.refuted else before.times + 1
    keep = replicas
    if pace.best_per_worth > 0:
        keep = min(replicas, levels.at_least(RESERVE * done / pace.best_per_worth))
    found = Useless(
        since=now if before is None else before.since,
        until=now + _back_off_seconds(times),
        times=times,
        keep=keep,
        from_replicas=pace.replicas,
        to_replicas=replicas,
        per_second_before=pace.per_second,
        per_second=done,
        busy_seconds_before=pace.busy_seconds,
        busy_seconds=1 / history.busy_per_replica if history.busy_per_replica else None,
        confirmed=sure,
    )
    return replace(history, useless=found)


def _judge_down(history: History, levels: Levels, done: float) -> History:
    useless = history.useless
    if useless is None:
        return history
    if done < FELL * useless.per_second:
        return replace(history, useless=_refuted(useless, history.samples[-1].at))
    keep = useless.keep if done >= AS_MUCH * useless.per_second else levels.next_above(history.replicas or 0)
    return replace(history, useless=replace(useless, keep=max(keep, useless.keep), confirmed=True))


def _refuted(useless: Useless | None, now: float) -> Useless | None:
    """More replicas did help after all, so they are allowed; that is remembered until the load has fallen."""
    return None if useless is None else replace(useless, until=min(useless.until, now), refuted=True)


def _follow_block(policy: Policy, history: History, now: float) -> History:
    """Lifts a block when the group does more, and prolongs one that has run out while the group shows that it holds."""
    useless, settled, saturated = slow_downstream(history), history.settled_since, history.saturated_since
    if useless is None or settled is None or saturated is None:
        return history
    if now - max(settled, saturated) < max(JUDGED_SECONDS, 2.0 * policy.poll_interval_seconds):
        return history
    done = history.consumption_rate(JUDGED_SECONDS)
    if done is None:
        return history
    if done > RECOVERED * useless.per_second:
        return replace(history, useless=None)
    if now >= useless.until and useless.confirmed and useless.prolonged < MOST_PROLONGED:
        times, until = useless.times + 1, now + _back_off_seconds(useless.times + 1)
        prolonged = useless.prolonged + 1
        return replace(history, useless=replace(useless, times=times, until=until, prolonged=prolonged))
    return history


def _back_off_seconds(times: int) -> float:
    return float(min(LONGEST_BACK_OFF_SECONDS, BACK_OFF_SECONDS * 2 ** (times - 1)))
