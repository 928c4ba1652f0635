"""Ghosts: which keys were evicted lately, in a few bytes for each of them."""

from __future__ import annotations

from array import array

__all__ = ["Ghosts"]

_FIRST_PLACES = 64
_MARK_BITS = 32


class Ghosts:
    """Keys that left not long ago; the caller keeps threads apart.

    Each key has one place in a table of 4-byte marks, and the next one there takes it over. So about as many keys are
    remembered as the table has places, later ones more surely than earlier ones, and one in 2**32 is mistaken.
    """

    def __init__(self) -> None:
        self._marks = array("I", bytes(4 * _FIRST_PLACES))

    def make_room(self, entries: int) -> None:
        """Have one place for each of so many entries, or a few more; growing forgets everything."""
        if entries > len(self._marks):
            self._marks = array("I", bytes(4 * (entries + entries // 16)))

    def add(self, key: str) -> None:
        """Remember a key."""
        place, mark = self._place(key)
        self._marks[place] = mark

    def take(self, key: str) -> bool:
        """Whether the key is remembered; it is forgotten by that."""
        place, mark = self._place(key)
        if self._marks[place] != mark:
            return False
        self._marks[place] = 0
        return True

    def _place(self, key: str) -> tuple[int, int]:
        number = hash(key)
        return number % len(self._marks), (number >> _MARK_BITS) & (2**_MARK_BITS - 1) or 1
