"""The VectorIndex port: vectors with metadata, exact filters, one meaning of score on every adapter.

Dimension, finiteness, ids and metadata are checked once above the adapter (``storycore.layers.checks``).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NewType, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from storycore.ports.filters import Filter, MetadataValue
from storycore.ports.lifecycle import Port

__all__ = [
    "DEFAULT_NAMESPACE",
    "Deleted",
    "IdPage",
    "IndexSpec",
    "Match",
    "Metadata",
    "Metric",
    "Optimized",
    "Upserted",
    "Vector",
    "VectorConfig",
    "VectorIndex",
    "VectorItem",
    "VectorPage",
    "VectorQuery",
    "VectorStats",
    "WriteToken",
]

Metric: TypeAlias = Literal["cosine", "dot", "euclidean"]
Metadata: TypeAlias = Mapping[str, MetadataValue]
Vector: TypeAlias = "array[float]"
"""An ``array('f')``: float32, length = dimension, finite, not all zero. Callers above the checks may hand in any
sequence of numbers or object with a float buffer; adapters always receive this type."""

WriteToken = NewType("WriteToken", str)
"""Stands for "everything up to this write"; hand it to a read as ``at_least``."""

DEFAULT_NAMESPACE = "default"


class VectorConfig(BaseModel):
    """The settings that every vector adapter has; an adapter's own config derives from it.

    Args:
        dimension: length of every vector; taken from the embedder when not set.
        metric: fixed when the index is created.
        embedding: identity of the embedding model; taken from the embedder when not set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dimension: int | None = Field(default=None, ge=1, le=20_000)
    metric: Metric = "cosine"
    embedding: str | None = None


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What an index was made for; opening it with another one is a ``SchemaMismatch``."""

    dimension: int
    metric: Metric = "cosine"
    embedding: str | None = None


@dataclass(frozen=True, slots=True)
class VectorItem:
    """A vector with its id and metadata.

    Args:
        id: 1 to 512 printable ASCII characters (Pinecone: record ids).
        values: the vector.
        metadata: str, bool, finite number or list of str per key; an empty list is the same as no key. Keys are
            non-empty and do not begin with ``$``. At most 40 960 bytes as compact JSON (Pinecone: metadata per record).
    """

    id: str
    values: Vector
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorQuery:
    """One search.

    Args:
        values: the vector to compare with; exactly one of ``values`` and ``id``.
        id: use the stored vector of this item, which itself may be among the results.
        top_k: 1 to 10 000 (Pinecone: top_k).
        where: only items whose metadata matches.
        min_score: only items that score at least this.
        namespace: one namespace; an unknown one is empty.
        include_values: whether matches carry their vector.
        exact: refuse approximation.
        at_least: see everything up to this write, else ``StaleRead``.
    """

    values: Vector | None = None
    id: str | None = None
    top_k: int = 10
    where: Filter | None = None
    min_score: float | None = None
    namespace: str = DEFAULT_NAMESPACE
    include_values: bool = False
    exact: bool = False
    at_least: WriteToken | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A found item.

    Args:
        score: higher is better on every metric: cosine in [-1, 1]; dot: the inner product; euclidean: the negated
            squared distance. Within 1e-5 of the exact value (relative for large ones).
    """

    id: str
    score: float
    metadata: Metadata
    namespace: str = DEFAULT_NAMESPACE
    values: Vector | None = None


@dataclass(frozen=True, slots=True)
class Upserted:
    """How many distinct items were written, and the token that stands for them."""

    written: int
    token: WriteToken


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many items were removed (``None`` where the service does not tell), and the write's token."""

    count: int | None
    token: WriteToken


@dataclass(frozen=True, slots=True)
class IdPage:
    """Ids in ascending order; ``next`` is ``None`` only when nothing is left."""

    ids: Sequence[str]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class VectorPage:
    """Items in ascending order of id; ``next`` is ``None`` only when nothing is left."""

    items: Sequence[VectorItem]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class VectorStats:
    """Counts per namespace (live items), bytes held where known, and how the index is built now."""

    counts: Mapping[str, int]
    size_bytes: int | None = None
    detail: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Live items in all namespaces."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Optimized:
    """What ``optimize`` did, for people, and how many dead items it dropped."""

    detail: str
    dropped: int = 0


class VectorIndex(Port, Protocol):
    """Vectors with metadata in namespaces.

    Promised by every adapter:

    - A query returns ``min(top_k, matching items)`` results, best first; equal scores are ordered by id.
    - Filters are two-valued and exact: ``not f`` matches precisely what ``f`` does not, also on missing fields.
    - A query sees every write whose token it names; local adapters see every write that returned before.
    - One upsert or delete call is all or nothing where the capability ``vectors.atomic`` is native.
    - Closing and opening again keeps everything where durability is ``disk``.

    Features that an adapter may claim: ``vectors.exact`` (``exact=True`` is answered, and ties at the end of a result
    go by id), ``vectors.at_least`` (tokens are honoured), ``vectors.atomic``, and ``vectors.delete_count`` (deletes
    tell how many items went).
    """

    @property
    def spec(self) -> IndexSpec:
        """What this index was made for. Never raises."""
        ...

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = DEFAULT_NAMESPACE) -> Upserted:
        """Replace or add whole items; of equal ids in one call the last wins. An empty call writes nothing."""
        ...

    async def update(
        self,
        id: str,  # noqa: A002 - the field's own name in this domain
        *,
        values: Vector | None = None,
        set: Metadata | None = None,  # noqa: A002
        unset: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
    ) -> WriteToken:
        """Change an item in place: replace the vector, merge ``set`` into the metadata, remove the keys of ``unset``.

        Raises:
            NotFound: there is no such item.
        """
        ...

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        where: Filter | None = None,
        all: bool = False,  # noqa: A002
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Deleted:
        """Remove items by exactly one of ``ids`` (unknown ones are passed over), ``where`` or ``all``."""
        ...

    async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        """Search; one list of matches per query, in order.

        Raises:
            NotFound: a query names an ``id`` that is not stored.
        """
        ...

    async def fetch(self, ids: Sequence[str], *, namespace: str = DEFAULT_NAMESPACE) -> list[VectorItem | None]:
        """Items by id, in the order of ``ids``; ``None`` where there is none."""
        ...

    async def list_ids(
        self,
        *,
        prefix: str = "",
        after: str | None = None,
        limit: int = 100,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> IdPage:
        """Ids that begin with ``prefix``, ascending, behind ``after``; ``limit`` 1 to 1000."""
        ...

    async def scan(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        where: Filter | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> VectorPage:
        """Whole items with their vectors, ascending by id, behind ``after``; ``limit`` 1 to 1000."""
        ...

    async def stats(self) -> VectorStats:
        """Counts and sizes; a namespace without items is not listed."""
        ...

    async def optimize(self) -> Optimized:
        """Compact and retrain whatever has become wasteful; results do not change."""
        ...
