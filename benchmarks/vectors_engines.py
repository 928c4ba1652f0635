"""The vector indexes that are measured, each behind the same few calls; versions are in ``peers/vectors.txt``."""

from __future__ import annotations

import importlib
import os
import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from vectors_data import TOP_K, Corpus, Matrix, Rows, Where

__all__ = ["ENGINES", "GRID", "Engine"]

GRID = (16, 32, 64, 96, 128, 192, 256, 400)
"""How far a graph is searched: the first of these that finds 99 % of the nearest."""
_LINKS, _BUILD_WIDTH, _STEP = 16, 100, 5000


def _peer(module: str) -> Any:  # peers have no precise types
    try:
        return importlib.import_module(module)
    except ImportError:
        command = "uv run --with-requirements benchmarks/peers/vectors.txt python"
        message = f"{module} is not installed (hnswlib needs a C++ compiler). Run: {command} {' '.join(sys.argv)}"
        raise SystemExit(f"{message}, or name the peers that are there with --peers.") from None


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

        r, tenant = self._facts(row)
        return VectorItem(f"i{row:07d}", array("f", vector.tobytes()), {"r": r, "tenant": tenant})

    def _facts(self, row: int) -> tuple[int, int]:
        known = row < len(self.corpus.r)
        return (int(self.corpus.r[row]), int(self.corpus.tenant[row])) if known else (999, 0)


class _InFile(Engine):
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


class FaissFlat(_InFile):
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


class Hnswlib(_InFile):
    """hnswlib; with a filter that asks a list for each item it meets."""

    tuned = True

    async def build(self) -> None:
        self._make().init_index(len(self.corpus.items) + 10_000, ef_construction=_BUILD_WIDTH, M=_LINKS)
        self.index.add_items(np.ascontiguousarray(self.corpus.items), num_threads=1)
        self._keep()

    async def open(self) -> None:
        self._make().load_index(str(self.file), max_elements=len(self.corpus.r) + 10_000)
        asked: list[Where] = [("r", below) for below in (1, 10, 100)]
        asked += [("tenant", tenant) for tenant in range(100)]
        self._allowed: dict[Where, Callable[[int], bool]] = {where: self._test(where) for where in asked}

    def width(self, width: int) -> None:
        self.index.set_ef(width)

    def search(self, target: Matrix, where: Where) -> Sequence[int]:
        only = None if where is None else self._allowed[where]
        try:
            found: Rows = self.index.knn_query(target, TOP_K, num_threads=1, filter=only)[0]
        except RuntimeError:  # it has found fewer
            return []
        return list(found[0])

    async def add(self, vectors: Matrix, first: int) -> None:
        self.index.add_items(vectors, np.arange(first, first + len(vectors)), num_threads=1)
        self._keep()

    def _make(self) -> Any:
        self.index = _peer("hnswlib").Index("ip", self.corpus.queries.shape[1])
        self.index.set_num_threads(1)
        return self.index

    def _save(self, file: Path) -> None:
        self.index.save_index(str(file))

    def _test(self, where: Where) -> Callable[[int], bool]:
        allowed = np.zeros(len(self.corpus.r), bool)
        allowed[self.corpus.rows(where)] = True
        test: Callable[[int], bool] = allowed.tolist().__getitem__
        return test


class Usearch(_InFile):
    """USearch; it has no filters."""

    tuned = True

    async def build(self) -> None:
        self.index = _peer("usearch.index").Index(
            ndim=self.corpus.queries.shape[1], metric="ip", dtype="f32", connectivity=_LINKS, expansion_add=_BUILD_WIDTH
        )
        self.index.add(np.arange(len(self.corpus.items)), np.ascontiguousarray(self.corpus.items), threads=1)
        self._keep()

    async def open(self) -> None:
        self.index = _peer("usearch.index").Index.restore(str(self.file))

    def width(self, width: int) -> None:
        self.index.expansion_search = width

    def search(self, target: Matrix, where: Where) -> Sequence[int]:
        if where is not None:
            raise NotImplementedError
        return [int(key) for key in self.index.search(target, TOP_K, threads=1).keys]

    async def add(self, vectors: Matrix, first: int) -> None:
        self.index.add(np.arange(first, first + len(vectors)), vectors, threads=1)
        self._keep()

    def _save(self, file: Path) -> None:
        self.index.save(str(file))


class Chroma(Engine):
    """Chroma in a folder."""

    async def build(self) -> None:
        space = {"space": "cosine", "max_neighbors": _LINKS, "ef_construction": _BUILD_WIDTH, "ef_search": 64}
        self._items = self._client().create_collection("items", configuration={"hnsw": space})
        for low, high in self.steps():
            self._put(np.ascontiguousarray(self.corpus.items[low:high]), low)

    async def open(self) -> None:
        self._items = self._client().get_collection("items")

    def search(self, target: Matrix, where: Where) -> Sequence[int]:
        only = None if where is None else {where[0]: {"$lt": where[1]} if where[0] == "r" else where[1]}
        found = self._items.query(query_embeddings=target.reshape(1, -1), n_results=TOP_K, where=only, include=[])
        return [int(id_) for id_ in found["ids"][0]]

    async def add(self, vectors: Matrix, first: int) -> None:
        self._put(vectors, first)

    def _client(self) -> Any:
        chromadb = _peer("chromadb")
        return chromadb.PersistentClient(str(self.folder), chromadb.Settings(anonymized_telemetry=False))

    def _put(self, vectors: Matrix, first: int) -> None:
        rows = range(first, first + len(vectors))
        self._items.add(ids=[str(row) for row in rows], embeddings=vectors, metadatas=[_facts(self, r) for r in rows])


class LanceDB(Engine):
    """LanceDB with its graph over scalar-quantized vectors, refined, and indexes on the numbers."""

    tuned = True
    _width = 64

    async def build(self) -> None:
        table = _peer("lancedb").connect(self.folder).create_table("items", self._batch(*next(self.steps())))
        for low, high in list(self.steps())[1:]:
            table.add(self._batch(low, high))
        graph = {"index_type": "IVF_HNSW_SQ", "num_partitions": 1, "m": _LINKS, "ef_construction": _BUILD_WIDTH}
        table.create_index(metric="cosine", **graph)
        table.create_scalar_index("r")
        table.create_scalar_index("tenant")

    async def open(self) -> None:
        self._table = _peer("lancedb").connect(self.folder).open_table("items")

    def width(self, width: int) -> None:
        self._width = width

    def search(self, target: Matrix, where: Where) -> Sequence[int]:
        asked = self._table.search(target).distance_type("cosine").limit(TOP_K).select(["id", "_distance"])
        asked = asked.ef(max(self._width, 40)).nprobes(1).refine_factor(3)
        if where is not None:
            asked = asked.where(f"r < {where[1]}" if where[0] == "r" else f"tenant = {where[1]}", prefilter=True)
        return [int(row) for row in asked.to_arrow()["id"].to_pylist()]

    async def add(self, vectors: Matrix, first: int) -> None:
        self._table.add(self._rows(vectors, first))

    def _batch(self, low: int, high: int) -> Any:
        return self._rows(np.ascontiguousarray(self.corpus.items[low:high]), low)

    def _rows(self, vectors: Matrix, first: int) -> Any:
        pa = _peer("pyarrow")
        facts = [_facts(self, row) for row in range(first, first + len(vectors))]
        columns = {name: pa.array([fact[name] for fact in facts]) for name in ("r", "tenant")}
        held = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        return pa.table({"id": pa.array(np.arange(first, first + len(vectors))), **columns, "vector": held})


class SqliteVec(Engine):
    """sqlite-vec, whose searches are full passes, in apsw: Python's own SQLite often takes no extensions."""

    async def build(self) -> None:
        sql = self._connection()
        columns = f"id integer primary key, e float[{self.corpus.queries.shape[1]}] distance_metric=cosine"
        sql.execute(f"create virtual table item using vec0({columns}, r integer, tenant integer)")
        for low, high in self.steps():
            self._put(sql, self.corpus.items[low:high], low)
        sql.close()

    async def open(self) -> None:
        self._sql = self._connection()

    def search(self, target: Matrix, where: Where) -> Sequence[int]:
        only = "" if where is None else " and r < ?" if where[0] == "r" else " and tenant = ?"
        sql = f"select id from item where e match ? and k = {TOP_K}{only} order by distance"
        found = self._sql.execute(sql, (target.tobytes(), *([] if where is None else [where[1]])))
        return [row for (row,) in found]

    async def add(self, vectors: Matrix, first: int) -> None:
        self._put(self._sql, vectors, first)

    def _connection(self) -> Any:
        sql = _peer("apsw").Connection(str(self.folder / "items.db"))
        sql.enable_load_extension(True)
        sql.load_extension(_peer("sqlite_vec").loadable_path())
        sql.execute("pragma journal_mode=wal; pragma synchronous=full")
        return sql

    def _put(self, sql: Any, vectors: Matrix, first: int) -> None:
        facts = [(row, vector.tobytes(), _facts(self, row)) for row, vector in enumerate(vectors, first)]
        with sql:
            sql.executemany(
                "insert into item(id, e, r, tenant) values (?, ?, ?, ?)",
                [(row, blob, fact["r"], fact["tenant"]) for row, blob, fact in facts],
            )


class Qdrant(Engine):
    """Qdrant's local mode, which is meant for tests: full passes in numpy."""

    async def build(self) -> None:
        models = _peer("qdrant_client.models")
        client = self._client()
        space = models.VectorParams(size=self.corpus.queries.shape[1], distance=models.Distance.COSINE)
        client.create_collection("items", vectors_config=space)
        for low, high in self.steps(1000):
            self._put(client, self.corpus.items[low:high], low)
        client.close()

    async def open(self) -> None:
        self._models, self._held = _peer("qdrant_client.models"), self._client()

    def search(self, target: Matrix, where: Where) -> Sequence[int]:
        m = self._models
        only = None
        if where is not None:
            test = {"range": m.Range(lt=where[1])} if where[0] == "r" else {"match": m.MatchValue(value=where[1])}
            only = m.Filter(must=[m.FieldCondition(key=where[0], **test)])
        found = self._held.query_points("items", query=target, limit=TOP_K, query_filter=only)
        return [int(point.id) for point in found.points]

    async def add(self, vectors: Matrix, first: int) -> None:
        self._put(self._held, vectors, first)

    async def close(self) -> None:
        self._held.close()

    def _client(self) -> Any:
        import warnings

        warnings.simplefilter("ignore")
        return _peer("qdrant_client").QdrantClient(path=str(self.folder / "qdrant"))

    def _put(self, client: Any, vectors: Matrix, first: int) -> None:
        rows = list(range(first, first + len(vectors)))
        batch = self._batch(rows, vectors.tolist(), [_facts(self, row) for row in rows])
        client.upsert("items", batch)

    def _batch(self, ids: list[int], vectors: list[list[float]], payloads: list[dict[str, int]]) -> Any:
        return _peer("qdrant_client.models").Batch(ids=ids, vectors=vectors, payloads=payloads)


def _facts(engine: Engine, row: int) -> dict[str, int]:
    held = engine.corpus
    return {"r": int(held.r[row]), "tenant": int(held.tenant[row])} if row < len(held.r) else {"r": 999, "tenant": 0}


def _only(rows: Rows) -> faiss.SearchParameters:
    return faiss.SearchParameters(sel=faiss.IDSelectorArray(rows))  # type: ignore[call-arg]  # its stub lacks keywords


ENGINES: dict[str, type[Engine]] = {
    "storycore": Storycore,
    "faiss": FaissFlat,
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "chroma": Chroma,
    "lancedb": LanceDB,
    "sqlite-vec": SqliteVec,
    "qdrant": Qdrant,
}
