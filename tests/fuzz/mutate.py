"""Makes bad inputs out of good ones: by bytes, lines, and the structure of JSON. The same seed, the same inputs."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

_BYTES = (
    b"", b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x80",
    b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00" * 8, b"\xc3\x28", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\t", b" ",
    b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b",", b"=", b":", b"#", b"@", b"%", b"/", b"..", b"-", b"-1", b"0",
    b"1e999", b"NaN", b"+Inf", b"0x10", b"1_0", "٣".encode(), b"9" * 400, b"&a", b"*a", b"!!x", b"null", b"true",
    b"2001-99-99",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 0.5, 1e308, float("nan"), float("inf"), "", " ",
    "0", "-1", "NaN", "1e999", "9" * 400, "\x00", "\ud800", "ü", "a" * 5000, "../x", "a/b", "2001-99-99T00:00:00Z",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "127.0.0.1", "::1", "1h", "5m", "100%", "1Ki", [], {},
    [[]], [None], [1, 2], {"": None}, {"name": None}, {"kind": []}, [{}],
)  # fmt: skip
_DEEP = 2_000


def mutated(random_: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A seed changed in one to six places."""
    data = random_.choice(seeds)
    if data[:1] in (b"{", b"[") and random_.random() < 0.7:
        return _changed_json(random_, data)
    for _ in range(random_.choice((1, 1, 1, 2, 3, 6))):
        data = random_.choice(_CHANGES)(random_, data, seeds)
    return data[:100_000]


def _changed_json(random_: random.Random, data: bytes) -> bytes:
    if random_.random() < 0.005:
        return b"[" * _DEEP + b"]" * _DEEP
    try:
        value = json.loads(data)
        for _ in range(random_.choice((1, 1, 2, 4))):
            value = _changed(random_, value)
        return json.dumps(value).encode()
    except (ValueError, RecursionError):  # a seed that is no JSON, or too deep to be changed
        return data


def _changed(random_: random.Random, root: Any) -> Any:
    """One place of a JSON value replaced, removed, doubled or given another name."""
    places = list(_places(root))
    if not places or random_.random() < 0.02:
        return copy.deepcopy(random_.choice(_VALUES))
    holder, key = random_.choice(places)
    match random_.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.extend(copy.deepcopy(holder[key]) for _ in range(random_.choice((1, 3, 30))))
        case 1:
            holder[random_.choice(("", "name", "kind", str(key) + "x", str(key).upper()))] = copy.deepcopy(holder[key])
        case 2:
            other, at = random_.choice(places)
            holder[key] = copy.deepcopy(other[at])
        case _:
            holder[key] = copy.deepcopy(random_.choice(_VALUES))
    return root


def _places(root: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder of a value with the value's key."""
    open_ = [root]
    while open_:
        value = open_.pop()
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            yield value, key
            open_.append(inner)


def _flip(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return b"\x01"
    at = random_.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << random_.randrange(8))]) + data[at + 1 :]


def _put(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at, size = random_.randint(0, len(data)), random_.choice((0, 0, 1, 2, 4))
    return data[:at] + random_.choice(_BYTES) + data[at + size :]


def _cut(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: random_.randint(0, len(data))]


def _drop(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = sorted(random_.randint(0, len(data)) for _ in range(2))
    return data[:begin] + data[min(end, begin + random_.choice((1, 4, 40))) :]


def _repeat(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = sorted(random_.randint(0, len(data)) for _ in range(2))
    return data[:end] + data[begin:end] * random_.choice((1, 2, 20)) + data[end:]


def _splice(random_: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = random_.choice(seeds)
    return data[: random_.randint(0, len(data))] + other[random_.randint(0, len(other)) :]


def _lines(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    random_.shuffle(lines)
    return b"\n".join(lines[: random_.randint(0, len(lines))])


def _noise(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random_.randint(0, len(data))
    return data[:at] + random_.randbytes(random_.choice((1, 4, 16))) + data[at:]


_CHANGES = (_flip, _put, _put, _cut, _drop, _repeat, _splice, _lines, _noise)
