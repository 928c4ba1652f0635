"""The engine: what needs FAISS, done in the searching threads. Importing this module imports FAISS and numpy."""

from __future__ import annotations

import heapq
import sqlite3
import threading
from collections.abc import Callable, Sequence

import numpy as np

from storycore.errors import InvalidArgument, NotFound, StaleRead
from storycore.ports.filters import Filter
from storycore.ports.vectors import (
    IndexSpec,
    Match,
    Metadata,
    Optimized,
    QueryPlan,
    TextQuery,
    VectorItem,
    VectorPage,
    VectorQuery,
    VectorStats,
    WriteToken,
)
from storycore.ports.words import distinct_words
from storycore_faiss._sql import writing
from storycore_faiss.config import FaissConfig
from storycore_faiss.flat import Floats, RowNumbers, one_thread, use_one_thread
from storycore_faiss.lanes import Lanes
from storycore_faiss.library import Generation, Library
from storycore_faiss.questions import Questions
from storycore_faiss.reads import Reads
from storycore_faiss.snapshots import Snapshots
from storycore_faiss.texts import Texts
from storycore_faiss.truth import State, Truth, metadata_of, vector_of
from storycore_faiss.upkeep import Upkeep
from storycore_faiss.view import Found, View

__all__ = ["Engine"]


class Engine:
    """Answers over a library that follows the truth.

    Args:
        spec: dimension and metric of every vector.
        config: how it goes about it.
        lanes: where upkeep is done.
    """

    def __init__(self, spec: IndexSpec, config: FaissConfig, lanes: Lanes) -> None:
        self._spec = spec
        storage = "disk" if config.vectors == "disk" else config.storage
        self._library = Library(
            spec, storage=storage, search=config.search, kept_metadata=config.kept_metadata, changed=self._changed
        )
        self._snapshots = Snapshots(config.path.with_name(config.path.name + ".cache"), spec)
        self._questions = Questions()
        self._upkeep = Upkeep(
            self._library,
            codes_from=config.codes_from,
            questions=self._questions,
            snapshots=self._snapshots,
            stopping=lanes.stopping,
        )
        self._lanes = lanes
        self._keeping = threading.Lock()
        self._failure = ""

    @staticmethod
    def prepare_thread() -> None:
        """Called once in each thread that will work for the engine."""
        use_one_thread()

    def load(self, sql: sqlite3.Connection) -> None:
        """Read everything into memory."""
        with self._keeping:
            self._library.current(sql, lambda truth, generation: None)
            self._upkeep.adopt()
        self._changed()

    def query(self, sql: sqlite3.Connection, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        """Answer all queries on one unchanging state."""
        reads = self._reads(sql)
        held = self._library.shown
        if held is not None and self._from_memory(held, queries) and (now := self._library.latest(sql)) is not None:
            return [self._answer(reads, now, query) for query in queries]
        return self._library.current(
            sql, lambda truth, generation: [self._answer(reads, generation, query) for query in queries]
        )

    def at_once(self, sql: sqlite3.Connection, queries: Sequence[VectorQuery]) -> list[list[Match]] | None:
        """The answers, where they take no longer than handing them to a thread, and nothing but a look at the file.

        They are for the event loop's own thread; ``None`` where they take more.
        """
        held = self._library.shown
        if held is None or len(queries) != 1 or not self._from_memory(held, queries):
            return None
        [query] = queries
        view = self._library.view(held, query.namespace)
        brief = view.brief(query.where, query.top_k, exact=query.exact)
        if brief is None or self._library.latest(sql) is not held:
            return None
        _require_seen(held, query.at_least)
        reads = self._reads(sql)
        target = self._target(reads, query)
        with one_thread():
            found = view.found(brief, target, _reader(view, reads))
        if found is None:
            return None
        self._note(view, query, target)
        return [self._matches(reads, view, found, query)]

    def explain(self, sql: sqlite3.Connection, query: VectorQuery) -> QueryPlan:
        """How the query would be answered now."""
        reads = self._reads(sql)
        return self._library.current(sql, lambda truth, generation: self._plan(reads, generation, query))

    def page(
        self, sql: sqlite3.Connection, namespace: str, where: Filter, *, after: str | None, limit: int
    ) -> VectorPage:
        """Matching items in ascending order of id."""

        def work(truth: Truth, generation: Generation) -> VectorPage:
            view = self._library.view(generation, namespace)
            ids = (view.kept.ids[row] for row in view.matching(where).rows)
            page = heapq.nsmallest(limit + 1, (id_ for id_ in ids if after is None or id_ > after))
            return VectorPage(_items(truth, namespace, page[:limit]), page[limit - 1] if len(page) > limit else None)

        return self._library.current(sql, work)

    def chosen(self, truth: Truth, namespace: str, where: Filter) -> list[int]:
        """The slots of all matching items, as the transaction that holds ``truth`` sees them before it writes."""
        view = self._library.view(self._library.follow(truth), namespace)
        return view.slots(list(view.matching(where).rows))

    def rehearse(
        self,
        sql: sqlite3.Connection,
        namespace: str,
        where: Filter,
        work: Callable[[Sequence[int]], tuple[int, State]],
    ) -> tuple[int, State]:
        """Do ``work``, which writes nothing, with the slots of all matching items."""

        def inside(truth: Truth, generation: Generation) -> tuple[int, State]:
            view = self._library.view(generation, namespace)
            return work(view.slots(list(view.matching(where).rows)))

        return self._library.current(sql, inside)

    def count(self, sql: sqlite3.Connection, namespace: str, where: Filter | None) -> tuple[int, State]:
        """How many items match, and how far the file is."""
        return self._library.current(
            sql,
            lambda truth, generation: (len(self._library.view(generation, namespace).matching(where)), truth.state()),
        )

    def search_text(self, sql: sqlite3.Connection, queries: Sequence[TextQuery]) -> list[list[Match]]:
        """Answer all queries on one unchanging state."""
        return self._library.current(
            sql, lambda truth, generation: [self._texts(sql, generation, query) for query in queries]
        )

    def stats(self, sql: sqlite3.Connection) -> VectorStats:
        """Counts, the size of the file, and what memory holds."""
        [pages] = sql.execute("PRAGMA page_count").fetchone()
        [page_bytes] = sql.execute("PRAGMA page_size").fetchone()
        return self._library.current(sql, lambda truth, generation: self._stats(generation, pages * page_bytes))

    def difference(self, sql: sqlite3.Connection) -> str:
        """What memory holds otherwise than the file, in one sentence; ``""`` when nothing."""
        return self._library.current(sql, self._difference)

    def optimize(self, sql: sqlite3.Connection) -> Optimized:
        """Drop dead rows from memory, code what has no codes, and give free pages of the file back."""
        self._library.current(sql, lambda truth, generation: None)
        dropped = self._upkeep.run(sql, thoroughly=True)
        with writing(sql):
            truth = Truth(sql, self._spec.dimension)
            self._library.follow(truth)
            truth.forget(truth.state().lsn)
        sql.executescript("PRAGMA incremental_vacuum")  # execute() would step once, which frees one page
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return Optimized(f"dropped {dropped} dead rows from memory, gave free pages of the file back", dropped)

    def wasted(self, sql: sqlite3.Connection) -> Optimized:
        """What ``optimize`` would do."""
        [pages] = sql.execute("PRAGMA freelist_count").fetchone()
        dead = self._library.current(sql, lambda truth, found: sum(view.dead for view in found.views.values()))
        return Optimized(f"would drop {dead} dead rows from memory, give {pages} free pages of the file back", dead)

    def _changed(self) -> None:
        """Have upkeep done aside when it is due and is not under way."""
        if self._keeping.acquire(blocking=False):
            if self._upkeep.due():
                self._lanes.aside(self._keep, self._kept)
            else:
                self._keeping.release()

    def _keep(self, sql: sqlite3.Connection) -> None:
        self._upkeep.run(sql)

    def _kept(self, failure: BaseException | None) -> None:
        self._failure = f"Upkeep failed ({failure}); searches are right and slower." if failure else ""
        self._keeping.release()
        if not self._lanes.stopping.is_set():
            self._changed()  # what changed meanwhile was passed over then

    def _answer(self, reads: Reads, generation: Generation, query: VectorQuery) -> list[Match]:
        _require_seen(generation, query.at_least)
        view = self._library.view(generation, query.namespace)
        target = self._target(reads, query)
        found = view.search(target, query.top_k, query.where, _reader(view, reads), exact=query.exact)
        self._note(view, query, target)
        return self._matches(reads, view, found, query)

    def _note(self, view: View, query: VectorQuery, target: Floats) -> None:
        """Have the recall checked by what is asked, now and then."""
        if view.coded is not None and not query.exact and self._questions.note(query.namespace, target):
            self._lanes.aside(lambda _: self._changed(), lambda _: None)  # which may wait for a lock

    def _matches(self, reads: Reads, view: View, found: Sequence[Found], query: VectorQuery) -> list[Match]:
        place, kept = query.namespace, view.kept.metadata
        if query.min_score is not None:
            found = [f for f in found if f.score >= query.min_score]
        metadata: Sequence[Metadata]
        if not query.include_metadata:
            metadata = [{} for _ in found]
        elif kept.whole:
            metadata = [metadata_of(kept[f.row]) for f in found]
        else:
            metadata = reads.metadata(view.slots([f.row for f in found]))
        if not query.include_values:
            return [Match(f.id, f.score, held, place) for f, held in zip(found, metadata, strict=True)]
        vectors = [vector_of(blob, self._spec.dimension) for blob in reads.blobs(view.slots([f.row for f in found]))]
        return [Match(f.id, f.score, held, place, v) for f, held, v in zip(found, metadata, vectors, strict=True)]

    def _from_memory(self, generation: Generation, queries: Sequence[VectorQuery]) -> bool:
        """Whether answers follow from a generation, with nothing from the truth."""
        return all(
            (kept := self._library.view(generation, query.namespace).kept).in_memory
            and (kept.metadata.whole or not query.include_metadata)
            and not query.include_values
            and query.id is None
            for query in queries
        )

    def _texts(self, sql: sqlite3.Connection, generation: Generation, query: TextQuery) -> list[Match]:
        _require_seen(generation, query.at_least)
        view = self._library.view(generation, query.namespace)
        matching = view.matching(query.where)
        alone = len(matching) == sum(len(each.alive) for each in generation.views.values())
        slots = None if alone else view.slots(list(matching.rows))
        found = Texts(sql).best(distinct_words(query.text), query.top_k, slots)
        return [Match(f.id, f.score, metadata_of(f.metadata), query.namespace) for f in found]

    def _plan(self, reads: Reads, generation: Generation, query: VectorQuery) -> QueryPlan:
        view = self._library.view(generation, query.namespace)
        plan = view.plan(self._target(reads, query), query.top_k, query.where, exact=query.exact)
        detail: dict[str, str | int | float] = {"rows": plan.rows, "first_pass": plan.fetch}
        detail["estimated_us"] = round(plan.cost_us, 1)
        return QueryPlan(plan.way.value, plan.approximate, plan.candidates, len(view.alive), detail)

    def _target(self, reads: Reads, query: VectorQuery) -> Floats:
        if query.id is None:
            return np.asarray(query.values, np.float32)
        slot = reads.slot_of(query.namespace, query.id)
        if slot is None:
            raise NotFound(f"There is no item {query.id!r} in namespace {query.namespace!r}.")
        return reads.vectors([slot]).ravel()

    def _reads(self, sql: sqlite3.Connection) -> Reads:
        return Reads(sql, self._spec.dimension)

    def _stats(self, generation: Generation, size: int) -> VectorStats:
        views = generation.views
        counts = {name: len(view.alive) for name, view in sorted(views.items()) if len(view.alive)}
        detail: dict[str, str | int | float] = {"lsn": generation.state.lsn}
        detail["dead_rows"] = sum(view.dead for view in views.values())
        detail["coded_rows"] = sum(len(view.coded) for view in views.values() if view.coded)
        detail["lists"] = sum(len(view.coded.centres) for view in views.values() if view.coded)
        if recalls := [share for name, share in list(self._upkeep.recall.items()) if name in counts]:
            detail["recall"] = round(min(recalls), 4)
        if self._snapshots.note:
            detail["snapshot"] = self._snapshots.note
        if self._failure:
            detail["upkeep"] = self._failure
        return VectorStats(counts, size, detail)

    def _difference(self, truth: Truth, generation: Generation) -> str:
        searched = {
            (name, view.kept.slots[row], view.kept.ids[row])
            for name, view in generation.views.items()
            for row in view.alive.rows
        }
        differing = len(searched ^ set(truth.places()))
        if differing:
            return f"{differing} items are in the file or in memory alone; open the index again."
        return self._failure


def _reader(view: View, reads: Reads) -> Callable[[RowNumbers], Floats]:
    return lambda rows: view.measure.kept(reads.vectors(view.slots(rows.tolist())))


def _require_seen(generation: Generation, token: WriteToken | None) -> None:
    if token is None:
        return
    if not token.isdecimal():
        raise InvalidArgument(f"{token!r} is not a write token of this index.")
    if int(token) > generation.state.lsn:
        raise StaleRead(f"The index is at write {generation.state.lsn} and has not seen write {token}.")


def _items(truth: Truth, namespace: str, ids: Sequence[str]) -> list[VectorItem]:
    found = (truth.item(namespace, id_) for id_ in ids)
    return [item for item in found if item is not None]
