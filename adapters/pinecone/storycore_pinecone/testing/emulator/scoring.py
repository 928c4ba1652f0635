"""How near records are to a vector, in 64-bit floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from .filters import Test
from .knobs import Knobs
from .namespaces import Namespace
from .records import Floats, Record

__all__ = ["Ranking"]

_Doubles = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class _Table:
    """The visible vectors of a namespace at one version.

    Attributes:
        version: of what is visible.
        records: one for each row.
        matrix: float64, shape ``(rows, dimension)``.
        lengths: of the rows.
    """

    version: int
    records: list[Record]
    matrix: _Doubles
    lengths: _Doubles


class Ranking:
    """The nearest records of a namespace. The matrix of its vectors is kept until what is visible changes.

    Args:
        seed: of the order of ties.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._tables: WeakKeyDictionary[Namespace, _Table] = WeakKeyDictionary()

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
        table = self._table(space)
        if table is None:
            return []
        rows = np.arange(len(table.records))
        if test is not None:
            rows = np.flatnonzero([test(record.metadata) for record in table.records])
        scores = _scores(table, wanted.astype(np.float64), metric, knobs.euclidean).astype(np.float32)
        if knobs.shuffle_ties:
            rows = self._random.permutation(rows)
        ranks = scores[rows] if metric == "euclidean" else -scores[rows]
        best = rows[np.argsort(ranks, kind="stable")[:top_k]]
        return [(table.records[row], float(scores[row])) for row in best]

    def _table(self, space: Namespace) -> _Table | None:
        """The table of what is visible now; ``None``: nothing is."""
        found = self._tables.get(space)
        if found is not None and found.version == space.version:
            return found
        if not space.visible:
            return None
        records = list(space.visible.values())
        matrix = np.concatenate([record.values for record in records]).reshape(len(records), -1).astype(np.float64)
        self._tables[space] = _Table(space.version, records, matrix, np.linalg.norm(matrix, axis=1))
        return self._tables[space]


def _scores(table: _Table, wanted: _Doubles, metric: str, euclidean: str) -> _Doubles:
    """One score for each row."""
    if metric == "euclidean":
        squares: _Doubles = np.square(table.matrix - wanted).sum(axis=1)
        return squares if euclidean == "squared" else np.sqrt(squares)
    products: _Doubles = table.matrix @ wanted
    return products if metric == "dotproduct" else products / (table.lengths * np.linalg.norm(wanted))
