"""FAISS's tongue for whole vectors: a first pass in single precision over rows of numpy, scores in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from storycore.ports.vectors import Metric

__all__ = ["Floats", "Measure", "Piece", "RowNumbers", "Scores", "one_thread", "use_one_thread"]

Floats: TypeAlias = NDArray[np.float32]
Scores: TypeAlias = NDArray[np.float64]
RowNumbers: TypeAlias = NDArray[np.int64]

_INNER: Callable[..., None] = faiss.knn_inner_product
_L2: Callable[..., None] = faiss.knn_L2sqr
"""FAISS's functions over any memory, which no index has to own; its stubs lack the forms with a selector."""

_CHUNK = 4096
_STEP = 128
"""So many rows in double precision stay in a processor's cache, and in memory that is there already."""
_LARGEST = 1e37
"""Above this a score, or a part of it, may not fit into single precision."""
_EPSILON = 2.0**-23
"""The step from 1 to the next number in single precision."""
_TINY = 1.2e-38
"""Below this single precision loses digits."""


def use_one_thread() -> None:
    """Let FAISS use only the calling thread for what the calling thread asks; other threads are not affected."""
    faiss.omp_set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """The same for a while, in a thread that is not the index's own."""
    given = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(given)


class Piece(NamedTuple):
    """Rows that lie together.

    Args:
        matrix: float32, shape (n, dimension), contiguous.
        numbers: the row number of each line, or of the first when they run.
        among: choose among these lines alone, ascending; ``None``: among all.
    """

    matrix: Floats
    numbers: RowNumbers | int
    among: RowNumbers | None = None

    def rows(self, lines: RowNumbers) -> RowNumbers:
        """The row numbers of some lines."""
        return lines + self.numbers if isinstance(self.numbers, int) else self.numbers[lines]


class Measure:
    """What a score means: how vectors are kept, what the best are, and how far a first pass may be off.

    For cosine the rows are kept at unit length, so they do not give back what was added.
    """

    def __init__(self, dimension: int, metric: Metric) -> None:
        self.dimension = dimension
        self.metric: Metric = metric

    def kept(self, matrix: Floats) -> Floats:
        """Rows in the form in which they are kept; ``matrix`` has shape (n, dimension)."""
        return _unit(matrix) if self.metric == "cosine" else np.ascontiguousarray(matrix)

    def target(self, vector: Floats) -> Floats:
        """A query vector in the form in which rows are kept."""
        if self.metric != "cosine":
            return np.ascontiguousarray(vector)
        wide = vector.astype(np.float64)
        return np.asarray(wide / math.sqrt(wide.dot(wide)), np.float32)

    def nearest(self, targets: Floats, count: int, pieces: Iterable[Piece]) -> tuple[RowNumbers, Floats]:
        """For each target the best ``count`` rows of all pieces in single precision, and their rough scores.

        Args:
            targets: from ``target()``, shape (m, dimension).
            count: at most as many as there are rows to choose from.
            pieces: at least one row in all.
        """
        found = [self._nearest_in(piece, targets, count) for piece in pieces]
        if len(found) == 1:
            return found[0]
        rows, scores = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(rows, best, 1), np.take_along_axis(scores, best, 1)

    def rough(self, target: Floats, matrix: Floats) -> Floats:
        """The scores of kept rows in single precision."""
        if self.metric == "euclidean":
            return np.asarray(-np.square(matrix - target).sum(axis=1))
        return np.asarray(matrix @ target)

    def scores(self, target: Floats, matrix: Floats) -> Scores:
        """The scores of kept rows in double precision; equal rows have equal scores wherever they are."""
        wanted = target.astype(np.float64)
        if len(matrix) <= _CHUNK:
            return self._scored(wanted, matrix)
        chunks = [self._scored(wanted, matrix[i : i + _CHUNK]) for i in range(0, len(matrix), _CHUNK)]
        return np.concatenate(chunks)

    def longest(self, matrix: Floats) -> float:
        """The greatest length of any row; for cosine that of all of them, as ``length()`` has it."""
        if self.metric == "cosine":
            return 1.0
        return float(_lengths(matrix.astype(np.float64)).max(initial=0.0))

    def length(self, target: Floats) -> float:
        """The length of a target; 1 for cosine, where rounding moves it by less than ``slack()`` has to spare."""
        if self.metric == "cosine":
            return 1.0
        wide = target.astype(np.float64)
        return math.sqrt(wide.dot(wide))

    def is_safe(self, length: float, longest: float) -> bool:
        """Whether every score of a target of this length with rows up to the other fits into single precision."""
        reach = longest + length
        return reach * reach < _LARGEST

    def slack(self, length: float, longest: float, rounding: float) -> float:
        """How far a first pass may be off: the bound of a sum of ``dimension`` products, with room to spare.

        Args:
            length: the target's.
            longest: no row is longer.
            rounding: relative error of the numbers of the rows.
        """
        reach = (longest + length) ** 2 if self.metric == "euclidean" else longest * length
        single = (self.dimension + 8) * (_EPSILON * reach + _TINY)
        return 2 * (single + 2 * rounding * reach)

    def _nearest_in(self, piece: Piece, targets: Floats, count: int) -> tuple[RowNumbers, Floats]:
        there = len(piece.matrix) if piece.among is None else len(piece.among)
        count = min(count, there)
        distances = np.empty((len(targets), count), np.float32)
        lines = np.empty((len(targets), count), np.int64)
        only = None if piece.among is None else faiss.IDSelectorArray(piece.among)
        given = (faiss.swig_ptr(targets), faiss.swig_ptr(piece.matrix), self.dimension, len(targets), len(piece.matrix))
        into = (count, faiss.swig_ptr(distances), faiss.swig_ptr(lines))
        if self.metric == "euclidean":
            _L2(*given, *into, None, only)
        else:
            _INNER(*given, *into, only)
        return piece.rows(lines), -distances if self.metric == "euclidean" else distances

    def _scored(self, target: Scores, matrix: Floats) -> Scores:
        held = matrix.astype(np.float64)
        if self.metric == "euclidean":
            return np.asarray(-np.square(held - target).sum(axis=1))
        dots = (held * target).sum(axis=1)
        if self.metric == "dot":
            return np.asarray(dots)
        lengths = np.sqrt((held * held).sum(axis=1)) * math.sqrt(target.dot(target))
        return np.asarray(np.minimum(np.maximum(dots / lengths, -1.0), 1.0))


def _unit(matrix: Floats) -> Floats:
    kept = np.empty(matrix.shape, np.float32)
    for low in range(0, len(matrix), _STEP):
        wide = matrix[low : low + _STEP].astype(np.float64)
        kept[low : low + _STEP] = wide / _lengths(wide)[:, None]
    return kept


def _lengths(matrix: Scores) -> Scores:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", matrix, matrix)))
