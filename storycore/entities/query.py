"""Queries: what is asked of a listing, said step by step; nothing is read until somebody wants a result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel

from storycore.entities.cursors import QueryIdentity
from storycore.entities.explanations import Explanation, explain_query
from storycore.entities.patterns import Bounds, Pattern
from storycore.entities.reading import Source, as_records, projected
from storycore.entities.shards import reader
from storycore.entities.walks import LONGEST_PAGE, Walk
from storycore.errors import InvalidArgument, NotFound
from storycore.filters import as_filter
from storycore.ports.entities import QueryPlan, Record
from storycore.ports.filters import Filter
from storycore.ports.pages import Cursor, Page, Pages

__all__ = ["Asked", "Query"]

R = TypeVar("R")
P = TypeVar("P", bound=BaseModel)

_PAGE = 20
_ITERATION_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for so far.

    Args:
        parts: values of key parts by name.
        bounds: limits on the first part of the sort key that has no value.
        where: only instances that match.
        reverse: descending order.
        consistent: see every write that returned before.
        limit: at most so many instances.
    """

    parts: Mapping[str, object] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)
    where: Filter | None = None
    reverse: bool = False
    consistent: bool = False
    limit: int | None = None


class Query(Pages[R], Generic[R]):
    """Some instances of a listing, in its order: ``stories.query("by_user", user_id="u1").where(F.views > 9)``.

    Iterate over it, or ask for a page, the first, the only one, or how many there are. Each step gives a new query and
    leaves the old one as it is, so one query may be kept, shared and refined.

    Args:
        source: gives the results.
        pattern: the access pattern that is walked.
        asked: which instances.

    Raises:
        InvalidArgument: parts or bounds do not fit the pattern.
        InvalidFilter: the filter names a field that no result has.
    """

    __slots__ = ("_asked", "_pattern", "_plans", "_source", "_walk")

    def __init__(self, source: Source[R], pattern: Pattern, asked: Asked) -> None:
        self._source = source
        self._pattern = pattern
        self._asked = asked
        partition = pattern.partition(asked.parts)
        low, high = pattern.span(asked.parts, asked.bounds)
        self._plans = _plans(source, pattern, asked, low, high)
        identity = QueryIdentity(
            kind=source.kind,
            index=pattern.name,
            partition=partition,
            low=low,
            high=high,
            reverse=asked.reverse,
            where=asked.where,
            order=pattern.order,
        )
        self._walk = Walk(source, identity, pattern.slot, reader(source.store, self._plans)).checked()
        super().__init__(partial(self._walk.page, _ITERATION_PAGE))

    def where(self, where: Filter | Mapping[str, object], /) -> Self:
        """Only instances that match, in either form of the filter language; and all filters before this one.

        The filter is evaluated here, so that a rare match reads much.

        Raises:
            InvalidFilter: it cannot be read, or names an unknown field.
        """
        given, before = as_filter(where), self._asked.where
        if given is None:
            return self
        return self._with(where=given if before is None else as_filter(before & given))

    def reverse(self) -> Self:
        """The same instances in the opposite order."""
        return self._with(reverse=not self._asked.reverse)

    def limit(self, count: int, /) -> Self:
        """At most ``count`` instances, counted from where reading begins; of a page, its length.

        Raises:
            InvalidArgument: ``count`` is not a whole number from 1 on.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InvalidArgument(f"A limit is 1 or more, of a page 1 to {LONGEST_PAGE}, not {count!r}.")
        return self._with(limit=count)

    def project(self, model: type[P]) -> Query[P]:
        """The same instances as summaries, which are read from promoted fields without the body.

        Raises:
            InvalidArgument: a field of ``model`` is not promoted.
            InvalidFilter: the filter asks for a field that ``model`` lacks.
        """
        return Query(projected(self._source, model), self._pattern, self._asked)

    def records(self, *, bodies: bool = True) -> Query[Record]:
        """The same as records, which nothing has validated or upgraded; for tools, and where every microsecond counts.

        Raises:
            InvalidFilter: there is a filter, which needs instances.
        """
        return Query(as_records(self._source, bodies=bodies), self._pattern, self._asked)

    async def page(self, cursor: Cursor | str | None = None, *, max_read: int | None = None) -> Page[R]:
        """One page: exactly as many instances as the limit says (20 without one), or all that are left.

        Args:
            cursor: of a page of the same query: its ``cursor`` leads on, its ``previous`` back; ``None``: the first
                page.
            max_read: stop after so many records, matching or not; the page is then ``partial``.

        Raises:
            InvalidArgument: the limit is above 1000.
            InvalidCursor: the cursor was altered or belongs to another query.
            Corrupt, SchemaMismatch: a record cannot be read.
        """
        length = _PAGE if self._asked.limit is None else self._asked.limit
        return await self._walk.page(length, None if cursor is None else Cursor(cursor), max_read=max_read)

    async def pages(self, *, after: Cursor | None = None) -> AsyncIterator[Page[R]]:
        """The pages behind ``after``, up to the limit."""
        async for page in self._pages(after, _ITERATION_PAGE):
            yield page

    async def _pages(self, after: Cursor | None, length: int) -> AsyncIterator[Page[R]]:
        left, cursor = self._asked.limit, after
        while True:
            page = await self._walk.page(length if left is None else min(left, LONGEST_PAGE), cursor)
            yield page
            left = None if left is None else left - len(page)
            if page.cursor is None or left == 0:
                return
            cursor = page.cursor

    async def first(self) -> R | None:
        """The first instance, or ``None``."""
        found = await self._with(limit=1).page()
        return found.items[0] if found.items else None

    async def one(self) -> R:
        """The only instance.

        Raises:
            NotFound: there is none.
            InvalidArgument: there are several, so the query was not precise enough.
        """
        found = await self._with(limit=min(2, self._asked.limit or 2)).page()
        if not found.items:
            raise NotFound(f"No {self._source.kind} is listed by {self._pattern.name or 'the key'} as asked.")
        if len(found.items) > 1:
            raise InvalidArgument(f"More than one {self._source.kind} is listed as asked; say more, or use first().")
        return found.items[0]

    async def count(self) -> int:
        """How many there are. Reads them all, without bodies where no filter needs them; a counter costs less."""
        needs_bodies = self._asked.where is not None
        counted: Query[Any] = self if needs_bodies else self.records(bodies=False)
        total = 0
        async for page in counted._pages(None, _ITERATION_PAGE if needs_bodies else LONGEST_PAGE):
            total += len(page)
        return total

    async def explain(
        self, *, item_bytes: int = 1024, matches: float | None = None, native: bool = True
    ) -> Explanation:
        """What a page of this query does and costs; reads no records.

        Args:
            item_bytes: how large a record is, on average.
            matches: which share of the records that are read passes the filter, above 0 and up to 1; by default all
                of them. Given without a filter, one that will be there is meant.
            native: open the store and ask for its own account too, where it gives one.

        Raises:
            InvalidArgument: an assumption is out of range.
        """
        return await explain_query(
            self._source,
            self._pattern,
            self._plans,
            limit=_PAGE if self._asked.limit is None else self._asked.limit,
            is_filtered=self._asked.where is not None or matches is not None,
            item_bytes=item_bytes,
            matches=1.0 if matches is None else matches,
            native=native,
        )

    def _with(self, **changes: Any) -> Self:  # fields of Asked
        return type(self)(self._source, self._pattern, replace(self._asked, **changes))


def _plans(source: Source[Any], pattern: Pattern, asked: Asked, low: str | None, high: str | None) -> list[QueryPlan]:
    """What is asked of the store: one plan, or one for each shard."""
    if asked.consistent and pattern.slot is not None:
        raise InvalidArgument("An index may lag and cannot be read consistently; leave out consistent=True.")
    return [
        QueryPlan(
            pk=pk,
            slot=pattern.slot,
            low=low,
            high=high,
            reverse=asked.reverse,
            consistent=asked.consistent,
            bodies=source.bodies,
        )
        for pk in pattern.shards_of(asked.parts)
    ]
