"""When the group is to be looked at again before the next poll.

A rate over one poll cannot tell a jump in its last second from a mild rise all along it, and by the next poll a
promise may be half used up. So a jump is looked at once more, a few seconds later: what arrives between the two
readings is the new load alone. That costs one reading of one group, and only when its load has jumped.
"""

from __future__ import annotations

from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.pattern import pattern_of
from consumer_autoscaler.decision.values import Policy

SOON_SECONDS = 4.0
SURE_OF_JUMP = 6.0  # standard deviations of the load's chance
LEAST_JUMP = 0.1  # of the usual rate


def look_again_seconds(policy: Policy, history: History) -> float | None:
    """In how many seconds to read once more; None: with the next poll.

    `history` has been advanced with the reading of now. A reading that was such a second look asks for no third, nor
    does one that failed: whoever does not answer is not asked more often.
    """
    poll, samples = policy.poll_interval_seconds, history.samples
    if policy.max_delay_seconds is None or poll < 2 * SOON_SECONDS or len(samples) < 3:
        return None
    if history.unavailable_since is not None:
        return None
    earlier, before, now = samples[-3:]
    elapsed = now.at - before.at
    if elapsed < poll / 2 or before.at <= earlier.at:
        return None
    usual = (before.arrived - earlier.arrived) / (before.at - earlier.at)
    jump = (now.arrived - before.arrived) / elapsed - usual
    chance = pattern_of(samples[:-1], poll).noise_over(elapsed)
    return SOON_SECONDS if jump > max(SURE_OF_JUMP * chance, LEAST_JUMP * usual, 0.0) else None
