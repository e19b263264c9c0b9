"""How the load behaves: how much of its changes is chance, and how much of a change stays.

A rate over one poll may be far above the one before because the load has risen, or by chance. Acting on chance costs
rebalances, waiting for proof costs the promise. What the last quarter of an hour did after it had been high or low
tells which it is: a load that returns to its mean (persistence near 0) needs no answer, one that stays where it has
gone (near 1: steps, ramps, waves) needs it at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from consumer_autoscaler.decision.history import Sample

WINDOW_SECONDS = 15.0  # of one rate, or a poll where polls are further apart
PATTERN_SECONDS = 900.0
LEAST_RATES = 8
ROUGH = 1.6  # makes up for skew, and for neighbours that share a burst
AHEAD = 3  # windows: about as long as pods take to start


@dataclass(frozen=True, slots=True)
class Pattern:
    """`noise`: standard deviation of the arrival rate over `window_seconds` that is chance, in records per second.
    `persistence`: what share of a deviation from the mean is still there, on average, over the next three windows.
    """

    noise: float
    persistence: float
    window_seconds: float

    def noise_over(self, seconds: float) -> float:
        """The same for rates over another time, for chance that has no memory."""
        return self.noise * math.sqrt(self.window_seconds / seconds)

    def likely(self, rate: float, usual: float, seconds: float, most: float) -> float:
        """What to expect next of a `rate` over `seconds` above `usual`: less by as much as chance explains.

        At most `most` standard deviations are taken for chance, so that a jump is a jump whatever came before.
        """
        if rate <= usual:
            return rate
        return rate - min((1 - self.persistence) * (rate - usual), most * self.noise_over(seconds))


def pattern_of(samples: Sequence[Sample], poll_interval_seconds: float) -> Pattern:
    """The pattern of the last quarter of an hour; while less than eight rates are known, nothing counts as chance.

    The persistence is the slope of a regression of the mean of the next rates on the present one, with a standard
    error added: in doubt a change stays.
    """
    window = max(WINDOW_SECONDS, float(poll_interval_seconds))
    rates = _rates(samples, window)
    count = len(rates)
    if count < LEAST_RATES:
        return Pattern(0.0, 1.0, window)
    mean = sum(rates) / count
    off = [rate - mean for rate in rates]
    squares = sum(x * x for x in off[:-AHEAD])
    if squares <= 0:
        return Pattern(0.0, 1.0, window)
    together = sum(x * sum(off[i + 1 : i + 1 + AHEAD]) / AHEAD for i, x in enumerate(off[:-AHEAD]))
    persistence = min(1.0, max(0.0, together / squares + 1 / math.sqrt(count)))
    noise = (1 - persistence) * math.sqrt(sum(x * x for x in off) / count)
    return Pattern(min(noise, _roughness(rates)), persistence, window)


def _roughness(rates: Sequence[float]) -> float:
    """An upper bound of the chance in them that knows no trend, from how much each differs from its neighbours' mean.

    Of independent normal rates the median bend has 1.65 times their standard deviation; a jump hardly moves it.
    """
    bends = sorted(abs(a - 2 * b + c) for a, b, c in zip(rates, rates[1:], rates[2:], strict=False))
    return ROUGH * bends[len(bends) // 2] / 1.65


def largest_rise(samples: Sequence[Sample], poll_interval_seconds: float, seconds: float) -> float:
    """By how many records per second the rate has risen at most within `seconds` during the last quarter of an hour."""
    window = max(WINDOW_SECONDS, float(poll_interval_seconds))
    rates = _rates(samples, window)
    apart = max(1, math.ceil(seconds / window))
    return max(
        (max(rates[i + 1 : i + 1 + apart]) - rate for i, rate in enumerate(rates[:-1])),
        default=0.0,
    )


def _rates(samples: Sequence[Sample], window: float) -> list[float]:
    """Records per second in successive windows, oldest first."""
    rates: list[float] = []
    later = samples[-1]
    for sample in reversed(samples[:-1]):
        span = later.at - sample.at
        if span < window - 0.5:
            continue
        rates.append((later.arrived - sample.arrived) / span)
        later = sample
        if samples[-1].at - sample.at >= PATTERN_SECONDS:
            break
    rates.reverse()
    return rates
