"""Entries: what a frame holds, item by item: "this is there now", or "this is gone"."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from storycore.errors import Corrupt

__all__ = ["Entry", "pack", "unpacked"]

_HEAD = struct.Struct("<BII")
_PUT, _GONE = 1, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a replay.

    Args:
        key: what identifies the item in its port.
        item: its bytes; ``None``: it is gone.
    """

    key: bytes
    item: bytes | None


def pack(entry: Entry) -> bytes:
    """The entry's bytes; entries follow each other without anything between."""
    item = entry.item or b""
    return _HEAD.pack(_GONE if entry.item is None else _PUT, len(entry.key), len(item)) + entry.key + item


def unpacked(content: bytes) -> Iterator[Entry]:
    """The entries of a frame, in order.

    Raises:
        Corrupt: the content is not a run of entries.
    """
    view, place = memoryview(content), 0
    while place < len(content):
        if place + _HEAD.size > len(content):
            raise _damaged()
        what, key_size, item_size = _HEAD.unpack_from(content, place)
        place += _HEAD.size
        end = place + key_size + item_size
        if what not in (_PUT, _GONE) or end > len(content) or (what == _GONE and item_size):
            raise _damaged()
        item = None if what == _GONE else bytes(view[place + key_size : end])
        yield Entry(bytes(view[place : place + key_size]), item)
        place = end


def _damaged() -> Corrupt:
    return Corrupt("A frame of the backup opens, but what it holds is no run of entries.")
