"""Codes: each vector in a few bits, for a rough pass over very many (product quantization, FAISS's fast scan)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from storycore.ports.vectors import Metric
from storycore_faiss.flat import Floats, RowNumbers

__all__ = ["LEAST_SAMPLE", "SAMPLE", "CodeBytes", "Codebook", "Coded"]

CodeBytes: TypeAlias = NDArray[np.uint8]

LEAST_SAMPLE = 1024
SAMPLE = 16_384
"""Rows that a codebook is made from; FAISS itself uses 256 for each of the 16 words (ClusteringParameters)."""
_ROUNDS = 10
"""Rounds of k-means: recall at 10 was the same as with FAISS's 25 on 100 000 x 384, in under half the time."""
_BITS = 4
_BLOCK = 128
"""Codes that fast scan compares at a time: for one query a sixth faster than FAISS's 32, and the most it can do."""


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """How vectors become codes: ``width`` numbers become four bits.

    Args:
        dimension: length of the vectors.
        metric: what "near" means.
        width: numbers that are coded together; zeros fill the last group up.
        centroids: float32, shape (groups, 16, width).
    """

    dimension: int
    metric: Metric
    width: int
    centroids: Floats

    @classmethod
    def trained(cls, sample: Floats, metric: Metric, width: int) -> Codebook:
        """A codebook from a sample of kept rows, at least ``LEAST_SAMPLE`` of them."""
        book = cls(sample.shape[1], metric, width, np.empty((0, 16, width), np.float32))
        quantizer = faiss.ProductQuantizer(book.groups * width, book.groups, _BITS)
        quantizer.cp.niter = _ROUNDS
        quantizer.train(book.padded(sample))
        return replace(book, centroids=faiss.vector_to_array(quantizer.centroids).reshape(book.groups, 16, width))

    @property
    def groups(self) -> int:
        """Into how many groups a vector is cut; even, because two of them share a byte."""
        return 2 * -(-self.dimension // (2 * self.width))

    @property
    def code_bytes(self) -> int:
        """The length of a code."""
        return self.groups // 2

    def encode(self, matrix: Floats) -> CodeBytes:
        """The codes of kept rows, shape (n, code_bytes)."""
        index = self._index()  # must outlive its part `pq`, which does not keep it
        codes: CodeBytes = index.pq.compute_codes(self.padded(matrix))
        return codes

    def padded(self, matrix: Floats) -> Floats:
        """Rows with zeros at their ends, so that every group is full."""
        missing = self.groups * self.width - self.dimension
        return np.pad(matrix, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(matrix)

    def packed(self, codes: CodeBytes) -> tuple[faiss.IndexPQFastScan, faiss.IndexPQ]:
        """What searches these codes, and the codes as they were, which it refers to."""
        index = self._index()
        index.add_sa_codes(np.ascontiguousarray(codes))
        return faiss.IndexPQFastScan(index, _BLOCK), index  # type: ignore[arg-type]  # its stub lacks this form

    def _index(self) -> faiss.IndexPQ:
        metric = faiss.METRIC_L2 if self.metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexPQ(self.groups * self.width, self.groups, _BITS, metric)
        faiss.copy_array_to_vector(self.centroids.ravel(), index.pq.centroids)
        index.is_trained = True
        return index


class Coded:
    """The codes of the first rows of a shelf. Never changes; ``extended()`` gives a new one.

    Args:
        book: how they were made.
        codes: shape (n, book.code_bytes).
        reach: for the nearest ten rows, and for the nearest hundred, so many times as many have to be looked at for
            the recall that is promised.
        trained_rows: how many rows there were when the codebook was made.
    """

    def __init__(self, book: Codebook, codes: CodeBytes, *, reach: tuple[int, int], trained_rows: int) -> None:
        self.book = book
        self.reach = reach
        self.trained_rows = trained_rows
        self._count = len(codes)
        self._scan, self._plain = book.packed(codes)

    def __len__(self) -> int:
        return self._count

    @property
    def codes(self) -> CodeBytes:
        """A copy of all codes."""
        return faiss.vector_to_array(self._plain.codes).reshape(len(self), self.book.code_bytes)

    def nearest(self, targets: Floats, fetch: int) -> RowNumbers:
        """For each target the ``fetch`` rows whose codes are nearest, in no promised order; shape (m, up to fetch)."""
        _, rows = self._scan.search(self.book.padded(targets), fetch)
        return np.asarray(rows, np.int64)

    def extended(self, more: CodeBytes) -> Coded:
        """With the codes of the rows behind."""
        return self.with_codes(np.concatenate([self.codes, more]))

    def with_codes(self, codes: CodeBytes) -> Coded:
        """The same codebook over other rows."""
        return Coded(self.book, codes, reach=self.reach, trained_rows=self.trained_rows)

    def with_reach(self, reach: tuple[int, int]) -> Coded:
        """The same codes with another reach."""
        return Coded(self.book, self.codes, reach=reach, trained_rows=self.trained_rows)
