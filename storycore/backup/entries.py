"""Entries: what a frame holds, item by item: "this is there now", or "this is gone"."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
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


def unpacked(pieces: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a frame, in order, from its content in pieces of any size.

    Raises:
        Corrupt: the content is not a run of entries.
    """
    for content, what, begin, middle, end in _places(pieces):
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


def capsules(pieces: Iterable[bytes]) -> list[Entry | None]:
    """For each entry of a frame the capsule, or ``None`` where it is none: the others are looked at, and not taken out.

    Raises:
        Corrupt: the content is not a run of entries.
    """
    found: list[Entry | None] = []
    for content, what, begin, middle, end in _places(pieces):
        if what == _PUT_MORE:
            _parted(content[middle:end])
        found.append(Entry(content[begin:middle], content[middle:end], is_capsule=True) if what == _CAPSULE else None)
    return found


def _places(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, int, int, int, int]]:
    """Of each entry in a frame the bytes it lies in, what it says, where its key and its item begin, and its end."""
    begun: list[bytes] = []
    missing = 0
    for piece in pieces:
        begun.append(piece)
        missing -= len(piece)
        if missing > 0:
            continue
        content, end = b"".join(begun), 0
        for place in _whole(content):
            yield content, *place
            end = place[-1]
        begun = [content[end:]] if end < len(content) else []
        missing = _length(begun[0]) - len(begun[0]) if begun else 0
    if begun:
        raise _damaged()


def _whole(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Of each entry that is whole what it says, where its key and its item begin, and its end."""
    place, size, head_size, head = 0, len(content), _HEAD.size, _HEAD.unpack_from
    while (begin := place + head_size) <= size:
        what, key_size, item_size = head(content, place)
        middle = begin + key_size
        place = middle + item_size
        if not _PUT <= what <= _CAPSULE or (item_size and what in (_GONE, _GONE_MARK)):
            raise _damaged()
        if place > size:
            return
        yield what, begin, middle, place


def _length(begun: bytes) -> int:
    """How many bytes an entry takes, of which these are the first; of its head, while that is not there."""
    if len(begun) < _HEAD.size:
        return _HEAD.size
    _, key_size, item_size = _HEAD.unpack_from(begun)
    return _HEAD.size + int(key_size) + int(item_size)


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
