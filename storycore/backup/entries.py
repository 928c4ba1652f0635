"""Entries: what a frame holds, item by item: "this is there now", or "this is gone"."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import NamedTuple, TypeAlias

from storycore.errors import Corrupt

__all__ = ["KEY_MARK_BYTES", "Entry", "OwnerOf", "capsules", "key_mark", "pack", "pack_item", "unpacked"]

KEY_MARK_BYTES = 12
"""Of a key's mark."""
_HEAD = struct.Struct("<BII")
_MORE = struct.Struct("<I")
_PUT, _GONE, _GONE_MARK, _PUT_MORE, _CAPSULE = 1, 2, 3, 4, 5


OwnerOf: TypeAlias = Callable[[str, "Entry"], str | None]
"""Told a port's name and an entry, says to whom it belongs; ``None``: to nobody."""


class Entry(NamedTuple):
    """One step of a replay.

    Args:
        key: what identifies the item in its port.
        item: its bytes; ``None``: it is gone.
        is_marked: ``key`` is only the mark of the key, of an item that was not there any more when it was looked for.
        more: what goes with the item and is not compared: a blob's content, or where it lies.
        is_capsule: it holds entries that one owner's key opens; see ``storycore.backup.owners``.
        is_erased: it is gone because its owner's key was destroyed.
    """

    key: bytes
    item: bytes | None
    is_marked: bool = False
    more: bytes = b""
    is_capsule: bool = False
    is_erased: bool = False

    @property
    def mark(self) -> bytes:
        """What stands for the key wherever keys are compared."""
        return self.key if self.is_marked else key_mark(self.key)


def key_mark(key: bytes) -> bytes:
    """12 bytes that stand for a key: of SHA-256, so that among a billion keys two meet once in a hundred billion."""
    return sha256(key).digest()[:KEY_MARK_BYTES]


def pack(entry: Entry) -> bytes:
    """The entry's bytes; entries follow each other without anything between."""
    key, item, is_marked, more, is_capsule, _ = entry
    if item is None:
        return _HEAD.pack(_GONE_MARK if is_marked else _GONE, len(key), 0) + key
    if more:
        held = _MORE.pack(len(item)) + item + more
        return _HEAD.pack(_PUT_MORE, len(key), len(held)) + key + held
    return _HEAD.pack(_CAPSULE if is_capsule else _PUT, len(key), len(item)) + key + item


def pack_item(key: bytes, head: bytes, body: bytes) -> bytes:
    """What ``pack`` gives of an entry that is nothing but an item, from the item's two parts."""
    return _HEAD.pack(_PUT, len(key), len(head) + len(body)) + key + head + body


def unpacked(content: bytes) -> Iterator[Entry]:
    """The entries of a frame, in order.

    Raises:
        Corrupt: the content is not a run of entries.
    """
    for what, begin, middle, end in _places(content):
        key = content[begin:middle]
        if what == _PUT:
            yield Entry(key, content[middle:end])
        elif what == _PUT_MORE:
            item, more = _parted(content[middle:end])
            yield Entry(key, item, more=more)
        elif what == _CAPSULE:
            yield Entry(key, content[middle:end], is_capsule=True)
        else:
            yield Entry(key, None, is_marked=what == _GONE_MARK)


def capsules(content: bytes) -> list[Entry | None]:
    """For each entry of a frame the capsule, or ``None`` where it is none: the others are looked at, and not taken out.

    Raises:
        Corrupt: the content is not a run of entries.
    """
    found: list[Entry | None] = []
    for what, begin, middle, end in _places(content):
        if what == _PUT_MORE:
            _parted(content[middle:end])
        found.append(Entry(content[begin:middle], content[middle:end], is_capsule=True) if what == _CAPSULE else None)
    return found


def _places(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Of each entry in a frame what it says, and where its key begins, its item begins, and both end."""
    place, size, head_size, head = 0, len(content), _HEAD.size, _HEAD.unpack_from
    while place < size:
        if place + head_size > size:
            raise _damaged()
        what, key_size, item_size = head(content, place)
        begin = place + head_size
        middle = begin + key_size
        place = middle + item_size
        if not _PUT <= what <= _CAPSULE or place > size or (item_size and what in (_GONE, _GONE_MARK)):
            raise _damaged()
        yield what, begin, middle, place


def _parted(held: bytes) -> tuple[bytes, bytes]:
    """The item, and what goes with it."""
    if len(held) < _MORE.size:
        raise _damaged()
    end = _MORE.size + _MORE.unpack_from(held)[0]
    if end > len(held):
        raise _damaged()
    return held[_MORE.size : end], held[end:]


def _damaged() -> Corrupt:
    return Corrupt("A frame of the backup opens, but what it holds is no run of entries.")
