"""What goes into a vector index and comes out of it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NewType, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from storycore.ports.field_types import FieldType
from storycore.ports.filters import Filter, MetadataValue

__all__ = [
    "DEFAULT_NAMESPACE",
    "Deleted",
    "IdPage",
    "IndexSpec",
    "Match",
    "Metadata",
    "Metric",
    "Optimized",
    "QueryPlan",
    "TextQuery",
    "Updated",
    "Upserted",
    "Vector",
    "VectorConfig",
    "VectorItem",
    "VectorPage",
    "VectorQuery",
    "VectorStats",
    "WriteToken",
]

Metric: TypeAlias = Literal["cosine", "dot", "euclidean"]
Metadata: TypeAlias = Mapping[str, MetadataValue]
Vector: TypeAlias = "array[float]"
"""An ``array('f')``: float32, length = dimension, finite, at least one value of 1e-8 or farther from zero. Callers
above the checks may hand in any sequence of numbers or object with a float buffer; adapters always receive this
type."""

WriteToken = NewType("WriteToken", str)
"""Stands for "everything up to this write"; hand it to a read as ``at_least``."""

DEFAULT_NAMESPACE = "default"


class VectorConfig(BaseModel):
    """The settings that every vector adapter has; an adapter's own config derives from it.

    Args:
        dimension: length of every vector; taken from the embedder when not set.
        metric: fixed when the index is created.
        embedding: identity of the embedding model; taken from the embedder when not set.
        fields: the types of metadata fields that are known before anything is written, in every namespace; the
            first write that has another field fixes its type in its namespace.
        text_fields: the metadata fields whose words ``search_text`` finds, joined in this order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dimension: int | None = Field(default=None, ge=1, le=20_000)
    metric: Metric = "cosine"
    embedding: str | None = None
    fields: Mapping[str, FieldType] = Field(default_factory=dict)
    text_fields: tuple[str, ...] = ("text",)


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What an index was made for; opening it with another dimension, metric or model is a ``SchemaMismatch``.

    ``fields`` and ``text_fields`` are what the configuration declares; see ``VectorConfig``.
    """

    dimension: int
    metric: Metric = "cosine"
    embedding: str | None = None
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    text_fields: tuple[str, ...] = ("text",)


@dataclass(frozen=True, slots=True)
class VectorItem:
    """A vector with its id and metadata.

    Args:
        id: 1 to 512 printable ASCII characters (Pinecone: record ids).
        values: the vector.
        metadata: str, bool, finite number or list of str per key; an empty list is the same as no key. Keys are
            non-empty and do not begin with ``$``. At most 40 960 bytes as compact JSON (Pinecone: metadata per record).
            A field has one type per namespace (``storycore.ports.field_types``).
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
        include_metadata: whether matches carry their metadata; without, it is empty.
        exact: refuse approximation.
        at_least: see everything up to this write, else ``StaleRead``.
        wait: how many seconds, at least 0, a read may be repeated until ``at_least`` is seen. Waiting is done once
            above the ports; an adapter looks once.
    """

    values: Vector | None = None
    id: str | None = None
    top_k: int = 10
    where: Filter | None = None
    min_score: float | None = None
    namespace: str = DEFAULT_NAMESPACE
    include_values: bool = False
    include_metadata: bool = True
    exact: bool = False
    at_least: WriteToken | None = None
    wait: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextQuery:
    """One search by words (feature ``vectors.text``).

    An item matches when its text has at least one of the words. Its score is BM25 with k1 = 1.2 and b = 0.75
    (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009): the sum over the distinct words of the
    query of ``idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / average length))`` with
    ``idf = max(ln((N - n + 0.5) / (n + 0.5)), 1e-6)``. N counts the items that have words, in all namespaces; n those
    of them with the word; lengths are in words. Within 1e-6 of the exact value, relative; scores are told apart by
    their first 12 digits.

    Args:
        text: what to look for; ``storycore.ports.words`` says what a word is. A text without words finds nothing.
        top_k: 1 to 10 000.
        where: only items whose metadata matches.
        namespace: one namespace; an unknown one is empty.
        at_least: see everything up to this write, else ``StaleRead``.
        wait: as in ``VectorQuery``.
    """

    text: str
    top_k: int = 10
    where: Filter | None = None
    namespace: str = DEFAULT_NAMESPACE
    at_least: WriteToken | None = None
    wait: float = 5.0


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """How a query would be answered now.

    Args:
        way: the strategy in one word, for example ``"exact"``.
        approximate: whether the answer may miss items that belong to it; never for ``exact=True``.
        candidates: how many items match namespace and filter, where the adapter knows.
        total: how many items the namespace holds, where the adapter knows.
        detail: what else is worth knowing, by name.
    """

    way: str
    approximate: bool
    candidates: int | None = None
    total: int | None = None
    detail: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """A found item.

    Args:
        score: higher is better on every metric: cosine in [-1, 1]; dot: the inner product; euclidean: the negated
            squared distance. Within 1e-5 of the exact value (relative for large ones). Of a ``TextQuery``: BM25.
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
class Updated:
    """How many items were changed (``None`` where the service does not tell), and the write's token."""

    count: int | None
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
