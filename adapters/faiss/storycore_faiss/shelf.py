"""A shelf: one namespace in memory, rebuilt from the truth and kept in step with it."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyroaring import BitMap

from storycore.errors import Corrupt
from storycore.ports.filters import Filter
from storycore.ports.vectors import Metric
from storycore_faiss.flat import FlatVectors, Floats, RowNumbers, Scores
from storycore_faiss.planner import Path, Plan, plan
from storycore_faiss.postings import Postings
from storycore_faiss.truth import Row, metadata_of

__all__ = ["Found", "Shelf"]

_GROWTH = 8
"""By how much a first pass that was not enough is widened."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row that a search found."""

    row: int
    id: str
    score: float


class Shelf:
    """Vectors, ids, metadata and postings of one namespace, by row number.

    Nothing here locks: the library lets one thread change a shelf, or several search it.
    """

    def __init__(self, dimension: int, metric: Metric) -> None:
        self._dimension = dimension
        self._metric: Metric = metric
        self._vectors = FlatVectors(dimension, metric)
        self._postings = Postings()
        self._slots = array("q")
        self._ids: list[str] = []
        self._metadata: list[bytes] = []
        self._row_of: dict[str, int] = {}
        self.alive = BitMap()

    def __len__(self) -> int:
        return len(self.alive)

    @property
    def dead(self) -> int:
        """Rows that take space and are never found."""
        return len(self._slots) - len(self.alive)

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows in ascending order of slot; none of their ids is alive here."""
        self._vectors.add(self._matrix([row.vector for row in rows]))
        for row in rows:
            number = len(self._slots)
            self._postings.add(number, metadata_of(row.metadata))
            self._slots.append(row.slot)
            self._ids.append(row.id)
            self._metadata.append(row.metadata)
            self._row_of[row.id] = number
            self.alive.add(number)

    def end(self, slot: int) -> None:
        """The item in this slot is gone; a slot that never was here is passed over."""
        row = bisect_left(self._slots, slot)
        if row < len(self._slots) and self._slots[row] == slot and row in self.alive:
            self.alive.discard(row)
            del self._row_of[self._ids[row]]

    def row_of(self, id_: str) -> int | None:
        """The live row of an id."""
        return self._row_of.get(id_)

    def slot(self, row: int) -> int:
        """The slot of a row."""
        return self._slots[row]

    def id(self, row: int) -> str:
        """The id of a row."""
        return self._ids[row]

    def metadata(self, row: int) -> bytes:
        """The metadata of a row as JSON."""
        return self._metadata[row]

    def vector(self, row: int) -> Floats:
        """The vector of a row, which for cosine has unit length."""
        return self._vectors.take(np.array([row], np.int64)).reshape(-1)

    def matching(self, where: Filter | None) -> BitMap:
        """The live rows that match."""
        return self.alive if where is None else self._postings.matching(where, self.alive)

    def plan(self, vector: Floats, top_k: int, where: Filter | None) -> Plan:
        """How a search would be answered."""
        return self._plan(self._vectors.target(vector), top_k, self.matching(where))

    def search(self, vector: Floats, top_k: int, where: Filter | None) -> list[Found]:
        """The ``top_k`` best live rows that match: scores descending, equal ones by id."""
        target, candidates = self._vectors.target(vector), self.matching(where)
        planned = self._plan(target, top_k, candidates)
        if planned.path is Path.EMPTY:
            return []
        numbers = None if planned.path is Path.WHOLE else _numbers(candidates)
        if planned.path is Path.DIRECT and numbers is not None:
            found, scores = numbers, self._vectors.scores(target, numbers)
        else:
            found, scores = self._certain(target, top_k, planned, numbers)
        return self._best(found, scores, top_k)

    def compacted(self) -> Shelf:
        """The same items without the dead rows."""
        fresh = Shelf(self._dimension, self._metric)
        live = _numbers(self.alive)
        if len(live):
            fresh._vectors.keep(self._vectors.take(live))
        for number, row in enumerate(live.tolist()):
            fresh._postings.add(number, metadata_of(self._metadata[row]))
            fresh._slots.append(self._slots[row])
            fresh._ids.append(self._ids[row])
            fresh._metadata.append(self._metadata[row])
            fresh._row_of[self._ids[row]] = number
        fresh.alive = BitMap(range(len(live)))
        return fresh

    def _plan(self, target: Floats, top_k: int, candidates: BitMap) -> Plan:
        safe = self._vectors.is_safe(target)
        return plan(candidates=len(candidates), rows=len(self._slots), top_k=top_k, safe=safe)

    def _certain(self, target: Floats, top_k: int, planned: Plan, rows: RowNumbers | None) -> tuple[RowNumbers, Scores]:
        """Widen the first pass until no row that it left out can be among the best, ties included."""
        fetch = planned.fetch
        while True:
            found, bound = self._vectors.nearest(target, fetch, rows)
            scores = self._vectors.scores(target, found)
            if fetch == planned.candidates or np.partition(scores, -top_k)[-top_k] > bound:
                return found, scores
            fetch = min(planned.candidates, fetch * _GROWTH)

    def _best(self, rows: RowNumbers, scores: Scores, top_k: int) -> list[Found]:
        if len(rows) > 4 * top_k:
            near = scores >= np.partition(scores, -top_k)[-top_k]
            rows, scores = rows[near], scores[near]
        found = [Found(r, self._ids[r], s) for r, s in zip(rows.tolist(), scores.tolist(), strict=True)]
        found.sort(key=lambda f: (-f.score, f.id))
        return found[:top_k]

    def _matrix(self, blobs: Sequence[bytes]) -> Floats:
        if any(len(blob) != 4 * self._dimension for blob in blobs):
            raise Corrupt(f"A stored vector does not have {self._dimension} dimensions; restore from a backup.")
        return np.frombuffer(b"".join(blobs), np.float32).reshape(len(blobs), self._dimension)


def _numbers(rows: BitMap) -> RowNumbers:
    return np.frombuffer(rows.to_array(), np.uint32).astype(np.int64) if rows else np.empty(0, np.int64)
