"""Codes: each vector in a few bits, in the list of a centre that it is near (FAISS's IVF, PQ and fast scan)."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from storycore.ports.vectors import Metric
from storycore_faiss.centres import Centres, ListNumbers
from storycore_faiss.flat import Floats, RowNumbers

__all__ = ["LEAST_SAMPLE", "SAMPLE", "CodeBytes", "Codebook", "Coded", "Effort"]

CodeBytes: TypeAlias = NDArray[np.uint8]

LEAST_SAMPLE = 1024
SAMPLE = 16_384
"""Rows that a codebook is made from; FAISS itself uses 256 for each of the 16 words (ClusteringParameters)."""
_ROUNDS = 10
"""Rounds of k-means: recall at 10 was the same as with FAISS's 25 on 100 000 x 384, in under half the time."""
_BITS = 4
_BLOCK = 64
"""Codes that fast scan compares at a time: as fast as 128, with half of the room that short lists leave empty."""


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

    def packed(self, codes: CodeBytes, lists: ListNumbers, centres: Centres) -> faiss.IndexIVFPQFastScan:
        """What searches these codes, each in the list that it is in."""
        quantizer = faiss.IndexFlat(self.groups * self.width, self._metric)
        quantizer.add(self.padded(centres.matrix))
        plain = faiss.IndexIVFPQ(quantizer, quantizer.d, len(centres), self.groups, _BITS, self._metric)
        faiss.copy_array_to_vector(self.centroids.ravel(), plain.pq.centroids)
        plain.by_residual, plain.is_trained = False, True
        number_bytes = plain.sa_code_size() - self.code_bytes
        numbers = lists.astype("<u2").view(np.uint8).reshape(len(lists), 2)[:, :number_bytes]
        plain.add_sa_codes(np.concatenate([numbers, codes], axis=1))
        scan = faiss.IndexIVFPQFastScan(plain, _BLOCK)
        plain.reset()  # it holds the quantizer, and need not hold the codes once more
        return scan

    @property
    def _metric(self) -> int:
        return faiss.METRIC_L2 if self.metric == "euclidean" else faiss.METRIC_INNER_PRODUCT

    def _index(self) -> faiss.IndexPQ:
        index = faiss.IndexPQ(self.groups * self.width, self.groups, _BITS, self._metric)
        faiss.copy_array_to_vector(self.centroids.ravel(), index.pq.centroids)
        index.is_trained = True
        return index


@dataclass(frozen=True, slots=True)
class Effort:
    """How far a search among codes goes for the recall that is promised.

    Args:
        reach: for the nearest ten rows, and for the nearest hundred, so many times as many have to be looked at.
        probes: for the same, in so many of the nearest lists.
    """

    reach: tuple[int, int]
    probes: tuple[int, int]

    def at_least(self, other: Effort) -> Effort:
        """What is enough for both."""
        reach = (max(self.reach[0], other.reach[0]), max(self.reach[1], other.reach[1]))
        return Effort(reach, (max(self.probes[0], other.probes[0]), max(self.probes[1], other.probes[1])))


class Coded:
    """The codes of the first rows of a shelf. Never changes; ``extended()`` gives a new one.

    Args:
        book: how they were made.
        centres: of the lists that the rows are in.
        codes: shape (n, book.code_bytes); never changed after.
        lists: the list of each row; never changed after.
        effort: how far a search goes.
        trained_rows: how many rows there were when the codebook was made.
    """

    def __init__(
        self,
        book: Codebook,
        centres: Centres,
        codes: CodeBytes,
        lists: ListNumbers,
        *,
        effort: Effort,
        trained_rows: int,
    ) -> None:
        self.book = book
        self.centres = centres
        self.codes = codes
        self.lists = lists
        self.effort = effort
        self.trained_rows = trained_rows
        self._scan = book.packed(codes, lists, centres)
        self._asked: dict[int, faiss.SearchParametersIVF] = {}

    def __len__(self) -> int:
        return len(self.codes)

    def nearest(self, targets: Floats, fetch: int, probes: int) -> RowNumbers:
        """For each target the ``fetch`` rows whose codes are nearest in its nearest lists, in no promised order.

        Shape (m, fetch); -1 where those lists have fewer.
        """
        asked = self._asked.get(probes)
        if asked is None:
            asked = self._asked[probes] = faiss.SearchParametersIVF(nprobe=probes)  # type: ignore[call-arg]  # its stub lacks it
        targets = self.book.padded(targets)
        distances, rows = np.empty((len(targets), fetch), np.float32), np.empty((len(targets), fetch), np.int64)
        into = faiss.swig_ptr(distances), faiss.swig_ptr(rows)
        self._scan.search_c(len(targets), faiss.swig_ptr(targets), fetch, *into, asked)  # type: ignore[attr-defined]
        return rows

    def extended(self, codes: CodeBytes, lists: ListNumbers) -> Coded:
        """With the rows behind."""
        return self.with_rows(np.concatenate([self.codes, codes]), np.concatenate([self.lists, lists]))

    def with_rows(self, codes: CodeBytes, lists: ListNumbers) -> Coded:
        """The same codebook and centres over other rows."""
        return Coded(self.book, self.centres, codes, lists, effort=self.effort, trained_rows=self.trained_rows)

    def with_effort(self, effort: Effort) -> Coded:
        """The same codes, which are searched further or less far."""
        other = copy(self)
        other.effort = effort
        return other
