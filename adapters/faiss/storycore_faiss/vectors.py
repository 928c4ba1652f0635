"""The vector index: the port's verbs, each one job in a thread of the index's own."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from storycore.errors import ConfigError, PluginError, StorycoreError, Unavailable
from storycore.ports.capabilities import Capabilities, Durability, Guarantees, Support
from storycore.ports.environment import Environment
from storycore.ports.filters import Filter
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle, Provision
from storycore.ports.vectors import (
    DEFAULT_NAMESPACE,
    Deleted,
    IdPage,
    IndexSpec,
    Match,
    Metadata,
    Optimized,
    QueryPlan,
    TextQuery,
    Updated,
    Upserted,
    Vector,
    VectorItem,
    VectorPage,
    VectorQuery,
    VectorStats,
    WriteToken,
)
from storycore_faiss._sql import connect, reading, translating, writing
from storycore_faiss.config import FaissConfig
from storycore_faiss.lanes import Lanes
from storycore_faiss.provision import provision, require_file, verified
from storycore_faiss.truth import State, Truth
from storycore_faiss.verifying import damage, damage_of_words, mended
from storycore_faiss.writes import Writes, require_text_fields

if TYPE_CHECKING:
    from storycore_faiss.engine import Engine

__all__ = ["FaissVectorIndex", "open_vectors"]

T = TypeVar("T")

_FEATURES: Final = {
    "vectors.atomic": Support.NATIVE,
    "vectors.exact": Support.NATIVE,
    "vectors.at_least": Support.NATIVE,
    "vectors.field_types": Support.NATIVE,
    "vectors.text": Support.NATIVE,
    "vectors.delete_count": Support.NATIVE,
    "vectors.explain": Support.NATIVE,
}


class _Live(NamedTuple):
    """What an open index works with."""

    lanes: Lanes
    engine: Engine
    here: sqlite3.Connection
    """For what is short enough to be done on the event loop; it waits for no lock."""


def open_vectors(config: FaissConfig, env: Environment) -> FaissVectorIndex:
    """The vector index in ``config.path``, not yet open.

    Raises:
        ConfigError: the configuration gives no dimension.
    """
    if config.dimension is None:
        raise ConfigError("A vector index needs a dimension: set it, or configure an embedder.", path="dimension")
    spec = IndexSpec(config.dimension, config.metric, config.embedding, config.fields, config.text_fields)
    return FaissVectorIndex(config, spec)


class FaissVectorIndex(Lifecycle):
    """Vectors in one SQLite file, searched in memory by FAISS and roaring bitmaps.

    The file is the truth: a write is one transaction in it. Memory follows when the next search asks, in this process
    and in every other one that has the file open. Searches over many items are approximate unless they ask not to be.
    """

    def __init__(self, config: FaissConfig, spec: IndexSpec) -> None:
        self._config = config
        self._spec = spec
        self._live: _Live | None = None
        self._info = AdapterInfo("faiss", version("storycore-faiss"), str(config.path))

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port, and the file's path."""
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        """What this index can do; only ``durability="full"`` survives the loss of power."""
        held = Durability.DISK if self._config.durability == "full" else Durability.PROCESS
        return Capabilities(features=_FEATURES, guarantees=Guarantees(held, multi_process=True))

    @property
    def spec(self) -> IndexSpec:
        """What this index was made for."""
        return self._spec

    async def open(self) -> None:
        """Read the file into memory.

        Raises:
            NotProvisioned: the file does not exist yet.
            SchemaMismatch: it was made for another dimension, metric or model, or is another application's.
            Corrupt, AccessDenied, Unavailable: it cannot be used.
        """
        if self._opened:
            return
        lanes = Lanes(self._connected, _prepare, search_threads=self._config.search_threads)
        try:
            spec, engine, sql = await lanes.write(self._translated(lambda sql: self._loaded(sql, lanes)))
            here = await lanes.write(lambda _: lanes.connected(wait=False))
        except BaseException:
            await lanes.close()
            raise
        if self._opened:  # another task was faster
            await lanes.close()
            return
        self._live, self._spec, self._natives, self._opened = _Live(lanes, engine, here), spec, (sql,), True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Make the file with its tables, if it is missing; one that was made for other vectors is left as it is."""
        return await asyncio.to_thread(self._provisioned, dry_run)

    async def health(self, *, deep: bool = False) -> Health:
        """Whether the file can be read; ``deep`` reads every page, compares items with types and words, and memory.

        ``recall`` is what approximate searches found of the nearest ten when a few of them were checked last.
        """
        started = time.perf_counter()
        try:
            stats = await self._search(lambda engine, sql: engine.stats(sql))
            problem = await self._damage() if deep else ""
        except StorycoreError as exc:
            return Health(False, exc.message)
        spent = (time.perf_counter() - started) * 1000
        recall = {name: share for name, share in stats.detail.items() if name == "recall"}
        return Health(not problem, problem, spent, {"items": stats.total, "bytes": stats.size_bytes or 0, **recall})

    async def close(self) -> None:
        """Let running calls finish, then close the file."""
        live, self._live, self._opened, self._natives = self._live, None, False, ()
        if live is not None:
            await live.lanes.close()

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = DEFAULT_NAMESPACE) -> Upserted:
        """Replace or add whole items in one transaction; the last of equal ids wins."""
        latest = list({item.id: item for item in items}.values())
        state = await self._write(lambda writes: writes.put(namespace, latest))
        return Upserted(len(latest), _token(state))

    async def update(
        self,
        id: str,  # noqa: A002 - the field's own name in this domain
        *,
        values: Vector | None = None,
        set: Metadata | None = None,  # noqa: A002
        unset: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
    ) -> WriteToken:
        """Replace the vector, merge ``set`` into the metadata, remove the keys of ``unset``."""
        state = await self._write(
            lambda writes: writes.change(namespace, id, values=values, set_=set or {}, unset=unset),
        )
        return _token(state)

    async def update_where(
        self,
        where: Filter,
        *,
        set: Metadata | None = None,  # noqa: A002
        unset: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Updated:
        """Merge ``set`` into the metadata of what matches, remove the keys of ``unset``, in one transaction."""
        if dry_run:
            return await self._rehearsed(where, set or {}, unset, namespace)
        engine = self._running().engine
        count, state = await self._write(
            lambda writes: writes.change_slots(
                namespace, engine.chosen(writes.truth, namespace, where), set_=set or {}, unset=unset
            )
        )
        return Updated(count, _token(state))

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        where: Filter | None = None,
        all: bool = False,  # noqa: A002
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Deleted:
        """Remove items by ids, by filter, or all, in one transaction."""
        engine = self._running().engine
        if dry_run and ids is not None:
            count, state = await self._read(lambda truth: (truth.count_of(namespace, ids), truth.state()))
        elif dry_run:
            count, state = await self._search(lambda engine, sql: engine.count(sql, namespace, where))
        elif where is not None:
            count, state = await self._write(
                lambda writes: writes.remove_slots(engine.chosen(writes.truth, namespace, where))
            )
        elif ids is not None:
            count, state = await self._write(lambda writes: writes.remove_ids(namespace, ids))
        else:
            count, state = await self._write(lambda writes: writes.remove_all(namespace))
        return Deleted(count, _token(state))

    async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        """Search; all queries of one call see the same state."""
        live = self._running()
        with suppress(sqlite3.Error):  # a thread tries again, waits for locks, and says what is wrong
            found = live.engine.at_once(live.here, queries)
            if found is not None:
                return found
        return await self._search(lambda engine, sql: engine.query(sql, queries))

    async def search_text(self, queries: Sequence[TextQuery]) -> list[list[Match]]:
        """Search by words; all queries of one call see the same state."""

        def found(engine: Engine, sql: sqlite3.Connection) -> list[list[Match]]:
            matches = engine.search_text(sql, queries)
            require_text_fields(Truth(sql, self._spec.dimension), self._spec.text_fields)
            return matches

        return await self._search(found)

    async def explain(self, query: VectorQuery) -> QueryPlan:
        """How a query would be answered now: which way, over how many rows."""
        return await self._search(lambda engine, sql: engine.explain(sql, query))

    async def fetch(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[VectorItem | None]:
        """Items by id, in the order of ``ids``."""
        return await self._read(lambda truth: [truth.item(namespace, id_) for id_ in ids])

    async def list_ids(
        self, *, prefix: str = "", after: str | None = None, limit: int = 100, namespace: str = DEFAULT_NAMESPACE
    ) -> IdPage:
        """Ids that begin with ``prefix``, ascending, behind ``after``."""
        return await self._read(lambda truth: truth.ids(namespace, prefix=prefix, after=after, limit=limit))

    async def scan(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        where: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> VectorPage:
        """Whole items, ascending by id, behind ``after``."""
        if where is None:
            return await self._read(lambda truth: truth.page(namespace, after=after, limit=limit))
        return await self._search(lambda engine, sql: engine.page(sql, namespace, where, after=after, limit=limit))

    async def stats(self) -> VectorStats:
        """Items per namespace, the size of the file, and the dead rows in memory."""
        return await self._search(lambda engine, sql: engine.stats(sql))

    async def optimize(self, *, dry_run: bool = False) -> Optimized:
        """Drop dead rows from memory, give free pages back, and mend the index of words or merge its parts."""
        if dry_run:
            return await self._search(lambda engine, sql: engine.wasted(sql))
        words = await self._write_raw(mended)
        done = await self._write_raw(self._running().engine.optimize)
        return Optimized(f"{done.detail}, made the words anew", done.dropped) if words else done

    async def _rehearsed(self, where: Filter, set_: Metadata, unset: Sequence[str], namespace: str) -> Updated:
        def inside(engine: Engine, sql: sqlite3.Connection) -> tuple[int, State]:
            writes = Writes(sql, self._spec)
            return engine.rehearse(
                sql, namespace, where, lambda slots: writes.rehearse_slots(namespace, slots, set_=set_, unset=unset)
            )

        count, state = await self._search(inside)
        return Updated(count, _token(state))

    async def _damage(self) -> str:
        def inside(sql: sqlite3.Connection) -> str:
            with reading(sql):
                return damage(sql, self._spec)

        return (
            await self._search(lambda engine, sql: inside(sql))
            or await self._write_raw(damage_of_words)
            or await self._search(lambda engine, sql: engine.difference(sql))
        )

    async def _write(self, work: Callable[[Writes], T]) -> T:
        def transaction(sql: sqlite3.Connection) -> T:
            with writing(sql):
                return work(Writes(sql, self._spec))

        return await self._write_raw(transaction)

    async def _read(self, work: Callable[[Truth], T]) -> T:
        def view(engine: Engine, sql: sqlite3.Connection) -> T:
            with reading(sql):
                return work(Truth(sql, self._spec.dimension))

        return await self._search(view)

    async def _write_raw(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._running().lanes.write(self._translated(work))

    async def _search(self, work: Callable[[Engine, sqlite3.Connection], T]) -> T:
        live = self._running()
        return await live.lanes.search(self._translated(lambda sql: work(live.engine, sql)))

    def _running(self) -> _Live:
        if self._live is None:
            raise Unavailable(f"The vector index {self._config.path} is not open; use it inside `async with`.")
        return self._live

    def _translated(self, work: Callable[[sqlite3.Connection], T]) -> Callable[[sqlite3.Connection], T]:
        def job(sql: sqlite3.Connection) -> T:
            with translating(self._config.path):
                return work(sql)

        return job

    def _connected(self) -> sqlite3.Connection:
        config = self._config
        with translating(config.path):
            require_file(config.path)
            wait = config.busy_timeout_seconds
            return connect(config.path, create=False, durability=config.durability, wait_seconds=wait)

    def _loaded(self, sql: sqlite3.Connection, lanes: Lanes) -> tuple[IndexSpec, Engine, sqlite3.Connection]:
        make = _engine_type()
        spec = verified(sql, self._config.path, self._spec)
        engine = make(spec, self._config, lanes)
        engine.load(sql)
        return spec, engine, sql

    def _provisioned(self, dry_run: bool) -> Provision:
        config = self._config
        with translating(config.path):
            return provision(config.path, self._spec, durability=config.durability, dry_run=dry_run)


def _engine_type() -> type[Engine]:
    """Import FAISS, which takes long, in the thread that asks."""
    try:
        from storycore_faiss.engine import Engine
    except ImportError as exc:
        raise PluginError(
            f"The adapter 'faiss' cannot import its libraries: {exc}. "
            "Reinstall it with: pip install --force-reinstall storycore-faiss"
        ) from exc
    return Engine


def _prepare() -> None:
    _engine_type().prepare_thread()


def _token(state: State) -> WriteToken:
    return WriteToken(str(state.lsn))
