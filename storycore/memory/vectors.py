"""The reference vector index: a dict per namespace and a full pass per query, in double precision."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from operator import mul
from typing import Final

from storycore.errors import ConfigError, InvalidArgument, NotFound, StaleRead
from storycore.memory.word_scores import WordScores
from storycore.ports.capabilities import Capabilities, Support
from storycore.ports.environment import Environment
from storycore.ports.field_types import FieldType, fixed_types
from storycore.ports.filters import Filter, evaluate
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle
from storycore.ports.metadata_size import check_size
from storycore.ports.vectors import (
    DEFAULT_NAMESPACE,
    Deleted,
    IdPage,
    IndexSpec,
    Match,
    Metadata,
    Metric,
    Optimized,
    QueryPlan,
    TextQuery,
    Updated,
    Upserted,
    Vector,
    VectorConfig,
    VectorItem,
    VectorPage,
    VectorQuery,
    VectorStats,
    WriteToken,
)
from storycore.ports.words import distinct_words, text_of, word_texts

__all__ = ["MemoryVectorIndex", "open_vectors", "score"]

_CAPABILITIES: Final = Capabilities(
    features={
        "vectors.atomic": Support.NATIVE,
        "vectors.exact": Support.NATIVE,
        "vectors.at_least": Support.NATIVE,
        "vectors.field_types": Support.NATIVE,
        "vectors.delete_count": Support.NATIVE,
        "vectors.text": Support.NATIVE,
        "vectors.explain": Support.NATIVE,
    }
)


def open_vectors(config: VectorConfig, env: Environment) -> MemoryVectorIndex:
    """The reference vector index.

    Raises:
        ConfigError: the configuration gives no dimension.
    """
    if config.dimension is None:
        raise ConfigError("A vector index needs a dimension: set it, or configure an embedder.", path="dimension")
    spec = IndexSpec(config.dimension, config.metric, config.embedding, config.fields, config.text_fields)
    return MemoryVectorIndex(spec)


def score(metric: Metric, a: Vector, b: Vector) -> float:
    """How near two vectors are; higher is better on every metric."""
    if metric == "euclidean":
        return -math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    dot = math.fsum(map(mul, a, b))
    if metric == "dot":
        return dot
    lengths = math.sqrt(math.fsum(map(mul, a, a)) * math.fsum(map(mul, b, b)))
    return max(-1.0, min(1.0, dot / lengths))


class MemoryVectorIndex(Lifecycle):
    """Vectors in memory; the oracle against which every other index is checked."""

    def __init__(self, spec: IndexSpec) -> None:
        self._spec = spec
        self._spaces: dict[str, dict[str, VectorItem]] = {}
        self._types: dict[str, dict[str, FieldType]] = {}
        self._writes = 0

    @property
    def info(self) -> AdapterInfo:
        """Who is behind this port."""
        return AdapterInfo("memory")

    @property
    def capabilities(self) -> Capabilities:
        """What this index can do: everything, until the process ends."""
        return _CAPABILITIES

    @property
    def spec(self) -> IndexSpec:
        """What this index was made for."""
        return self._spec

    async def health(self, *, deep: bool = False) -> Health:
        """Well while it is open."""
        return Health(self._opened, "" if self._opened else "The index is closed; open it again.")

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = DEFAULT_NAMESPACE) -> Upserted:
        """Replace or add whole items; the last of equal ids wins."""
        self._require_open()
        latest = {item.id: item for item in items}
        if latest:
            self._types[namespace] = self._types_with(namespace, [item.metadata for item in latest.values()])
            self._spaces.setdefault(namespace, {}).update({id_: _copy(item) for id_, item in latest.items()})
        return Upserted(len(latest), self._token(wrote=bool(latest)))

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
        self._require_open()
        stored = self._stored(id, namespace)
        types = self._types_with(namespace, [set or {}])
        metadata = _merged(stored, set or {}, unset)
        self._types[namespace] = types
        self._spaces[namespace][id] = _copy(VectorItem(id, stored.values if values is None else values, metadata))
        return self._token(wrote=True)

    async def update_where(
        self,
        where: Filter,
        *,
        set: Metadata | None = None,  # noqa: A002
        unset: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Updated:
        """Merge ``set`` into the metadata of what matches, remove the keys of ``unset``."""
        self._require_open()
        chosen = self._chosen(namespace, where)
        types = self._types_with(namespace, [set or {}])
        changed = {item.id: VectorItem(item.id, item.values, _merged(item, set or {}, unset)) for item in chosen}
        writes = bool(changed) and not dry_run
        if writes:
            self._types[namespace] = types
            self._spaces[namespace].update({id_: _copy(item) for id_, item in changed.items()})
        return Updated(len(changed), self._token(wrote=writes))

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        where: Filter | None = None,
        all: bool = False,  # noqa: A002
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Deleted:
        """Remove items by ids, by filter, or all."""
        self._require_open()
        chosen = [item.id for item in self._chosen(namespace, where) if ids is None or item.id in ids]
        if not dry_run:
            self._remove(namespace, chosen, all=all)
        return Deleted(len(chosen), self._token(wrote=bool(chosen) and not dry_run))

    async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        """Score every item that matches, and give the best."""
        self._require_open()
        return [self._search(query) for query in queries]

    async def search_text(self, queries: Sequence[TextQuery]) -> list[list[Match]]:
        """Score every item that matches and has one of the words, and give the best."""
        self._require_open()
        return [self._search_text(query) for query in queries]

    async def explain(self, query: VectorQuery) -> QueryPlan:
        """Always a full pass."""
        self._require_open()
        self._target(query)
        space = self._spaces.get(query.namespace, {})
        return QueryPlan("exact", False, len(self._chosen(query.namespace, query.where)), len(space))

    async def fetch(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[VectorItem | None]:
        """Items by id, in the order of ``ids``."""
        self._require_open()
        space = self._spaces.get(namespace, {})
        return [_copy(space[id_]) if id_ in space else None for id_ in ids]

    async def list_ids(
        self, *, prefix: str = "", after: str | None = None, limit: int = 100, namespace: str = DEFAULT_NAMESPACE
    ) -> IdPage:
        """Ids that begin with ``prefix``, ascending, behind ``after``."""
        self._require_open()
        ids = [id_ for id_ in self._ids_behind(after, namespace) if id_.startswith(prefix)]
        return IdPage(ids[:limit], ids[limit - 1] if len(ids) > limit else None)

    async def scan(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        where: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> VectorPage:
        """Whole items, ascending by id, behind ``after``."""
        self._require_open()
        items = [self._spaces[namespace][id_] for id_ in self._ids_behind(after, namespace)]
        items = [_copy(item) for item in items if where is None or evaluate(where, item.metadata)]
        return VectorPage(items[:limit], items[limit - 1].id if len(items) > limit else None)

    async def stats(self) -> VectorStats:
        """Items per namespace."""
        self._require_open()
        return VectorStats({namespace: len(space) for namespace, space in self._spaces.items() if space})

    async def optimize(self, *, dry_run: bool = False) -> Optimized:
        """Nothing is ever wasteful here."""
        self._require_open()
        return Optimized("nothing to do")

    def _search(self, query: VectorQuery) -> list[Match]:
        self._require_seen(query.at_least)
        target = self._target(query)
        scored = [
            (score(self._spec.metric, target, item.values), item) for item in self._chosen(query.namespace, query.where)
        ]
        good = [(s, item) for s, item in scored if query.min_score is None or s >= query.min_score]
        return [_match(s, item, query) for s, item in _best(good, query.top_k)]

    def _search_text(self, query: TextQuery) -> list[Match]:
        self._require_seen(query.at_least)
        asked = distinct_words(query.text)
        texts = {(name, id_): self._words(item) for name, space in self._spaces.items() for id_, item in space.items()}
        scores = WordScores([text for text in texts.values() if text])
        chosen = [(texts[query.namespace, item.id], item) for item in self._chosen(query.namespace, query.where)]
        scored = [(scores.score(asked, text), item) for text, item in chosen if any(word in text for word in asked)]
        best = _best(scored, query.top_k)
        return [Match(item.id, s, _plain(item.metadata), query.namespace) for s, item in best]

    def _words(self, item: VectorItem) -> Counter[str]:
        return Counter(word_texts(text_of(item.metadata, self._spec.text_fields)))

    def _target(self, query: VectorQuery) -> Vector:
        target = query.values if query.id is None else self._stored(query.id, query.namespace).values
        assert target is not None, "the checks above the port see to it that a query has values or an id"
        return target

    def _chosen(self, namespace: str, where: Filter | None) -> list[VectorItem]:
        items = self._spaces.get(namespace, {}).values()
        return [item for item in items if where is None or evaluate(where, item.metadata)]

    def _types_with(self, namespace: str, written: Sequence[Metadata]) -> dict[str, FieldType]:
        held = self._types.get(namespace, {})
        return held | fixed_types({**self._spec.fields, **held}, written, namespace=namespace)

    def _remove(self, namespace: str, ids: Sequence[str], *, all: bool) -> None:  # noqa: A002
        for id_ in ids:
            del self._spaces[namespace][id_]
        if all:
            self._types.pop(namespace, None)

    def _stored(self, id_: str, namespace: str) -> VectorItem:
        item = self._spaces.get(namespace, {}).get(id_)
        if item is None:
            raise NotFound(f"There is no item {id_!r} in namespace {namespace!r}.")
        return item

    def _ids_behind(self, after: str | None, namespace: str) -> list[str]:
        return sorted(id_ for id_ in self._spaces.get(namespace, {}) if after is None or id_ > after)

    def _token(self, *, wrote: bool) -> WriteToken:
        self._writes += wrote
        return WriteToken(str(self._writes))

    def _require_seen(self, token: WriteToken | None) -> None:
        if token is None:
            return
        if not token.isdecimal():
            raise InvalidArgument(f"{token!r} is not a write token of this index.")
        if int(token) > self._writes:
            raise StaleRead(f"The index is at write {self._writes} and has not seen write {token}.")


def _copy(item: VectorItem) -> VectorItem:
    return VectorItem(item.id, array("f", item.values), _plain(item.metadata))


def _plain(metadata: Metadata) -> Metadata:
    return {key: list(value) if isinstance(value, list) else value for key, value in metadata.items()}


def _merged(item: VectorItem, added: Metadata, removed: Sequence[str]) -> Metadata:
    merged = {key: value for key, value in item.metadata.items() if key not in removed} | dict(added)
    check_size(merged, of=f"item {item.id!r}")
    return merged


def _best(scored: Sequence[tuple[float, VectorItem]], top_k: int) -> Sequence[tuple[float, VectorItem]]:
    return sorted(scored, key=lambda pair: (-pair[0], pair[1].id))[:top_k]


def _match(score_: float, item: VectorItem, query: VectorQuery) -> Match:
    values = array("f", item.values) if query.include_values else None
    metadata = _plain(item.metadata) if query.include_metadata else {}
    return Match(item.id, score_, metadata, query.namespace, values)
