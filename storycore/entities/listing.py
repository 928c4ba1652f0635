"""Listings: the access patterns of a repository, by name; each makes queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from pydantic import BaseModel

from storycore.entities.patterns import Bounds, Pattern
from storycore.entities.query import Asked, Query
from storycore.entities.reading import Source, projected
from storycore.filters import as_filter
from storycore.ports.filters import Filter
from storycore.ports.pages import Cursor, Page

__all__ = ["Listing"]

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)


class Listing(Generic[M]):
    """One access pattern of a repository: ``repository.by_user``.

    Values of key parts are given by name: all of the partition, and any leading ones of the sort key. ``low``
    (inclusive) and ``high`` (exclusive), or ``prefix`` for text and dates, bound the first part that is not given.
    """

    __slots__ = ("_pattern", "_source")

    def __init__(self, source: Source[M], pattern: Pattern) -> None:
        self._source = source
        self._pattern = pattern

    def project(self, model: type[P]) -> Listing[P]:
        """The same listing as summaries, which are read from promoted fields without the body.

        Raises:
            InvalidArgument: a field of ``model`` is not promoted.
        """
        return Listing(projected(self._source, model), self._pattern)

    async def page(
        self,
        *,
        limit: int = 20,
        cursor: Cursor | str | None = None,
        max_read: int | None = None,
        reverse: bool = False,
        low: object = None,
        high: object = None,
        prefix: str | None = None,
        where: Filter | Mapping[str, object] | None = None,
        consistent: bool = False,
        **parts: object,
    ) -> Page[M]:
        """One page: exactly ``limit`` instances, or all that are left; the cursor is ``None`` when none are.

        Args:
            limit: 1 to 1000.
            cursor: of a page from a call with the same other arguments: its ``cursor`` leads on, its ``previous``
                back; ``None``: the first page.
            max_read: stop after so many records, matching or not; the page is then ``partial``.
            reverse: descending order.
            where: only matching instances, in either form of the filter language; evaluated here, so that a rare
                match reads much.
            consistent: see every write that returned before; refused on an index.

        Raises:
            InvalidArgument: parts or bounds do not fit the pattern, or the limit is out of range.
            InvalidCursor: the cursor was altered or belongs to another query.
            InvalidFilter: ``where`` names an unknown field.
            Corrupt, SchemaMismatch: a record cannot be read.
        """
        asked = Asked(
            parts=parts,
            bounds=Bounds(low, high, prefix),
            where=as_filter(where),
            reverse=reverse,
            consistent=consistent,
            limit=limit,
        )
        return await Query(self._source, self._pattern, asked).page(cursor, max_read=max_read)

    def iterate(
        self,
        *,
        reverse: bool = False,
        low: object = None,
        high: object = None,
        prefix: str | None = None,
        where: Filter | Mapping[str, object] | None = None,
        consistent: bool = False,
        **parts: object,
    ) -> Query[M]:
        """The listing as a query: read as it is walked, or refined; arguments and errors as for ``page``."""
        asked = Asked(
            parts=parts,
            bounds=Bounds(low, high, prefix),
            where=as_filter(where),
            reverse=reverse,
            consistent=consistent,
        )
        return Query(self._source, self._pattern, asked)
