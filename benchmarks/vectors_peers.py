"""The peers, each behind the same few calls; their versions are in ``benchmarks/peers/vectors.txt``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from vectors_data import TOP_K, Matrix, Rows, Where
from vectors_engines import BUILD_WIDTH, LINKS, Engine, InFile

__all__ = ["PEERS"]


def _peer(module: str) -> Any:  # peers have no precise types
    try:
        return importlib.import_module(module)
    except ImportError:
        command = "uv run --with-requirements benchmarks/peers/vectors.txt python"
        message = f"{module} is not installed (hnswlib needs a C++ compiler). Run: {command} {' '.join(sys.argv)}"
        raise SystemExit(f"{message}, or name the peers that are there with --peers.") from None


class Hnswlib(InFile):
    """hnswlib; with a filter that asks a list for each item it meets."""

    tuned = True

    async def build(self) -> None:
        self._make().init_index(len(self.corpus.items) + 10_000, ef_construction=BUILD_WIDTH, M=LINKS)
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


class Usearch(InFile):
    """USearch; it has no filters."""

    tuned = True

    async def build(self) -> None:
        self.index = _peer("usearch.index").Index(
            ndim=self.corpus.queries.shape[1], metric="ip", dtype="f32", connectivity=LINKS, expansion_add=BUILD_WIDTH
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
        space = {"space": "cosine", "max_neighbors": LINKS, "ef_construction": BUILD_WIDTH, "ef_search": 64}
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
        self._items.add(ids=[str(row) for row in rows], embeddings=vectors, metadatas=[self.facts(r) for r in rows])


class LanceDB(Engine):
    """LanceDB with its graph over scalar-quantized vectors, refined, and indexes on the numbers."""

    tuned = True
    _width = 64

    async def build(self) -> None:
        table = _peer("lancedb").connect(self.folder).create_table("items", self._batch(*next(self.steps())))
        for low, high in list(self.steps())[1:]:
            table.add(self._batch(low, high))
        graph = {"index_type": "IVF_HNSW_SQ", "num_partitions": 1, "m": LINKS, "ef_construction": BUILD_WIDTH}
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
        facts = [self.facts(row) for row in range(first, first + len(vectors))]
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
        facts = [(row, vector.tobytes(), self.facts(row)) for row, vector in enumerate(vectors, first)]
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
        batch = self._batch(rows, vectors.tolist(), [self.facts(row) for row in rows])
        client.upsert("items", batch)

    def _batch(self, ids: list[int], vectors: list[list[float]], payloads: list[dict[str, int]]) -> Any:
        return _peer("qdrant_client.models").Batch(ids=ids, vectors=vectors, payloads=payloads)


PEERS: dict[str, type[Engine]] = {
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "chroma": Chroma,
    "lancedb": LanceDB,
    "sqlite-vec": SqliteVec,
    "qdrant": Qdrant,
}
