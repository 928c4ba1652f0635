"""The engine: what needs FAISS, done in the searching threads. Importing this module imports FAISS and numpy."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Sequence

import numpy as np

from storycore.errors import InvalidArgument, NotFound, StaleRead
from storycore.ports.filters import Filter
from storycore.ports.vectors import (
    IndexSpec,
    Match,
    Optimized,
    TextQuery,
    VectorItem,
    VectorPage,
    VectorQuery,
    VectorStats,
    WriteToken,
)
from storycore.ports.words import distinct_words
from storycore_faiss._sql import writing
from storycore_faiss.flat import Floats, use_one_thread
from storycore_faiss.library import Library
from storycore_faiss.planner import Plan
from storycore_faiss.shelf import Shelf
from storycore_faiss.texts import Texts
from storycore_faiss.truth import State, Truth, metadata_of

__all__ = ["Engine"]


class Engine:
    """Answers over a library that follows the truth.

    Args:
        spec: dimension and metric of every vector.
    """

    def __init__(self, spec: IndexSpec) -> None:
        self._spec = spec
        self._library = Library(spec)

    @staticmethod
    def prepare_thread() -> None:
        """Called once in each thread that will work for the engine."""
        use_one_thread()

    def load(self, sql: sqlite3.Connection) -> None:
        """Read everything into memory."""
        self._library.current(sql, lambda truth: None)

    def query(self, sql: sqlite3.Connection, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        """Answer all queries on one unchanging state."""
        return self._library.current(sql, lambda truth: [self._answer(truth, query) for query in queries])

    def explain(self, sql: sqlite3.Connection, query: VectorQuery) -> Plan:
        """How the query would be answered now."""
        return self._library.current(sql, lambda truth: self._plan(query))

    def page(
        self, sql: sqlite3.Connection, namespace: str, where: Filter, *, after: str | None, limit: int
    ) -> VectorPage:
        """Matching items in ascending order of id."""

        def work(truth: Truth) -> VectorPage:
            shelf = self._library.shelf(namespace)
            ids = (shelf.id(row) for row in shelf.matching(where))
            page = heapq.nsmallest(limit + 1, (id_ for id_ in ids if after is None or id_ > after))
            return VectorPage(_items(truth, namespace, page[:limit]), page[limit - 1] if len(page) > limit else None)

        return self._library.current(sql, work)

    def chosen(self, truth: Truth, namespace: str, where: Filter) -> list[int]:
        """The slots of all matching items, as the transaction that holds ``truth`` sees them before it writes."""
        self._library.follow(truth)
        shelf = self._library.shelf(namespace)
        return [shelf.slot(row) for row in shelf.matching(where)]

    def count(self, sql: sqlite3.Connection, namespace: str, where: Filter | None) -> tuple[int, State]:
        """How many items match, and how far the file is."""
        return self._library.current(
            sql, lambda truth: (len(self._library.shelf(namespace).matching(where)), truth.state())
        )

    def search_text(self, sql: sqlite3.Connection, queries: Sequence[TextQuery]) -> list[list[Match]]:
        """Answer all queries on one unchanging state."""
        return self._library.current(sql, lambda truth: [self._texts(sql, query) for query in queries])

    def stats(self, sql: sqlite3.Connection) -> VectorStats:
        """Counts, the size of the file, and what memory holds."""
        [pages] = sql.execute("PRAGMA page_count").fetchone()
        [page_bytes] = sql.execute("PRAGMA page_size").fetchone()
        return self._library.current(sql, lambda truth: self._stats(truth, pages * page_bytes))

    def difference(self, sql: sqlite3.Connection) -> str:
        """What memory holds otherwise than the file, in one sentence; ``""`` when nothing."""
        return self._library.current(sql, self._difference)

    def optimize(self, sql: sqlite3.Connection) -> Optimized:
        """Drop dead rows from memory, and give free pages of the file back."""
        with writing(sql):
            truth = Truth(sql, self._spec.dimension)
            self._library.follow(truth)
            truth.forget(truth.state().lsn)
        dropped = self._library.compact()
        sql.executescript("PRAGMA incremental_vacuum")  # execute() would step once, which frees one page
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return Optimized(f"dropped {dropped} dead rows from memory, gave free pages of the file back", dropped)

    def _answer(self, truth: Truth, query: VectorQuery) -> list[Match]:
        self._require_seen(query.at_least)
        shelf = self._library.shelf(query.namespace)
        found = shelf.search(_target(shelf, query), query.top_k, query.where)
        return [
            Match(
                id=f.id,
                score=f.score,
                metadata=metadata_of(shelf.metadata(f.row)) if query.include_metadata else {},
                namespace=query.namespace,
                values=truth.values(shelf.slot(f.row)) if query.include_values else None,
            )
            for f in found
            if query.min_score is None or f.score >= query.min_score
        ]

    def _texts(self, sql: sqlite3.Connection, query: TextQuery) -> list[Match]:
        self._require_seen(query.at_least)
        shelf = self._library.shelf(query.namespace)
        matching = shelf.matching(query.where)
        alone = len(matching) == sum(map(len, self._library.shelves.values()))
        slots = None if alone else [shelf.slot(row) for row in matching]
        found = Texts(sql).best(distinct_words(query.text), query.top_k, slots)
        return [Match(f.id, f.score, metadata_of(f.metadata), query.namespace) for f in found]

    def _plan(self, query: VectorQuery) -> Plan:
        shelf = self._library.shelf(query.namespace)
        return shelf.plan(_target(shelf, query), query.top_k, query.where)

    def _stats(self, truth: Truth, size: int) -> VectorStats:
        shelves = self._library.shelves
        counts = {name: len(shelf) for name, shelf in sorted(shelves.items()) if len(shelf)}
        dead = sum(shelf.dead for shelf in shelves.values())
        return VectorStats(counts, size, {"lsn": truth.state().lsn, "dead_rows": dead, "search": "exact"})

    def _difference(self, truth: Truth) -> str:
        shelves = self._library.shelves.items()
        searched = {(name, shelf.slot(row), shelf.id(row)) for name, shelf in shelves for row in shelf.alive}
        differing = len(searched ^ set(truth.places()))
        return f"{differing} items are in the file or in memory alone; open the index again." if differing else ""

    def _require_seen(self, token: WriteToken | None) -> None:
        if token is None:
            return
        if not token.isdecimal():
            raise InvalidArgument(f"{token!r} is not a write token of this index.")
        seen = self._library.at.lsn if self._library.at else 0
        if int(token) > seen:
            raise StaleRead(f"The index is at write {seen} and has not seen write {token}.")


def _target(shelf: Shelf, query: VectorQuery) -> Floats:
    if query.id is None:
        return np.asarray(query.values, np.float32)
    row = shelf.row_of(query.id)
    if row is None:
        raise NotFound(f"There is no item {query.id!r} in namespace {query.namespace!r}.")
    return shelf.vector(row)


def _items(truth: Truth, namespace: str, ids: Sequence[str]) -> list[VectorItem]:
    found = (truth.item(namespace, id_) for id_ in ids)
    return [item for item in found if item is not None]
