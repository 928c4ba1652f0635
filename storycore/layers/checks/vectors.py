"""The limits of the VectorIndex port, checked before any I/O and the same for every adapter."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from storycore.errors import InvalidArgument
from storycore.filters import as_filter
from storycore.layers.checks.arguments import several
from storycore.layers.checks.forward import Forward
from storycore.layers.checks.vector_values import as_id, as_metadata, as_namespace, as_vector
from storycore.ports.filters import Filter, MetadataValue
from storycore.ports.metadata_size import check_size
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
    VectorIndex,
    VectorItem,
    VectorPage,
    VectorQuery,
    VectorStats,
    WriteToken,
)

__all__ = ["MAX_PAGE", "MAX_TOP_K", "CheckedVectors"]

MAX_TOP_K = 10_000
"""Matches of one query (Pinecone: top_k)."""
MAX_PAGE = 1000
"""Entries of one page of a listing."""
_MAX_TOKEN = 512
"""Characters of a write token; what is longer is not read at all."""
_TURN = 32
"""Items of a large call that are checked before other tasks get a turn: well below a millisecond's work."""


class CheckedVectors(Forward[VectorIndex]):
    """A vector index that refuses what the port does not allow.

    Vectors may be any sequence of numbers or a float buffer; filters may be in either form. Errors name the item.
    """

    @property
    def spec(self) -> IndexSpec:
        """What the index was made for."""
        return self.inner.spec

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = DEFAULT_NAMESPACE) -> Upserted:
        """Replace or add whole items."""
        place = as_namespace(namespace)
        checked: list[VectorItem] = []
        for item in several(items, "The items to write"):
            if len(checked) % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            checked.append(self._item(item))
        return await self.inner.upsert(checked, namespace=place)

    async def update(
        self,
        id: str,  # noqa: A002 - the field's own name in this domain
        *,
        values: Vector | None = None,
        set: Metadata | None = None,  # noqa: A002
        unset: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
    ) -> WriteToken:
        """Change an item in place."""
        place, of = as_namespace(namespace), f"item {as_id(id)!r}"
        vector = None if values is None else as_vector(values, self.spec.dimension, of=of)
        added, removed = _merge(set, unset, of)
        if added:
            await self._check_merged(id, added, removed, place)
        return await self.inner.update(id, values=vector, set=added or None, unset=sorted(removed), namespace=place)

    async def update_where(
        self,
        where: Filter,
        *,
        set: Metadata | None = None,  # noqa: A002
        unset: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Updated:
        """Merge into the metadata of all matching items."""
        place, filter_ = as_namespace(namespace), as_filter(where)
        if filter_ is None:
            raise InvalidArgument("update_where() takes a filter that is not empty; say what the items have in common.")
        added, removed = _merge(set, unset, "the matching items")
        return await self.inner.update_where(
            filter_, set=added or None, unset=sorted(removed), namespace=place, dry_run=dry_run
        )

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        where: Filter | None = None,
        all: bool = False,  # noqa: A002
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Deleted:
        """Remove items by exactly one of ``ids``, ``where`` or ``all``."""
        place, filter_ = as_namespace(namespace), as_filter(where)
        if (ids is not None) + (filter_ is not None) + (all is True) != 1:
            raise InvalidArgument("delete() takes exactly one of ids, a filter that is not empty, or all=True.")
        chosen = None if ids is None else _ids(ids)
        return await self.inner.delete(ids=chosen, where=filter_, all=all, namespace=place, dry_run=dry_run)

    async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        """Search; one list of matches per query, in order."""
        return await self.inner.query([self._query(query) for query in several(queries, "Queries")])

    async def search_text(self, queries: Sequence[TextQuery]) -> list[list[Match]]:
        """Search by words; one list of matches per query, in order."""
        self.capabilities.demand("vectors.text", adapter=self.info.adapter)
        return await self.inner.search_text([self._text_query(query) for query in several(queries, "Queries")])

    async def explain(self, query: VectorQuery) -> QueryPlan:
        """How a query would be answered now."""
        self.capabilities.demand("vectors.explain", adapter=self.info.adapter)
        return await self.inner.explain(self._query(query))

    async def fetch(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[VectorItem | None]:
        """Items by id, in the order of ``ids``."""
        return await self.inner.fetch(_ids(ids), namespace=as_namespace(namespace))

    async def list_ids(
        self, *, prefix: str = "", after: str | None = None, limit: int = 100, namespace: str = DEFAULT_NAMESPACE
    ) -> IdPage:
        """Ids that begin with ``prefix``, ascending, behind ``after``."""
        start = as_id(prefix, what="prefix") if prefix else ""
        place = as_namespace(namespace)
        return await self.inner.list_ids(prefix=start, after=_after(after), limit=_limit(limit), namespace=place)

    async def scan(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        where: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> VectorPage:
        """Whole items with their vectors, ascending by id, behind ``after``."""
        place, filter_ = as_namespace(namespace), as_filter(where)
        return await self.inner.scan(after=_after(after), limit=_limit(limit), where=filter_, namespace=place)

    async def stats(self) -> VectorStats:
        """Counts and sizes."""
        return await self.inner.stats()

    async def optimize(self, *, dry_run: bool = False) -> Optimized:
        """Compact and retrain whatever has become wasteful."""
        return await self.inner.optimize(dry_run=dry_run)

    def _item(self, item: VectorItem) -> VectorItem:
        _require_kind(item, VectorItem)
        of = f"item {as_id(item.id)!r}"
        values = as_vector(item.values, self.spec.dimension, of=of)
        return VectorItem(item.id, values, as_metadata(item.metadata, of=of))

    def _query(self, query: VectorQuery) -> VectorQuery:
        _require_kind(query, VectorQuery)
        if (query.values is None) == (query.id is None):
            raise InvalidArgument("A query takes exactly one of values and id.")
        if query.exact:
            self.capabilities.demand("vectors.exact", adapter=self.info.adapter)
        self._check_token(query.at_least)
        return VectorQuery(  # replace() would take as long as all checks together
            values=None if query.values is None else as_vector(query.values, self.spec.dimension, of="the query"),
            id=None if query.id is None else as_id(query.id),
            top_k=_within(query.top_k, MAX_TOP_K, "top_k"),
            where=as_filter(query.where),
            min_score=_min_score(query.min_score),
            namespace=as_namespace(query.namespace),
            include_values=query.include_values,
            include_metadata=query.include_metadata,
            exact=query.exact,
            at_least=query.at_least,
            wait=_wait(query.wait),
        )

    def _text_query(self, query: TextQuery) -> TextQuery:
        _require_kind(query, TextQuery)
        if not isinstance(query.text, str):
            raise InvalidArgument(f"The text of a query is a str, not a {type(query.text).__name__}.")
        self._check_token(query.at_least)
        return replace(
            query,
            top_k=_within(query.top_k, MAX_TOP_K, "top_k"),
            where=as_filter(query.where),
            namespace=as_namespace(query.namespace),
            wait=_wait(query.wait),
        )

    def _check_token(self, token: WriteToken | None) -> None:
        if token is None:
            return
        self.capabilities.demand("vectors.at_least", adapter=self.info.adapter)
        if not isinstance(token, str) or not 1 <= len(token) <= _MAX_TOKEN or not token.isascii():
            raise InvalidArgument("at_least is a token that a write has returned, such as (await upsert(items)).token.")

    async def _check_merged(self, id_: str, added: Mapping[str, MetadataValue], removed: set[str], place: str) -> None:
        [stored] = await self.inner.fetch([id_], namespace=place)
        if stored is not None:
            kept = {key: value for key, value in stored.metadata.items() if key not in removed}
            check_size({**kept, **added}, of=f"item {id_!r}")


def _require_kind(given: object, kind: type) -> None:
    if not isinstance(given, kind):
        raise InvalidArgument(f"A {kind.__name__} is expected here, not a {type(given).__name__}.")


def _ids(ids: Sequence[str]) -> list[str]:
    return [as_id(id_) for id_ in several(ids, "ids")]


def _keys(unset: Sequence[str], of: str) -> set[str]:
    keys = several(unset, f"The keys to unset in the update of {of}")
    if not all(isinstance(key, str) and key for key in keys):
        raise InvalidArgument(f"The keys to unset in the update of {of} are texts that are not empty.")
    return set(keys)


def _merge(set_: Metadata | None, unset: Sequence[str], of: str) -> tuple[Mapping[str, MetadataValue], set[str]]:
    """What an update adds and what it removes; a key that is set to an empty list is removed."""
    added, removed = as_metadata(set_ or {}, of=of), _keys(unset, of)
    if both := sorted(removed & (set_ or {}).keys()):
        raise InvalidArgument(f"The update of {of} sets and removes {', '.join(both)}; do one of the two.")
    return added, removed | ((set_ or {}).keys() - added.keys())


def _after(after: str | None) -> str | None:
    return None if after is None else as_id(after, what="position after")


def _limit(limit: int) -> int:
    return _within(limit, MAX_PAGE, "limit")


def _within(value: int, most: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidArgument(f"{name} is a whole number from 1 to {most}, not {value!r}.")
    return value


def _wait(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise InvalidArgument(f"wait is a number of seconds, at least 0, not {seconds!r}.")
    return float(seconds)


def _min_score(score: float | None) -> float | None:
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
        raise InvalidArgument(f"min_score is a finite number, not {score!r}.")
    return float(score)
