"""A shelf: one namespace in memory, rebuilt from the truth and kept in step with it."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from storycore_faiss.candidates import Candidates, FilterCache
from storycore_faiss.codes import Coded
from storycore_faiss.flat import Floats, Measure, RowNumbers
from storycore_faiss.ids import Ids
from storycore_faiss.metadata import MetadataRows
from storycore_faiss.planner import PlanCache, Planner
from storycore_faiss.postings import Postings
from storycore_faiss.reads import matrix_of
from storycore_faiss.rows import Storage, rows_for
from storycore_faiss.truth import Row, metadata_of
from storycore_faiss.view import Kept, View

__all__ = ["Shelf"]

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: its multiples are spread over all bits (Knuth, volume 3, 6.4)."""


class Shelf:
    """Vectors, ids and postings of one namespace, by row number.

    One thread at a time changes a shelf; searches go on meanwhile on the views that were taken before.

    Args:
        measure: dimension and metric.
        planner: how its views decide.
        storage: where the vectors are.
        expected: how many rows will come soon.
        kept_metadata: so many bytes of a row's metadata are kept in memory; longer ones are read when they are asked.
    """

    def __init__(
        self, measure: Measure, planner: Planner, storage: Storage, expected: int = 0, *, kept_metadata: int = 0
    ) -> None:
        self._measure = measure
        self._planner = planner
        self._slots = array("q")
        self._ids = Ids()
        self._kept = Kept(
            rows_for(storage, measure.dimension, expected + expected // 8),
            self._slots,
            self._ids,
            Postings(),
            MetadataRows(kept_metadata),
            in_memory=storage == "float32",
        )
        self._prints = array("I")
        self._alive = BitMap()
        self._longest = 0.0
        self.coded: Coded | None = None
        self.refused_codes = 0
        self.saved_rows = 0

    def __len__(self) -> int:
        return len(self._alive)

    @property
    def count(self) -> int:
        """All rows, dead ones included."""
        return len(self._slots)

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows in ascending order of slot; none of their ids is alive here."""
        first = self.count
        matrix = matrix_of([row.vector for row in rows], self._measure.dimension)
        self._prints.frombytes(_prints(matrix).tobytes())
        kept = self._measure.kept(matrix)
        self._longest = max(self._longest, self._measure.longest(kept))
        self._kept.rows.append(kept)
        self._kept.postings.extend(first, [metadata_of(row.metadata) for row in rows])
        self._kept.metadata.extend([row.metadata for row in rows])
        self._ids.extend([row.id for row in rows])
        self._slots.extend([row.slot for row in rows])
        self._alive.add_range(first, first + len(rows))

    def end(self, slot: int) -> None:
        """The item in this slot is gone; a slot that never was here is passed over."""
        row = bisect_left(self._slots, slot)
        if row < self.count and self._slots[row] == slot:
            self._alive.discard(row)

    def with_codes(self, coded: Coded | None) -> Shelf:
        """The same shelf with codes for its first rows; ``None`` when these rows have no good ones."""
        self.coded = coded
        self.refused_codes = 0 if coded else self.count
        return self

    def view(self) -> View:
        """The shelf as it is now; what is added or ended later does not show in it."""
        return View(
            measure=self._measure,
            planner=self._planner,
            kept=self._kept,
            count=self.count,
            alive=Candidates(BitMap(self._alive)),
            longest=self._longest,
            coded=self.coded,
            filters=FilterCache(),
            plans=PlanCache(),
        )

    def marks(self, count: int) -> tuple[RowNumbers, NDArray[np.uint32]]:
        """The slots of the first rows, and of each a number that another vector hardly has."""
        return np.array(self._slots[:count], np.int64), np.array(self._prints[:count], np.uint32)


def _prints(matrix: Floats) -> NDArray[np.uint32]:
    """Of each line a number that another vector hardly has: the upper half of a weighted sum of all its bits."""
    words = matrix.view(np.uint64) if matrix.shape[1] % 2 == 0 else matrix.view(np.uint32).astype(np.uint64)
    weights = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * _SPREAD | np.uint64(1)
    return np.asarray(np.einsum("ij,j->i", words, weights) >> np.uint64(32), np.uint32)
