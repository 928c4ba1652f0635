"""Candidates: the rows that a filter leaves, kept for the next query that asks the same of the same state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pyroaring import BitMap

from storycore.ports.filters import Filter
from storycore_faiss.flat import RowNumbers

__all__ = ["Candidates", "FilterCache"]

_MOST_FILTERS = 32
_MOST_KEPT_ROWS = 32_768


class Candidates:
    """Rows as a set, and in ascending order as FAISS takes them.

    Args:
        rows: never changed after.
    """

    def __init__(self, rows: BitMap) -> None:
        self.rows = rows
        self._numbers: RowNumbers | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def numbers(self) -> RowNumbers:
        """The rows in ascending order; a short list is kept."""
        if self._numbers is not None:
            return self._numbers
        numbers = row_numbers(self.rows)
        if len(numbers) <= _MOST_KEPT_ROWS:
            self._numbers = numbers
        return numbers

    def from_row(self, first: int) -> RowNumbers:
        """Those at or behind a row, ascending."""
        if not self.rows or self.rows.max() < first:
            return np.empty(0, np.int64)
        return row_numbers(self.rows & BitMap(range(first, self.rows.max() + 1)))

    def among(self, found: RowNumbers) -> RowNumbers:
        """Those of ``found`` that are candidates, ascending, each once."""
        return row_numbers(BitMap(np.sort(found[found >= 0]).astype(np.uint32)) & self.rows)


class FilterCache:
    """What the last filters left of one state. A state that changes gets a new cache."""

    def __init__(self) -> None:
        self._kept: dict[str, Candidates] = {}

    def known(self, where: Filter) -> Candidates | None:
        """The candidates of a filter that was asked before; ``None`` when they would have to be found."""
        return self._kept.get(repr(where))

    def get(self, where: Filter, make: Callable[[Filter], BitMap]) -> Candidates:
        """The candidates of a filter.

        Filters are told apart by how they are written out: as values ``x == 1`` and ``x == True`` are equal.
        """
        key = repr(where)
        kept = self._kept.get(key)
        if kept is None:
            kept = Candidates(make(where))
            if len(self._kept) >= _MOST_FILTERS:
                self._kept.clear()
            self._kept[key] = kept
        return kept


def row_numbers(rows: BitMap) -> RowNumbers:
    """A set of rows as FAISS takes it: int64, ascending."""
    return np.frombuffer(rows.to_array(), np.uint32).astype(np.int64) if rows else np.empty(0, np.int64)
