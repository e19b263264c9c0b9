"""Reads and writes the flexible encoding of Kafka's protocol (KIP-482) straight on bytes.

An answer about thousands of partitions is decoded in slices by the reader, between which the event loop
runs; a schema interpreter that decodes a whole answer inside the connection's read task cannot do that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_INT16 = struct.Struct(">h").unpack_from
_INT32 = struct.Struct(">i").unpack_from
_INT64 = struct.Struct(">q").unpack_from

NO_TAGS = b"\x00"
NULL = b"\x00"  # a compact string or array that is null

DECODE_ERRORS = (struct.error, IndexError, ValueError)
"""What decoding raises when the bytes are not what they should be."""


class Cursor:
    """A place in an answer; every method reads one field and moves on.

    Raises one of DECODE_ERRORS when the bytes end early.
    """

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    def int8(self) -> int:
        value = self.data[self.position]
        self.position += 1
        return value

    def int16(self) -> int:
        value: int = _INT16(self.data, self.position)[0]
        self.position += 2
        return value

    def int32(self) -> int:
        value: int = _INT32(self.data, self.position)[0]
        self.position += 4
        return value

    def int64(self) -> int:
        value: int = _INT64(self.data, self.position)[0]
        self.position += 8
        return value

    def varint(self) -> int:
        """An unsigned varint of up to 32 bits."""
        byte = self.data[self.position]
        self.position += 1
        if byte < 0x80:
            return byte
        value, shift = byte & 0x7F, 7
        while shift <= 28:
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError("a varint of more than 32 bits")

    def count(self) -> int:
        """The length of a compact array, 0 for null."""
        return max(0, self.varint() - 1)

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise ValueError("the answer ends early")
        value = self.data[self.position : end]
        self.position = end
        return value

    def blob(self) -> bytes:
        """Compact bytes or an undecoded compact string; empty for null."""
        return self.take(self.count())

    def string(self) -> str:
        """A compact string; empty for null."""
        return self.take(self.count()).decode()

    def skip(self, size: int) -> None:
        self.position += size

    def skip_blob(self) -> None:
        size = self.varint()
        if size > 1:
            self.position += size - 1

    def skip_tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.skip(self.varint())

    def skip_int32s(self) -> None:
        """A compact array of int32."""
        count = self.count()
        self.position += 4 * count

    # The embedded consumer protocol keeps the old encoding: 16-bit string and 32-bit array lengths.
    def old_string(self) -> str:
        return self.take(max(0, self.int16())).decode()

    def old_count(self) -> int:
        return max(0, self.int32())


def varint(value: int) -> bytes:
    """An unsigned varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(value: str) -> bytes:
    """A compact string."""
    encoded = value.encode()
    return varint(len(encoded) + 1) + encoded


def array(items: Iterable[bytes]) -> bytes:
    """A compact array of items that are encoded already."""
    encoded = list(items)
    return varint(len(encoded) + 1) + b"".join(encoded)
