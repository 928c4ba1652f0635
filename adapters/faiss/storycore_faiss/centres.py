"""Centres: points around which rows lie, so that a search compares the codes of those lists alone that are near."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from storycore.ports.vectors import Metric
from storycore_faiss.flat import Floats

__all__ = ["SAMPLED", "Centres", "ListNumbers", "centres_for"]

ListNumbers: TypeAlias = NDArray[np.uint16]

SAMPLED = 48
"""Rows of a sample for each centre; with a third less, centres fell between clusters, and four times as many lists had
to be searched."""
_ROUNDS = 8
_FEWEST_ROWS = 16_384
"""Among fewer rows the choice of lists takes as long as all of their codes."""
_MOST = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Centres:
    """The centres of the lists.

    Args:
        metric: what "near" means.
        matrix: float32, shape (lists, dimension); a single line is the same as no lists, and its numbers mean nothing.
    """

    metric: Metric
    matrix: Floats

    def __len__(self) -> int:
        return len(self.matrix)

    @classmethod
    def none(cls, dimension: int, metric: Metric) -> Centres:
        """All rows in one list."""
        return cls(metric, np.zeros((1, dimension), np.float32))

    @classmethod
    def trained(cls, sample: Floats, metric: Metric, count: int) -> Centres:
        """The centres of a sample by k-means; by direction, where nearness is."""
        making = faiss.Clustering(sample.shape[1], count)
        making.niter, making.spherical = _ROUNDS, metric != "euclidean"
        making.min_points_per_centroid, making.max_points_per_centroid = 1, 2 * SAMPLED
        making.train(np.ascontiguousarray(sample), cls._quantizer(sample.shape[1], metric))
        return cls(metric, faiss.vector_to_array(making.centroids).reshape(count, sample.shape[1]))

    def lists_of(self, matrix: Floats) -> ListNumbers:
        """The list of each row, which is that of its nearest centre."""
        return self.nearest(matrix, 1)[:, 0]

    def nearest(self, matrix: Floats, count: int) -> ListNumbers:
        """The nearest lists of each row, best first; shape (n, count)."""
        if len(self) == 1:
            return np.zeros((len(matrix), 1), np.uint16)
        quantizer = self._quantizer(self.matrix.shape[1], self.metric)
        quantizer.add(self.matrix)
        return np.asarray(quantizer.search(np.ascontiguousarray(matrix), count)[1], np.uint16)

    @staticmethod
    def _quantizer(dimension: int, metric: Metric) -> faiss.IndexFlat:
        return faiss.IndexFlat(dimension, faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT)


def centres_for(rows: int) -> int:
    """How many lists so many rows are worth: about 1.25 times the root, a power of two; 1 where lists do not pay."""
    if rows < _FEWEST_ROWS:
        return 1
    return min(_MOST, 1 << round(math.log2(1.25 * math.sqrt(rows))))
