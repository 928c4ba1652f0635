"""The VectorIndex port: vectors with metadata, exact filters, one meaning of score on every adapter.

Dimension, finiteness, ids and metadata are checked once above the adapter (``storycore.layers.checks``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from storycore.ports.filters import Filter
from storycore.ports.lifecycle import Port
from storycore.ports.vector_records import (
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
    "VectorIndex",
    "VectorItem",
    "VectorPage",
    "VectorQuery",
    "VectorStats",
    "WriteToken",
]


class VectorIndex(Port, Protocol):
    """Vectors with metadata in namespaces.

    Promised by every adapter:

    - A query returns ``min(top_k, matching items)`` results, best first; equal scores are ordered by id.
    - Filters are two-valued and exact: ``not f`` matches precisely what ``f`` does not, also on missing fields.
    - A query sees every write whose token it names; local adapters see every write that returned before.
    - One upsert, update or delete call is all or nothing where the capability ``vectors.atomic`` is native. Elsewhere
      an upsert of which a part could not be written is a ``PartialFailure`` that names the failed positions.
    - Writers take turns, however many items a call changes. One that has waited too long for another process is
      ``Unavailable``, and has written nothing.
    - The first write that has a metadata field fixes its type in its namespace; a write with another type is a
      ``SchemaConflict`` and writes nothing. ``delete(all=True)`` forgets the types, other deletes keep them. Where
      the capability ``vectors.field_types`` is simulated, two processes that write a new field with different types
      at the same moment may both succeed.
    - Closing and opening again keeps everything where durability is ``disk``.
    - An index that was made for another dimension, metric or model is ``SchemaMismatch`` when it is opened;
      ``ensure()`` leaves it as it is, and names it in ``differences``.

    Features that an adapter may claim: ``vectors.exact`` (``exact=True`` is answered, and ties at the end of a result
    go by id), ``vectors.at_least`` (tokens are honoured), ``vectors.atomic``, ``vectors.field_types``,
    ``vectors.delete_count`` (deletes and updates by filter tell how many items they touched), ``vectors.text``
    (``search_text``) and ``vectors.explain``.
    """

    @property
    def spec(self) -> IndexSpec:
        """What this index was made for. Never raises."""
        ...

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = DEFAULT_NAMESPACE) -> Upserted:
        """Replace or add whole items; of equal ids in one call the last wins. An empty call writes nothing.

        Raises:
            SchemaConflict: a metadata field has another type in this namespace, or two in this call.
            PartialFailure: some items could not be written (never where ``vectors.atomic`` is native).
        """
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
            SchemaConflict: a field has another type in this namespace.
        """
        ...

    async def update_where(
        self,
        where: Filter,
        *,
        set: Metadata | None = None,  # noqa: A002
        unset: Sequence[str] = (),
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Updated:
        """Merge ``set`` into the metadata of all matching items and remove the keys of ``unset``.

        With ``dry_run`` nothing is written, the token stands for the last write, and ``count`` is always a number: how
        many items match now. A rehearsal is refused where the call itself would be: with ``SchemaConflict`` on every
        adapter, with ``TooLarge`` where ``vectors.atomic`` is native.

        Raises:
            SchemaConflict: a field has another type in this namespace, whether or not anything matches; nothing is
                written.
            TooLarge: the merged metadata of an item has more than 40 960 bytes; nothing is written where
                ``vectors.atomic`` is native.
        """
        ...

    async def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        where: Filter | None = None,
        all: bool = False,  # noqa: A002
        namespace: str = DEFAULT_NAMESPACE,
        dry_run: bool = False,
    ) -> Deleted:
        """Remove items by exactly one of ``ids`` (unknown ones are passed over), ``where`` or ``all``.

        With ``dry_run`` nothing is removed, the token stands for the last write, and ``count`` is always a number: how
        many items would go now.
        """
        ...

    async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        """Search; one list of matches per query, in order.

        Raises:
            NotFound: a query names an ``id`` that is not stored.
            StaleRead: a query names a write that is not seen yet.
        """
        ...

    async def search_text(self, queries: Sequence[TextQuery]) -> list[list[Match]]:
        """Search by words; one list of matches per query, in order, without their vectors.

        Matches come best first, equal scores by id: ``min(top_k, matching items)`` of them.

        Raises:
            Unsupported: ``vectors.text`` is not claimed.
            StaleRead: a query names a write that is not seen yet.
        """
        ...

    async def explain(self, query: VectorQuery) -> QueryPlan:
        """How ``query`` would be answered now.

        Raises:
            Unsupported: ``vectors.explain`` is not claimed.
            NotFound: the query names an ``id`` that is not stored.
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

    async def optimize(self, *, dry_run: bool = False) -> Optimized:
        """Compact and retrain whatever has become wasteful; results do not change.

        A ``dry_run`` tells what would go, and changes nothing.
        """
        ...
