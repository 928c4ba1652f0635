"""The vector index on Pinecone: the port's verbs, each a request or a few."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Final, NamedTuple

import orjson

from storycore.errors import ConfigError, SchemaMismatch, StorycoreError, Unavailable, Unsupported
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
from storycore_pinecone._calls import Calls, all_of
from storycore_pinecone._client import OneIndex, control_plane, data_plane, name_of
from storycore_pinecone.changing import Changing
from storycore_pinecone.config import PineconeConfig
from storycore_pinecone.filters import Compiled, Constant, compiled, in_doubt
from storycore_pinecone.freshness import Freshness
from storycore_pinecone.positions import Positions
from storycore_pinecone.provision import METRICS, described, missing, model_of, provision, verified
from storycore_pinecone.reading import Reading
from storycore_pinecone.registry import RESERVED, Registry, require_free
from storycore_pinecone.searching import Searching

__all__ = ["PineconeVectorIndex", "open_vectors"]

_CAPABILITIES: Final = Capabilities(
    features={
        "vectors.at_least": Support.NATIVE,
        "vectors.field_types": Support.SIMULATED,
        "vectors.explain": Support.SIMULATED,
    },
    guarantees=Guarantees(Durability.REPLICATED, read_after_write=False, multi_process=True),
)


_OUT_OF_REACH: Final = (RESERVED, DEFAULT_NAMESPACE)
"""The adapter's own namespace, and one that another program has named as the port names the service's unnamed one."""


class _Live(NamedTuple):
    """What an open index works with."""

    client: OneIndex
    reading: Reading
    registry: Registry
    searching: Searching
    changing: Changing


def open_vectors(config: PineconeConfig, env: Environment) -> PineconeVectorIndex:
    """The vector index on Pinecone that ``config`` names, not yet open.

    Raises:
        ConfigError: the configuration gives no dimension.
    """
    if config.dimension is None:
        raise ConfigError("A vector index needs a dimension: set it, or configure an embedder.", path="dimension")
    spec = IndexSpec(config.dimension, config.metric, config.embedding, config.fields, config.text_fields)
    return PineconeVectorIndex(config, spec, env)


class PineconeVectorIndex(Lifecycle):
    """Vectors in a serverless index of Pinecone.

    Reads lag behind writes by a moment; a write token tells how far. Nothing is atomic beyond one request: of an
    upsert of many batches some may be written. Requests are repeated within a budget; all of them bear that.
    """

    def __init__(self, config: PineconeConfig, spec: IndexSpec, env: Environment) -> None:
        self._config = config
        self._spec = spec
        self._env = env
        self._calls = Calls(config, env)
        self._live: _Live | None = None
        self._info = AdapterInfo(
            "pinecone",
            version("storycore-pinecone"),
            f"index {config.index} at {config.index_url or config.endpoint_url}",
        )

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port, and the index's name and address."""
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        """What this index can do."""
        return _CAPABILITIES

    @property
    def spec(self) -> IndexSpec:
        """What this index was made for."""
        return self._spec

    async def open(self) -> None:
        """Find the index and see that it fits.

        Raises:
            ConfigError: there is no API key.
            NotProvisioned: the index does not exist yet.
            SchemaMismatch: it was made for another dimension, metric or model, or holds documents.
            AccessDenied, Unavailable: it cannot be used.
        """
        if self._opened:
            return
        self._calls = Calls(self._config, self._env)  # its queue belongs to one event loop
        index = data_plane(await self._host(), self._config)
        try:
            if self._config.index_url is not None:
                await self._verify_by_stats(index)
        except BaseException:
            await index.close()
            raise
        if self._opened:  # another task was faster
            await index.close()
            return
        reading = Reading(index, self._calls, dimension=self._spec.dimension)
        registry = Registry(index, self._calls, self._spec, self._env, trust_seconds=self._config.trust_types_seconds)
        searching = Searching(index, self._calls, reading, self._spec)
        fresh = Freshness(index, self._calls, positions := Positions(), self._spec)
        changing = Changing(index, self._calls, reading, registry, positions, fresh)
        self._live = _Live(index, reading, registry, searching, changing)
        self._natives, self._opened = (index,), True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Make the index where it is missing, and wait until it is ready; one for other vectors is left as it is.

        Raises:
            SchemaMismatch: another process has made it for other vectors meanwhile.
            Unavailable: it is not ready in time.
        """
        async with control_plane(self._config) as client:
            return await provision(client, self._calls, self._config, dry_run=dry_run)

    async def health(self, *, deep: bool = False) -> Health:
        """Ask for the counts; ``deep`` also sees that the index is still as it was made."""
        start = time.perf_counter()
        try:
            stats = await self.stats()
            if deep:
                await self._host()
        except StorycoreError as error:
            return Health(False, error.message, _ms_since(start))
        return Health(True, "", _ms_since(start), {"items": stats.total, "namespaces": len(stats.counts)})

    async def close(self) -> None:
        """Close the connections. Writes that returned are safe."""
        live, self._live = self._live, None
        self._natives, self._opened = (), False
        if live is not None:
            await live.client.close()

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = DEFAULT_NAMESPACE) -> Upserted:
        """Replace or add whole items, in batches by count and size."""
        return await self._ready(namespace).changing.upsert(items, namespace)

    async def update(
        self,
        id: str,  # noqa: A002 - the field's own name in this domain
        *,
        values: Vector | None = None,
        set: Metadata | None = None,  # noqa: A002
        unset: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
    ) -> WriteToken:
        """Change an item in place; where keys are removed, by storing it anew."""
        live = self._ready(namespace)
        return await live.changing.update(id, namespace, values=values, added=set or {}, removed=unset)

    async def update_where(
        self,
        where: Filter,
        *,
        set: Metadata | None = None,  # noqa: A002
        unset: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Updated:
        """Change the metadata of what matches; where keys are removed, by storing each item anew."""
        live = self._ready(namespace)
        form = await self._form(where, namespace)
        if dry_run:
            await live.registry.added(namespace, [set or {}])
            return Updated(await live.changing.count(where, form, namespace), live.changing.positions.last(namespace))
        token = await live.changing.update_where(where, form, namespace, added=set or {}, removed=unset)
        return Updated(None, token)

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        where: Filter | None = None,
        all: bool = False,  # noqa: A002
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Deleted:
        """Remove items; the service does not tell how many."""
        changing = self._ready(namespace).changing
        if dry_run:
            return Deleted(await self._doomed(ids, where, namespace), changing.positions.last(namespace))
        if ids is not None:
            return Deleted(None, await changing.delete_ids(ids, namespace))
        if where is not None:
            form = await self._form(where, namespace)
            return Deleted(None, await changing.delete_where(where, form, namespace))
        return Deleted(None, await changing.delete_all(namespace) if all else changing.positions.last(namespace))

    async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        """Search, all queries at once."""
        for query in queries:
            self._ready(query.namespace)
        return await all_of([partial(self._answer, query) for query in queries])

    async def search_text(self, queries: Sequence[TextQuery]) -> list[list[Match]]:
        """Not here: an index of vectors does not search by words."""
        raise Unsupported("The adapter 'pinecone' does not search by words.", feature="vectors.text")

    async def explain(self, query: VectorQuery) -> QueryPlan:
        """How the service is asked; how it searches it does not tell."""
        live = self._ready(query.namespace)
        await live.searching.target(query)
        form = None if query.where is None else await self._form(query.where, query.namespace)
        total = (await self.stats()).counts.get(query.namespace, 0)
        if query.where is None or form is None or form is Constant.ALWAYS:
            return QueryPlan("service", True, total, total)
        if form is Constant.NEVER:
            return QueryPlan("nothing", False, 0, total)
        candidates = await live.changing.count(query.where, form, query.namespace)
        return QueryPlan("service", True, candidates, total, {"filter": orjson.dumps(form).decode()})

    async def fetch(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[VectorItem | None]:
        """Items by id, in the order of ``ids``."""
        return await self._ready(namespace).reading.fetch(ids, namespace)

    async def list_ids(
        self, *, prefix: str = "", after: str | None = None, limit: int = 100, namespace: str = DEFAULT_NAMESPACE
    ) -> IdPage:
        """Ids that begin with ``prefix``, ascending, behind ``after``."""
        return await self._ready(namespace).reading.ids(namespace, prefix=prefix, after=after, limit=limit)

    async def scan(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        where: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> VectorPage:
        """Whole items, ascending by id, behind ``after``; filtered here."""
        return await self._ready(namespace).reading.scan(namespace, after=after, limit=limit, where=where)

    async def stats(self) -> VectorStats:
        """Items per namespace, as the service counts them: a moment late."""
        live = self._ready(DEFAULT_NAMESPACE)
        told = await self._calls.send(live.client.describe_index_stats)
        spaces = told.namespaces.items()
        counts = {name_of(space): each.vector_count for space, each in spaces if space not in _OUT_OF_REACH}
        return VectorStats(
            {namespace: count for namespace, count in counts.items() if count},
            detail={"index": self._config.index, "fullness": told.index_fullness},
        )

    async def optimize(self, *, dry_run: bool = False) -> Optimized:
        """Nothing to do."""
        self._ready(DEFAULT_NAMESPACE)
        return Optimized("nothing to do: the service looks after the index itself")

    async def _answer(self, query: VectorQuery) -> list[Match]:
        live = self._ready(query.namespace)
        form = None if query.where is None else await self._form(query.where, query.namespace)
        return await live.searching.answer(query, form)

    async def _form(self, where: Filter, namespace: str) -> Compiled:
        """The filter in the service's words; types are looked up where the answer depends on them."""
        doubtful = in_doubt(where)
        types = await self._ready(namespace).registry.types(namespace, doubtful) if doubtful else {}
        return compiled(where, types)

    async def _doomed(self, ids: Sequence[str] | None, where: Filter | None, namespace: str) -> int:
        """How many items a delete would remove now."""
        live = self._ready(namespace)
        if ids is not None:
            distinct = list(dict.fromkeys(ids))
            return sum(item is not None for item in await live.reading.fetch(distinct, namespace))
        if where is not None:
            return await live.changing.count(where, await self._form(where, namespace), namespace)
        return (await self.stats()).counts.get(namespace, 0)

    async def _host(self) -> str:
        """Where the index is, once it is known that it fits."""
        if self._config.index_url is not None:
            return self._config.index_url
        async with control_plane(self._config) as client:
            found = await described(client, self._calls, self._config.index)
        if found is None:
            raise missing(self._config)
        verified(found, self._spec)
        self._spec = replace(self._spec, embedding=self._spec.embedding or model_of(found))
        if not found.host:
            raise Unavailable(f"{self._calls.place} is {found.status.state}; try again when it is ready.")
        return found.host

    async def _verify_by_stats(self, index: OneIndex) -> None:
        """See that an index fits of which only the address is known; its model is not."""
        stats = await self._calls.send(index.describe_index_stats)
        held, asked = (stats.dimension, stats.metric), (self._spec.dimension, METRICS[self._spec.metric])
        if held != asked:
            raise SchemaMismatch(
                f"{self._calls.place} has vectors of {held[0] or 'no'} dimensions and metric {held[1] or 'none'}; "
                f"asked for are {asked[0]} and {asked[1]}. Open it as it was made, or ingest again into a new index."
            )

    def _ready(self, namespace: str) -> _Live:
        self._require_open()
        require_free(namespace)
        assert self._live is not None, "an open index has its clients"
        return self._live


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
