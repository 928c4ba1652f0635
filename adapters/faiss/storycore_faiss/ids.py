"""Ids in memory: one behind the other, in a quarter of the memory that a list of texts takes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["Ids"]


class Ids:
    """The id of each row.

    Rows are only added. One thread adds at a time; others ask for the rows that they were told of.
    """

    def __init__(self) -> None:
        self._texts = bytearray()
        self._ends = array("Q", [0])

    def extend(self, ids: Sequence[str]) -> None:
        """Add the ids of new rows."""
        added = [id_.encode() for id_ in ids]
        self._texts += b"".join(added)
        self._ends += array("Q", list(accumulate(map(len, added), initial=self._ends[-1]))[1:])

    def __getitem__(self, row: int) -> str:
        """The id of a row, from 0."""
        ends = self._ends
        return self._texts[ends[row] : ends[row + 1]].decode()
