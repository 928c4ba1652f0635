"""What vector indexes are measured on: clustered vectors, embeddings of real passages, and the exact answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vectors_passages import embeddings

__all__ = ["SHARES", "TOP_K", "Corpus", "Where", "answers", "real", "synthetic", "wheres"]

TOP_K, TENANTS, SHAPES, LOCAL = 10, 100, 100, 32
SHARES: dict[str, int] = {"no filter": 1000, "10 %": 100, "1 %": 10, "0.1 %": 1}
Matrix = NDArray[np.float32]
Rows = NDArray[np.int64]
Where = tuple[str, int] | None
"""``("r", below)``, ``("tenant", number)``, or everything."""


@dataclass(frozen=True)
class Corpus:
    """Vectors and what is asked of them.

    Args:
        items, queries: unit vectors.
        r: of each item a number from 0 to 999, which has nothing to do with its vector.
        tenant: of each item a number from 0 to 99, which goes by where its vector lies.
        elsewhere: for each query a tenant whose items are not near.
    """

    items: Matrix
    queries: Matrix
    r: Rows
    tenant: Rows
    elsewhere: Rows

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        """What ``write()`` has written; items are mapped, and take no memory until they are used."""
        held = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in cls.__dataclass_fields__}
        return cls(**held)

    def write(self, folder: Path) -> None:
        """Keep it in a folder, with the exact answers."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.__dataclass_fields__:
            np.save(folder / f"{name}.npy", getattr(self, name))
        for name in (*SHARES, "elsewhere"):
            np.save(_answers(folder, name), self.exact(name))

    def exact(self, name: str) -> Rows:
        """The rows of the best of each query, in any order; -1 where fewer match."""
        asked = list(wheres(self, name))
        found = [self._best(slice(low, low + 50), asked[low : low + 50]) for low in range(0, len(self.queries), 50)]
        return np.concatenate(found)

    def rows(self, where: Where) -> Rows:
        """The items that match."""
        if where is None:
            return np.arange(len(self.items))
        field, value = where
        return np.flatnonzero(self.r < value if field == "r" else self.tenant == value)

    def _best(self, some: slice, asked: list[Where]) -> Rows:
        scores = self.queries[some] @ self.items.T
        for line, where in zip(scores, asked, strict=True):
            if where is not None:
                left_out = np.ones(len(line), bool)
                left_out[self.rows(where)] = False
                line[left_out] = -2.0
        near = np.argpartition(-scores, TOP_K, axis=1)[:, :TOP_K]
        near[np.take_along_axis(scores, near, 1) < -1.5] = -1
        return near


def answers(folder: Path, name: str) -> Rows:
    """The exact answers that were kept."""
    return np.asarray(np.load(_answers(folder, name)))


def wheres(corpus: Corpus, name: str) -> Iterator[Where]:
    """The filter of each query."""
    for tenant in corpus.elsewhere.tolist():
        if name == "elsewhere":
            yield ("tenant", tenant)
        else:
            yield None if name == "no filter" else ("r", SHARES[name])


def synthetic(folder: Path, count: int, dimension: int, queries: int) -> Path:
    """Clusters whose items are spread in 32 directions; queries lie as items do."""
    place = folder / f"synthetic-{count}x{dimension}-{queries}"
    if not (place / "answers-elsewhere.npy").exists():
        chance = np.random.default_rng(7)
        clusters = 1000 if count <= 100_000 else 4000
        centres = chance.standard_normal((clusters, dimension), dtype=np.float32)
        shapes = chance.standard_normal((SHAPES, LOCAL, dimension), dtype=np.float32) / np.float32(np.sqrt(LOCAL))
        items, cluster = _drawn(chance, count, centres, shapes)
        asked, near = _drawn(chance, queries, centres, shapes)
        r = chance.integers(0, 1000, count)
        Corpus(items, asked, r, cluster % TENANTS, (near + 37) % TENANTS).write(place)
    return place


def real(folder: Path, count: int, queries: int) -> Path:
    """Passages from the sources of Python's own modules, embedded by MiniLM."""
    place = folder / f"real-{count}-{queries}"
    if not (place / "answers-elsewhere.npy").exists():
        vectors = embeddings(count + queries)
        chance = np.random.default_rng(7)
        order = chance.permutation(len(vectors))
        items, asked = vectors[order[queries:]], vectors[order[:queries]]
        anchors = items[chance.choice(len(items), TENANTS, replace=False)]
        tenant, near = (items @ anchors.T).argmax(axis=1), (asked @ anchors.T).argmin(axis=1)
        Corpus(items, asked, chance.integers(0, 1000, count), tenant, near).write(place)
    return place


def _answers(folder: Path, name: str) -> Path:
    return folder / f"answers-{name.replace(' ', '')}.npy"


def _drawn(chance: np.random.Generator, count: int, centres: Matrix, shapes: Matrix) -> tuple[Matrix, Rows]:
    cluster = chance.integers(0, len(centres), count)
    drawn = np.empty((count, centres.shape[1]), np.float32)
    for low in range(0, count, 20_000):
        some = cluster[low : low + 20_000]
        spread = chance.standard_normal((len(some), LOCAL), dtype=np.float32)
        near = 0.9 * centres[some] + 0.25 * chance.standard_normal((len(some), centres.shape[1]), dtype=np.float32)
        for shape in range(SHAPES):
            own = some % SHAPES == shape
            near[own] += spread[own] @ shapes[shape]
        drawn[low : low + 20_000] = near / np.linalg.norm(near, axis=1, keepdims=True)
    return drawn, cluster
