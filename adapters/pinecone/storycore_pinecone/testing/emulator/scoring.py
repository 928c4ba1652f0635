"""How near records are to a vector, in 64-bit floats."""

from __future__ import annotations

import random
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from .filters import Test
from .knobs import Knobs
from .namespaces import Namespace
from .records import Floats, Record

__all__ = ["Ranking"]

_Doubles = np.ndarray[Any, np.dtype[np.float64]]


class Ranking:
    """The nearest records of a namespace. The matrix of its vectors is kept until what is visible changes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the order of ties, and repeatable
        self._kept: WeakKeyDictionary[Namespace, tuple[int, list[Record], _Doubles]] = WeakKeyDictionary()

    def nearest(
        self, space: Namespace, wanted: Floats, *, metric: str, top_k: int, test: Test | None, knobs: Knobs
    ) -> list[tuple[Record, float]]:
        """The best records with their scores, the best first.

        Args:
            space: whose visible records are ranked.
            wanted: float32, shape ``(dimension,)``.
            metric: ``cosine``, ``dotproduct`` or ``euclidean``.
            top_k: how many at most.
            test: which records are asked for; ``None``: all.
            knobs: the value of a euclidean score, and the order of equal ones.
        """
        records, matrix = self._matrix(space)
        if test is not None:
            rows = [row for row, record in enumerate(records) if test(record.metadata)]
            records, matrix = [records[row] for row in rows], matrix[rows]
        if not records:
            return []
        scores = _scores(matrix, wanted.astype(np.float64), metric, knobs.euclidean).astype(np.float32)
        ranks = scores if metric == "euclidean" else -scores
        order = self._order(len(records), shuffled=knobs.shuffle_ties)
        best = order[np.argsort(ranks[order], kind="stable")[:top_k]]
        return [(records[row], float(scores[row])) for row in best]

    def _matrix(self, space: Namespace) -> tuple[list[Record], _Doubles]:
        version, records, matrix = self._kept.get(space, (-1, [], np.empty((0, 0))))
        if version != space.version:
            records = list(space.visible.values())
            matrix = np.array([record.values for record in records], dtype=np.float64)
            self._kept[space] = (space.version, records, matrix)
        return records, matrix

    def _order(self, count: int, *, shuffled: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
        if not shuffled:
            return np.arange(count)
        return np.random.default_rng(self._random.getrandbits(32)).permutation(count)


def _scores(matrix: _Doubles, wanted: _Doubles, metric: str, euclidean: str) -> _Doubles:
    if metric == "euclidean":
        squares: _Doubles = np.square(matrix - wanted).sum(axis=1)
        return squares if euclidean == "squared" else np.sqrt(squares)
    products: _Doubles = matrix @ wanted
    if metric == "dotproduct":
        return products
    lengths: _Doubles = np.linalg.norm(matrix, axis=1) * np.linalg.norm(wanted)
    return products / lengths
