"""A digest of a set: equal for equal sets in whatever order their items come, and kept up to date item by item."""

from __future__ import annotations

from hashlib import sha256, shake_128
from typing import Self

__all__ = ["SetDigest", "item_mark"]

_BYTES = 256
_MASK = (1 << (8 * _BYTES)) - 1


def item_mark(key: bytes, item: bytes) -> bytes:
    """32 bytes that stand for one item under its key."""
    return sha256(len(key).to_bytes(8, "little") + key + item).digest()


class SetDigest:
    """The sum of one number of 2048 bits per item, modulo 2**2048 (AdHash: Bellare and Micciancio, "A New Paradigm for
    Collision-Free Hashing", 1997).

    Adding and removing are exact opposites, and their order does not matter. Sets that differ have different digests
    but for a chance that nobody meets; an item that is added twice counts twice.
    """

    __slots__ = ("_sum", "count")

    def __init__(self, text: str = "") -> None:
        """An empty set's digest, or one that ``str`` wrote.

        Raises:
            ValueError: the text is none.
        """
        count, _, number = text.partition(":")
        self.count = int(count) if text else 0
        self._sum = int(number, 16) if text else 0

    def add(self, mark: bytes) -> None:
        """Put in an item by its mark."""
        self._sum = (self._sum + _number(mark)) & _MASK
        self.count += 1

    def remove(self, mark: bytes) -> None:
        """Take out an item by its mark."""
        self._sum = (self._sum - _number(mark)) & _MASK
        self.count -= 1

    def copy(self) -> Self:
        """Another one with the same items."""
        return type(self)(str(self))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SetDigest):
            return NotImplemented
        return (self.count, self._sum) == (other.count, other._sum)

    def __hash__(self) -> int:
        return hash((self.count, self._sum))

    def __str__(self) -> str:
        return f"{self.count}:{self._sum:x}"

    def __repr__(self) -> str:
        return f"<{self.count} items, {sha256(str(self).encode()).hexdigest()[:12]}>"


def _number(mark: bytes) -> int:
    return int.from_bytes(shake_128(mark).digest(_BYTES), "little")
