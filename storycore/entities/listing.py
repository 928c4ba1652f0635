"""Listings: one access pattern of a repository, in pages that are exact in length and in telling what is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from pydantic import BaseModel

from storycore.entities.cursors import QueryIdentity
from storycore.entities.patterns import Bounds, Pattern
from storycore.entities.reading import Read, Source, Walk, projected
from storycore.errors import InvalidArgument
from storycore.filters import as_filter
from storycore.ports.entities import Position, QueryPlan, RecordPage
from storycore.ports.filters import Filter
from storycore.ports.pages import Cursor, Page, Pages

__all__ = ["Listing"]

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)

_LONGEST_PAGE = 1000


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
            cursor: of the page before, from a call with the same other arguments; ``None``: the first page.
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
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _LONGEST_PAGE:
            raise InvalidArgument(f"A page has 1 to {_LONGEST_PAGE} instances, not {limit!r}.")
        bounds = Bounds(low, high, prefix)
        walk = self._walk(bounds, parts, reverse=reverse, where=as_filter(where), consistent=consistent)
        return await walk.page(limit, None if cursor is None else Cursor(cursor))

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
    ) -> Pages[M]:
        """The whole listing, read page by page as it is walked; arguments and errors as for ``page``."""
        bounds = Bounds(low, high, prefix)
        walk = self._walk(bounds, parts, reverse=reverse, where=as_filter(where), consistent=consistent)
        return walk.pages()

    def _walk(
        self, bounds: Bounds, parts: dict[str, object], *, reverse: bool, where: Filter | None, consistent: bool
    ) -> Walk[M]:
        partition = self._pattern.partition(parts)
        low, high = self._pattern.span(parts, bounds)
        identity = QueryIdentity(
            kind=self._source.entity.kind,
            index=self._pattern.name,
            partition=partition,
            low=low,
            high=high,
            reverse=reverse,
            where=where,
        )
        return Walk(self._source, identity, self._pattern.slot, self._reader(identity, consistent)).checked()

    def _reader(self, query: QueryIdentity, consistent: bool) -> Read:
        source, slot = self._source, self._pattern.slot

        async def read(after: Position | None, limit: int) -> RecordPage:
            return await source.store.query(
                QueryPlan(
                    pk=query.partition,
                    slot=slot,
                    low=query.low,
                    high=query.high,
                    reverse=query.reverse,
                    limit=limit,
                    after=after,
                    consistent=consistent,
                    bodies=source.bodies,
                )
            )

        return read
