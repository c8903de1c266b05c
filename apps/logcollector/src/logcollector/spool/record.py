"""How a batch is written to the spool.

Here: bytes of a batch and back; finding where valid records end.
Not here: files (files.py). Thread: any; pure functions.
Invariant: a record that decodes is the record that was encoded: length and CRC cover all of it.

Format, little-endian: length of the rest after the CRC (u32), CRC-32 of that rest (u32); lines
(u32), id (16 bytes), then blocks: received (f64), kind (u8), length of the peer (u8), lines (u32),
length of the data (u32), peer, data.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from typing import NamedTuple

from ..block import Batch, Block

HEADER = struct.Struct("<II")
START = struct.Struct("<I16s")
BLOCK = struct.Struct("<dBBII")
KEYED = 1
RAW = 2
LONGEST = 1 << 30


class Head(NamedTuple):
    """What a record begins with."""

    length: int  # of the whole record
    lines: int


def encode(batch: Batch) -> bytes:
    """The record of a batch."""
    parts = [START.pack(batch.lines, batch.id.bytes)]
    for block in batch.blocks:
        peer = block.peer.encode()
        kind = KEYED * block.keyed + RAW * block.raw
        parts.append(BLOCK.pack(block.received, kind, len(peer), block.count, len(block.data)))
        parts.append(peer)
        parts.append(block.data)
    rest = b"".join(parts)
    return HEADER.pack(len(rest), zlib.crc32(rest)) + rest


def head(data: bytes) -> Head | None:
    """The length of the record that begins here, if it can be one."""
    if len(data) < HEADER.size + START.size:
        return None
    length, _ = HEADER.unpack_from(data)
    if not START.size < length <= LONGEST:
        return None
    lines, _ = START.unpack_from(data, HEADER.size)
    return Head(HEADER.size + length, lines)


def decode(data: bytes) -> Batch | None:
    """The batch of a whole record; None if it is not what was written."""
    if len(data) < HEADER.size + START.size:
        return None
    length, crc = HEADER.unpack_from(data)
    rest = memoryview(data)[HEADER.size :]
    if length != len(rest) or zlib.crc32(rest) != crc:
        return None
    _, batch_id = START.unpack_from(rest)
    blocks = []
    at = START.size
    while at < length:
        received, kind, peer_length, count, data_length = BLOCK.unpack_from(rest, at)
        at += BLOCK.size
        peer = str(rest[at : at + peer_length], "ascii")
        at += peer_length
        lines = bytes(rest[at : at + data_length])
        at += data_length
        blocks.append(
            Block(lines, count, received, peer, keyed=bool(kind & KEYED), raw=bool(kind & RAW))
        )
    return Batch(blocks, uuid.UUID(bytes=batch_id))
