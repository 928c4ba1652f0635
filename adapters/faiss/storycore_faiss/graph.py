"""Graph: each vector linked with its neighbours, for walks that meet few of very many vectors (FAISS's HNSW)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import faiss
import numpy as np

from storycore.ports.vectors import Metric
from storycore_faiss.flat import Floats, RowNumbers

__all__ = ["Graph"]

_LINKS = 16
_BUILD_WIDTH = 64
"""Neighbours that are looked at for each new one (efConstruction): 60 was enough for recall 0.99 at 100 000 x 384."""
_STEP = 1024


class Graph:
    """A graph over the first rows of a shelf. Never changes; ``extended()`` gives a new one.

    It walks over the rows in a byte a number, so that it takes a quarter of the memory of the vectors and its links;
    what it meets is scored by the vectors themselves.
    """

    def __init__(self, index: faiss.Index) -> None:
        self._index = index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def started(cls, sample: Floats, metric: Metric) -> Graph:
        """A graph without rows, for rows like those of the sample."""
        kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexHNSWSQ(sample.shape[1], faiss.ScalarQuantizer.QT_8bit, _LINKS, kind)  # type: ignore[arg-type]  # its stub is wrong
        index.hnsw.efConstruction = _BUILD_WIDTH
        index.train(sample)
        return cls(index)

    def extended(self, pieces: Iterable[Floats], stopped: Callable[[], bool]) -> Graph | None:
        """With the rows behind; ``None`` when it was stopped, which is asked every few hundred rows."""
        index = faiss.clone_index(self._index)
        for matrix in pieces:
            for low in range(0, len(matrix), _STEP):
                if stopped():
                    return None
                index.add(np.ascontiguousarray(matrix[low : low + _STEP]))
        return Graph(index)

    def nearest(self, target: Floats, fetch: int) -> RowNumbers:
        """About the ``fetch`` nearest rows, in no promised order."""
        width = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]  # its stub lacks it
        width.efSearch = fetch
        _, rows = self._index.search(target.reshape(1, -1), fetch, params=width)
        return np.asarray(rows[rows >= 0], np.int64)
