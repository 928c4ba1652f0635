"""FAISS's tongue: rows of float32 in an ``IndexFlat``, a first pass in single precision, scores in double."""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

from storycore.ports.vectors import Metric

__all__ = ["FlatVectors", "Floats", "RowNumbers", "Scores", "use_one_thread"]

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]
RowNumbers = NDArray[np.int64]

_CHUNK = 4096
_LARGEST = 1e37
"""Above this a score, or a part of it, may not fit into single precision."""
_TINY = 1.2e-38
"""Below this single precision loses digits."""


def use_one_thread() -> None:
    """Let FAISS use only the calling thread for what the calling thread asks; other threads are not affected."""
    faiss.omp_set_num_threads(1)


class FlatVectors:
    """Vectors by row number, from 0 upward; rows are only added.

    For cosine the rows are kept at unit length, so they do not give back what was added.

    Args:
        dimension: length of every vector.
        metric: decides what a score means.
    """

    def __init__(self, dimension: int, metric: Metric) -> None:
        self._dimension = dimension
        self._metric = metric
        self._index = faiss.IndexFlatL2(dimension) if metric == "euclidean" else faiss.IndexFlatIP(dimension)
        self._longest = 0.0

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, matrix: Floats) -> None:
        """Append rows; ``matrix`` has shape (n, dimension)."""
        self.keep(_unit(matrix) if self._metric == "cosine" else np.ascontiguousarray(matrix))

    def keep(self, rows: Floats) -> None:
        """Append rows that are already in the form in which rows are kept, for example from ``take()``."""
        self._longest = max(self._longest, float(_lengths(rows.astype(np.float64)).max(initial=0.0)))
        self._index.add(rows)

    def take(self, rows: RowNumbers) -> Floats:
        """Copies of some rows as they are kept."""
        if not len(self):
            return np.empty((0, self._dimension), np.float32)
        held = faiss.rev_swig_ptr(self._index.get_xb(), len(self) * self._dimension)
        matrix: Floats = held.reshape(len(self), self._dimension)
        return matrix[rows]

    def target(self, vector: Floats) -> Floats:
        """A query vector in the form in which rows are kept."""
        return _unit(vector.reshape(1, -1))[0] if self._metric == "cosine" else vector

    def nearest(self, target: Floats, count: int, rows: RowNumbers | None) -> tuple[RowNumbers, float]:
        """The best ``count`` rows in single precision, and a bound that no score of any other row exceeds.

        Args:
            target: from ``target()``.
            count: at most as many as there are rows to choose from.
            rows: choose among these, ascending and all below ``len(self)``; ``None``: among all.
        """
        chosen = None if rows is None else _only(rows)
        distances, found = self._index.search(target.reshape(1, -1), count, params=chosen)
        worst = float(distances[0, -1])
        rough = -worst if self._metric == "euclidean" else worst
        return found[0].astype(np.int64), rough + self._slack(target)

    def scores(self, target: Floats, rows: RowNumbers) -> Scores:
        """The scores of some rows in double precision; equal rows have equal scores wherever they are."""
        wanted = target.astype(np.float64)
        chunks = [self._scored(wanted, rows[i : i + _CHUNK]) for i in range(0, len(rows), _CHUNK)]
        return np.concatenate(chunks) if chunks else np.empty(0, np.float64)

    def is_safe(self, target: Floats) -> bool:
        """Whether every score of ``target`` fits into single precision."""
        reach = self._longest + float(_lengths(target.astype(np.float64).reshape(1, -1))[0])
        return reach * reach < _LARGEST

    def _scored(self, target: Scores, rows: RowNumbers) -> Scores:
        held = self.take(rows).astype(np.float64)
        if self._metric == "euclidean":
            return np.asarray(-np.square(held - target).sum(axis=1))
        dots = (held * target).sum(axis=1)
        if self._metric == "dot":
            return np.asarray(dots)
        lengths = np.sqrt(np.square(held).sum(axis=1) * np.square(target).sum())
        return np.asarray(np.clip(dots / lengths, -1.0, 1.0))

    def _slack(self, target: Floats) -> float:
        """How far single precision may be off: the bound of a sum of ``dimension`` products, with room to spare."""
        length = float(_lengths(target.astype(np.float64).reshape(1, -1))[0])
        reach = (self._longest + length) ** 2 if self._metric == "euclidean" else self._longest * length
        return 2 * (self._dimension + 8) * (float(np.finfo(np.float32).eps) * reach + _TINY)


def _only(rows: RowNumbers) -> faiss.SearchParameters:
    return faiss.SearchParameters(sel=faiss.IDSelectorArray(rows))  # type: ignore[call-arg]  # its stub lacks keywords


def _unit(matrix: Floats) -> Floats:
    wide = matrix.astype(np.float64)
    return np.ascontiguousarray(wide / _lengths(wide)[:, None], np.float32)


def _lengths(matrix: Scores) -> Scores:
    return np.asarray(np.sqrt(np.square(matrix).sum(axis=1)))
