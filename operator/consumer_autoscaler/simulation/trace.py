"""The load: a rate over time from a file, and the arrivals made from it.

A trace is a CSV with the columns `seconds,events_per_second`; a row is the rate from its second until the next row's.
The last row lasts as long as the one before it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HEADER = ["seconds", "events_per_second"]
MOST = 1e12  # of seconds, and of records per second
NOISE_BLOCK_SECONDS = 10.0  # a burst of heavy noise lasts this long
CHUNK_TICKS = 3600
STORED_VALUES = 12_000_000  # cumulative arrivals kept for looking back: 96 MB


class BadTrace(ValueError):
    """The trace cannot be used; the message names file, line and what to do."""


@dataclass(frozen=True)
class Trace:
    """Rates in records per second, each from its `starts` until the next; the last until `end`. Seconds from 0 on."""

    name: str
    starts: Floats
    rates: Floats
    end: float

    def rate_at(self, seconds: Floats) -> Floats:
        """The rate at these times; before the first row the first row's, after the end the last row's."""
        rows = np.searchsorted(self.starts, seconds, side="right") - 1
        rates: Floats = self.rates[np.clip(rows, 0, len(self.rates) - 1)]
        return rates

    def mean_over(self, first: Floats, last: Floats) -> Floats:
        """The mean rate over each [first, last), exact also where rows end in between."""
        return (self._cumulative(last) - self._cumulative(first)) / (last - first)

    def _cumulative(self, seconds: Floats) -> Floats:
        edges = np.append(self.starts, self.end)
        sums = np.concatenate([[0.0], np.cumsum(self.rates * np.diff(edges))])
        inside = np.interp(seconds, edges, sums)
        before = np.minimum(seconds - edges[0], 0.0) * self.rates[0]
        after = np.maximum(seconds - edges[-1], 0.0) * self.rates[-1]
        total: Floats = inside + before + after
        return total

    def scaled(self, amplitude: float) -> Trace:
        """The same shape with this many events per second as the 99th percentile of its rows."""
        top = float(np.percentile(self.rates, 99))
        if top <= 0:
            raise BadTrace(f"{self.name}: nothing arrives, so it cannot be scaled; leave out --amplitude")
        return replace(self, rates=self.rates * (amplitude / top))


def constant(rate: float, seconds: float, name: str = "constant") -> Trace:
    """A load that does not change."""
    return Trace(name, np.array([0.0]), np.array([rate]), seconds)


def steps(*parts: tuple[float, float], name: str = "steps") -> Trace:
    """Rates one after the other, each as (rate, how many seconds)."""
    starts = np.concatenate([[0.0], np.cumsum([seconds for _, seconds in parts])])
    return Trace(name, starts[:-1], np.array([rate for rate, _ in parts], dtype=float), float(starts[-1]))


def read_trace(path: Path) -> Trace:
    """Reads a CSV file. Raises BadTrace."""
    return parse_trace(read_text(path), path.stem, str(path))


def read_text(path: Path) -> str:
    """Raises BadTrace where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadTrace(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadTrace(f"{path}: cannot be read as text ({type(error).__name__})") from error


def parse_trace(text: str, name: str, where: str) -> Trace:
    """Raises BadTrace with `where`, the line and what it must be."""
    starts: list[float] = []
    rates: list[float] = []
    for number, row in enumerate(_rows(text, where), start=1):
        if not row or (number == 1 and [cell.strip().lower() for cell in row] == HEADER):
            continue
        if number == 1 and not _is_number(row[0]):
            raise BadTrace(f"{where}:1: the header must be `{','.join(HEADER)}`, not `{','.join(row)[:80]}`")
        if len(row) != 2 or not all(_is_number(cell) for cell in row):
            raise BadTrace(
                f"{where}:{number}: must be two numbers, `{','.join(HEADER)}`, not `{','.join(row)[:80]}`:"
                " correct or remove the line"
            )
        start, rate = float(row[0]), float(row[1])
        if rate < 0:
            raise BadTrace(f"{where}:{number}: a rate cannot be negative ({rate}): correct or remove the line")
        if starts and start <= starts[-1]:
            raise BadTrace(f"{where}:{number}: second {start:g} does not come after {starts[-1]:g}: sort the lines")
        starts.append(start)
        rates.append(rate)
    if len(starts) < 2:
        raise BadTrace(f"{where}: has {len(starts)} rows, at least 2 are needed to know how long a row lasts")
    first = starts[0]
    at = np.array(starts) - first
    return Trace(name, at, np.array(rates), float(at[-1] + (at[-1] - at[-2])))


def _rows(text: str, where: str) -> Iterator[list[str]]:
    rows = csv.reader(io.StringIO(text))
    try:
        yield from rows
    except csv.Error as error:
        raise BadTrace(f"{where}:{rows.line_num}: {error}: correct or remove the line") from None


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) <= MOST
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Noise:
    """`poisson`: counts as of independent senders. `burst_cv`: besides, the rate of each 10 s varies by this much."""

    poisson: bool = True
    burst_cv: float = 0.0


QUIET = Noise(poisson=False)


class Arrivals:
    """What arrives in each tick on each partition, the same for every policy of one seed. Handed out in order once.

    Cumulative arrivals are kept on a grid for looking back, as fine as `STORED_VALUES` allows.
    """

    def __init__(
        self, trace: Trace, weights: Floats, *, begin: float, end: float, tick: float, noise: Noise, seed: int
    ) -> None:
        self.begin, self.tick, self.ticks = begin, tick, math.ceil((end - begin) / tick - 1e-9)
        self._trace, self._noise, self._seed = trace, noise, seed
        self._weights = weights / weights.sum()
        self.stride = max(1, math.ceil(self.ticks * len(weights) / STORED_VALUES))
        while CHUNK_TICKS % self.stride:
            self.stride += 1
        chunks = math.ceil(self.ticks / CHUNK_TICKS)
        self.grid = np.zeros((chunks * CHUNK_TICKS // self.stride + 1, len(weights)))  # cumulative, row i at i * stride
        self._chunk = np.zeros((0, len(weights)))
        self._chunk_start = self._filled = 0

    def take(self, first: int, count: int) -> Floats:
        """The arrivals of `count` ticks from tick `first` on, rows by tick; may be fewer, at least one."""
        while first >= self._filled:
            self._make()
        at = first - self._chunk_start
        taken: Floats = self._chunk[at : at + count]
        return taken

    def reweigh(self, weights: Floats, now: int) -> None:
        """From tick `now` on partitions get these shares; there may be more of them than before."""
        more = len(weights) - self.grid.shape[1]
        if more > 0:
            self.grid = np.hstack([self.grid, np.zeros((len(self.grid), more))])
        self._weights = weights / weights.sum()
        self._filled = self._chunk_start  # make the present chunk anew, keep what has passed
        past = self._chunk[: now - self._chunk_start]
        past = np.hstack([past, np.zeros((len(past), max(0, more)))])
        self._make(past)

    def before(self, tick: float) -> Floats:
        """Cumulative arrivals by partition up to a tick in the past."""
        place = min(max(tick, 0.0), float(self._filled)) / self.stride
        row = min(int(place), len(self.grid) - 2)
        below: Floats = self.grid[row]
        here: Floats = below + (place - row) * (self.grid[row + 1] - below)
        return here

    def _make(self, past: Floats | None = None) -> None:
        first = self._filled
        rng = np.random.default_rng([self._seed, first // CHUNK_TICKS])
        starts: Floats = self.begin + (first + np.arange(CHUNK_TICKS, dtype=np.float64)) * self.tick
        rates = self._trace.mean_over(starts, starts + self.tick)
        if self._noise.burst_cv > 0:
            block = max(1, round(NOISE_BLOCK_SECONDS / self.tick))
            shape = 1 / self._noise.burst_cv**2
            factors = rng.gamma(shape, 1 / shape, size=CHUNK_TICKS // block + 1)
            rates = rates * np.repeat(factors, block)[:CHUNK_TICKS]
        expected = rates[:, None] * self.tick * self._weights[None, :]
        chunk = rng.poisson(expected).astype(np.float64) if self._noise.poisson else expected
        if past is not None:
            chunk[: len(past)] = past
        self._chunk, self._chunk_start, self._filled = chunk, first, first + CHUNK_TICKS
        row = first // self.stride
        sums = np.cumsum(chunk, axis=0)[self.stride - 1 :: self.stride]
        self.grid[row + 1 : row + 1 + len(sums)] = self.grid[row] + sums
