"""Picks the few histograms or summaries of interest out of a page of Prometheus metrics.

A JVM's page has thousands of lines of which perhaps twenty matter, so lines are found by substring search in
C and only those are parsed. (A full parse of every line costs some forty times as much, in every interval,
for every pod.)

Reads the text format 0.0.4 and what OpenMetrics adds to it (exemplars, `_created`, `# EOF`); timestamps are
skipped. Every sample of a wanted family must be sound: a page is untrusted, and half a family is worse than
none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

Labels = tuple[tuple[str, str], ...]  # sorted by name, without `le`
Bucket = tuple[float, float]  # upper bound and cumulative count

MAX_SERIES = 1_000  # of one family on one page; a listener has a handful
MAX_LINES = 20_000  # that name one family on one page, buckets included
MAX_LINE_BYTES = 16 * 1024
MAX_VALUE = 2.0**53  # beyond it a float no longer counts single records

_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*+")
_LABEL_BLOCK = re.compile(rb'[ \t]*+\{((?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\}')
_LABEL = re.compile(rb'[ \t,]*+([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"')
_VALUE = re.compile(rb"[ \t]*+([^ \t_]++)(?:[ \t]|$)")
_TYPE = re.compile(rb"#[ \t]++TYPE[ \t]++([a-zA-Z0-9_:]++)[ \t]++([a-z]++)")
_ESCAPE = re.compile(r"\\(.)")
_TIMED_TYPES = frozenset({b"histogram", b"summary", b"untyped", b"unknown"})


class MalformedMetrics(ValueError):
    """The wanted metric is on the page, but cannot be used. The text quotes its name, never the page."""


@dataclass(frozen=True, slots=True)
class Series:
    """One label set's totals since its process started, in the metric's own unit.

    `buckets` are sorted, end with infinity and never fall; empty where there are none or they break these
    rules.
    """

    count: float
    total: float
    buckets: tuple[Bucket, ...] = ()


Family = dict[Labels, Series]


@dataclass(slots=True)
class _Partial:
    count: float | None = None
    total: float | None = None
    buckets: dict[float, float] = field(default_factory=dict)


def read_families(page: bytes, base: str, *, any_prefix: bool = False) -> dict[str, Family]:
    """The families called `base`, or with `any_prefix` also all that end in `_base`, by their full name.

    A family that is not on the page is not in the result. Raises MalformedMetrics, and nothing else, whatever
    the page contains.
    """
    wanted = base.encode()
    families: dict[str, dict[Labels, _Partial]] = {}
    for number, line in enumerate(_lines_with(page, wanted)):
        if number >= MAX_LINES:
            raise MalformedMetrics(f"{base} is on more than {MAX_LINES} lines")
        if line.startswith(b"#"):
            _check_type(line, wanted, any_prefix)
            continue
        name = _NAME.match(line)
        if name is None:
            continue
        family, _, kind = name[0].rpartition(b"_")
        if kind not in (b"sum", b"count", b"bucket") or not _is_wanted(family, wanted, any_prefix):
            continue
        text = name[0].decode()
        if len(line) > MAX_LINE_BYTES:
            raise MalformedMetrics(f"{text} has a line that is too long")
        labels, bound, value = _sample(line, name.end(), text)
        by_labels = families.setdefault(family.decode(), {})
        if labels not in by_labels and len(by_labels) >= MAX_SERIES:
            raise MalformedMetrics(f"{text} has more than {MAX_SERIES} series")
        _add(by_labels.setdefault(labels, _Partial()), kind, bound, value, text)
    return {name: {labels: _whole(part, name) for labels, part in f.items()} for name, f in families.items()}


def read_samples(page: bytes, name: str) -> dict[Labels, float]:
    """The samples of the one metric `name`, without those that are NaN: a gauge that has nothing to say yet.

    Raises MalformedMetrics, and nothing else, whatever the page contains.
    """
    wanted = name.encode()
    samples: dict[Labels, float] = {}
    for number, line in enumerate(_lines_with(page, wanted)):
        if number >= MAX_LINES:
            raise MalformedMetrics(f"{name} is on more than {MAX_LINES} lines")
        found = _NAME.match(line)
        if found is None or found[0] != wanted:
            continue
        if len(line) > MAX_LINE_BYTES:
            raise MalformedMetrics(f"{name} has a line that is too long")
        labels, _, value = _sample(line, found.end(), name, may_be_nan=True)
        if labels in samples:
            raise MalformedMetrics(f"{name} is there twice with the same labels")
        if len(samples) >= MAX_SERIES:
            raise MalformedMetrics(f"{name} has more than {MAX_SERIES} series")
        if not math.isnan(value):
            samples[labels] = value
    return samples


def _lines_with(page: bytes, wanted: bytes) -> Iterator[bytes]:
    """Each line that contains `wanted`, once. Linear in the page: the search goes on behind the line."""
    at = page.find(wanted)
    while at >= 0:
        start = page.rfind(b"\n", 0, at) + 1
        end = page.find(b"\n", at)
        end = len(page) if end < 0 else end
        yield page[start:end].rstrip(b"\r").lstrip(b" \t")
        at = page.find(wanted, end)


def _is_wanted(family: bytes, wanted: bytes, any_prefix: bool) -> bool:
    return family == wanted or (any_prefix and family.endswith(b"_" + wanted))


def _check_type(line: bytes, wanted: bytes, any_prefix: bool) -> None:
    declared = _TYPE.match(line)
    if declared is None or not _is_wanted(declared[1], wanted, any_prefix):
        return
    if declared[2] not in _TIMED_TYPES:
        raise MalformedMetrics(f"{declared[1].decode()} is not a histogram or summary but another type")


def _sample(line: bytes, at: int, name: str, *, may_be_nan: bool = False) -> tuple[Labels, float | None, float]:
    """Labels, bucket bound if there is one, and value of one line behind its name."""
    labels: list[tuple[str, str]] = []
    bound: float | None = None
    block = _LABEL_BLOCK.match(line, at)
    if block is not None:
        at = block.end()
        inside, position = block[1], 0
        while label := _LABEL.match(inside, position):
            position = label.end()
            key, text = label[1].decode(), label[2].decode(errors="replace")
            if key == "le":
                bound = _number(label[2], name)
            else:
                labels.append((key, _unescape(text)))
        if inside[position:].strip(b" \t,"):
            raise MalformedMetrics(f"{name} has labels that cannot be read")
    value = _VALUE.match(line, at)
    if value is None:
        raise MalformedMetrics(f"{name} has no value")
    number = _number(value[1], name)
    if math.isinf(number) or (math.isnan(number) and not may_be_nan):
        raise MalformedMetrics(f"{name} is not a finite number")
    if number < 0:
        raise MalformedMetrics(f"{name} is negative")
    if number > MAX_VALUE:
        raise MalformedMetrics(f"{name} is too large to be true")
    labels.sort()
    return tuple(labels), bound, number


def _number(text: bytes, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise MalformedMetrics(f"{name} is not a number") from None


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], text)


def _add(part: _Partial, kind: bytes, bound: float | None, value: float, name: str) -> None:
    if kind == b"bucket":
        if bound is None or math.isnan(bound):
            raise MalformedMetrics(f"{name} has no bound")
        twice = bound in part.buckets
        part.buckets[bound] = value
    elif kind == b"sum":
        twice = part.total is not None
        part.total = value
    else:
        twice = part.count is not None
        part.count = value
    if twice:
        raise MalformedMetrics(f"{name} is there twice with the same labels")


def _whole(part: _Partial, name: str) -> Series:
    if part.count is None or part.total is None:
        raise MalformedMetrics(f"{name} lacks {name}_{'count' if part.count is None else 'sum'}")
    buckets = tuple(sorted(part.buckets.items()))
    rising = all(low[1] <= high[1] for low, high in pairwise(buckets))
    sound = bool(buckets) and rising and buckets[0][0] > 0 and math.isinf(buckets[-1][0])
    return Series(part.count, part.total, buckets if sound else ())
