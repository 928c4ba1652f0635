"""What is measured of a vector index, and the two that are always there: storycore's, and FAISS alone."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from vectors_data import TOP_K, Corpus, Matrix, Rows, Where

__all__ = ["BUILD_WIDTH", "GRID", "LINKS", "Engine", "FaissFlat", "InFile", "Storycore"]

GRID = (16, 32, 64, 96, 128, 192, 256, 400)
"""How far a graph is searched: the first of these that finds 99 % of the nearest."""
LINKS, BUILD_WIDTH, _STEP = 16, 100, 5000


class Engine(ABC):
    """One index in a folder.

    Args:
        folder: its own.
        corpus: what it holds; ``open()`` and ``search()`` look at the queries and the numbers of items alone.
    """

    tuned = False
    """Whether it has a width of search that has to be found."""

    def __init__(self, folder: Path, corpus: Corpus) -> None:
        self.folder = folder
        self.corpus = corpus

    @abstractmethod
    async def build(self) -> None:
        """Make it, durable, and leave it closed."""

    @abstractmethod
    async def open(self) -> None:
        """Make it ready for searches."""

    @abstractmethod
    def search(self, target: Matrix, where: Where) -> Awaitable[Sequence[int]] | Sequence[int]:
        """The rows of the best."""

    @abstractmethod
    async def add(self, vectors: Matrix, first: int) -> None:
        """Add items, durable when it returns."""

    async def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of it."""

    def width(self, width: int) -> None:  # noqa: B027 - most have none
        """How far to search."""

    def facts(self, row: int) -> dict[str, int]:
        """The numbers of an item, or of one that is added later."""
        held = self.corpus
        if row >= len(held.r):
            return {"r": 999, "tenant": 0}
        return {"r": int(held.r[row]), "tenant": int(held.tenant[row])}

    def steps(self, step: int = _STEP) -> Iterator[tuple[int, int]]:
        """The items in calls of so many."""
        count = len(self.corpus.items)
        return ((low, min(count, low + step)) for low in range(0, count, step))


class Storycore(Engine):
    """The FAISS adapter through its port, checks included."""

    async def build(self) -> None:
        index = self._index()
        await index.ensure()
        async with index:
            for low, high in self.steps(500):
                await index.upsert([self._item(row, self.corpus.items[row]) for row in range(low, high)])
            await index.optimize()

    async def open(self) -> None:
        from storycore.filters import F

        self._tenants = [F.tenant == tenant for tenant in range(100)]
        self._below = {below: F.r < below for below in (1, 10, 100)}
        self.index = self._index()
        await self.index.open()

    def query(self, target: Matrix, where: Where) -> Any:
        """One query as an application writes it; its filters are constants."""
        from storycore.ports.vectors import VectorQuery

        chosen = None if where is None else self._below[where[1]] if where[0] == "r" else self._tenants[where[1]]
        return VectorQuery(values=target, top_k=TOP_K, where=chosen)

    async def search(self, target: Matrix, where: Where) -> Sequence[int]:
        [matches] = await self.index.query([self.query(target, where)])
        return [int(match.id[1:]) for match in matches]

    async def add(self, vectors: Matrix, first: int) -> None:
        await self.index.upsert([self._item(first + n, vector) for n, vector in enumerate(vectors)])

    async def close(self) -> None:
        await self.index.close()

    def _index(self) -> Any:
        from storycore_faiss import FaissConfig
        from storycore_faiss.vectors import open_vectors

        from storycore.layers.checks import checked
        from storycore.ports.environment import Environment
        from storycore.ports.lifecycle import PortName

        config = FaissConfig(path=self.folder / "vectors.db", dimension=self.corpus.queries.shape[1])
        return checked(PortName.VECTORS, open_vectors(config, Environment()))

    def _item(self, row: int, vector: Matrix) -> Any:
        from storycore.ports.vectors import VectorItem

        return VectorItem(f"i{row:07d}", array("f", vector.tobytes()), {**self.facts(row)})


class InFile(Engine):
    """A library that writes its whole index as one file."""

    index: Any

    @property
    def file(self) -> Path:
        return self.folder / "index"

    @abstractmethod
    def _save(self, file: Path) -> None: ...

    def _keep(self) -> None:
        fresh = self.file.with_suffix(".tmp")
        self._save(fresh)
        descriptor = os.open(fresh, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        fresh.replace(self.file)


class FaissFlat(InFile):
    """FAISS's full pass; with a filter over the matching rows, which are found beforehand."""

    async def build(self) -> None:
        self.index = faiss.IndexFlatIP(self.corpus.queries.shape[1])
        self.index.add(np.ascontiguousarray(self.corpus.items))
        self._keep()

    async def open(self) -> None:
        self.index = faiss.read_index(str(self.file))
        asked: list[Where] = [("r", below) for below in (1, 10, 100)]
        asked += [("tenant", tenant) for tenant in range(100)]
        self._rows = {where: self.corpus.rows(where) for where in asked}

    def search(self, target: Matrix, where: Where) -> Sequence[int]:
        only = None if where is None else _only(self._rows[where])
        found: Rows = self.index.search(target.reshape(1, -1), TOP_K, params=only)[1]
        return list(found[0])

    async def add(self, vectors: Matrix, first: int) -> None:
        self.index.add(vectors)
        self._keep()

    def _save(self, file: Path) -> None:
        faiss.write_index(self.index, str(file))


def _only(rows: Rows) -> faiss.SearchParameters:
    return faiss.SearchParameters(sel=faiss.IDSelectorArray(rows))  # type: ignore[call-arg]  # its stub lacks keywords
