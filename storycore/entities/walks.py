"""Walks: one listing in pages that are exact in length and in telling what is left, forward and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from pydantic import BaseModel

from storycore.entities.cursors import Bookmark, QueryIdentity
from storycore.entities.filtering import check_filter, matches
from storycore.entities.reading import Source
from storycore.errors import InvalidArgument, InvalidFilter
from storycore.ports.entities import Position, Record, RecordPage
from storycore.ports.pages import Cursor, Page, Pages

__all__ = ["LONGEST_PAGE", "Read", "Walk", "first_read_length"]

R = TypeVar("R")

LONGEST_PAGE = 1000
"""The most instances of a page, and the most records that a store gives at once."""

_SHORTEST_FILTERED_READ = 100
_ITERATION_PAGE = 100

Read: TypeAlias = Callable[[Position | None, int], Awaitable[RecordPage]]
"""Reads at most so many records behind a position."""


@dataclass(slots=True)
class _Found(Generic[R]):
    """What was gathered in one direction.

    Args:
        items: the results.
        places: where each of them is.
        rest: where to go on; ``None`` when nothing is left.
        is_partial: reading stopped at the caller's bound.
    """

    items: list[R] = field(default_factory=list)
    places: list[Position] = field(default_factory=list)
    rest: Position | None = None
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Walk(Generic[R]):
    """One listing, with everything that stays the same from page to page.

    Args:
        source: gives the results.
        identity: what a cursor is bound to.
        slot: of the index that is walked, if it is one.
        reader: makes what reads the records of one page, descending or not.
        has_order: whether it can be walked back.
    """

    source: Source[R]
    identity: QueryIdentity
    slot: int | None
    reader: Callable[[bool], Read]
    has_order: bool = True

    def checked(self) -> Walk[R]:
        """The same walk, if its filter fits the results' models; else ``InvalidFilter``."""
        if self.identity.where is not None:
            if not self.source.models:
                raise InvalidFilter("Records are not filtered, for that needs instances; leave records() out.")
            check_filter(self.identity.where, *self.source.models)
        return self

    def pages(self) -> Pages[R]:
        """The whole listing, read as it is walked."""
        return Pages(lambda cursor: self.page(_ITERATION_PAGE, cursor))

    async def page(self, limit: int, cursor: Cursor | None = None, *, max_read: int | None = None) -> Page[R]:
        """The page behind a cursor, or before one that a page gave as ``previous``.

        Args:
            limit: 1 to 1000.
            max_read: stop after so many records, and give what was found.
        """
        _check_count(limit, LONGEST_PAGE, "A page has", "instances")
        if max_read is not None:
            _check_count(max_read, None, "max_read is", "records")
        mark = None if cursor is None else self.source.seal.open(self.identity, cursor)
        if mark is not None and mark.before:
            return await self._page_before(limit, mark.position, max_read)
        return await self._page_behind(limit, None if mark is None else mark.position, max_read)

    async def _page_behind(self, limit: int, start: Position | None, max_read: int | None) -> Page[R]:
        found = await self._gather(limit, start, max_read, reverse=self.identity.reverse)
        previous = None
        if start is not None and self.has_order:
            previous = self._cursor(Bookmark(found.places[0] if found.places else found.rest, before=True))
        rest = None if found.rest is None else self._cursor(Bookmark(found.rest))
        return Page(found.items, rest, previous, found.is_partial)

    async def _page_before(self, limit: int, end: Position | None, max_read: int | None) -> Page[R]:
        """The page that ends in front of ``end``, or is the last one; the first one where nothing is before."""
        found = await self._gather(limit, end, max_read, reverse=not self.identity.reverse)
        if not found.items and found.rest is None:
            return await self._page_behind(limit, None, max_read)
        previous = None if found.rest is None else self._cursor(Bookmark(found.rest, before=True))
        is_last = end is None and bool(found.items)
        rest = None if is_last else self._cursor(Bookmark(found.places[0] if found.places else found.rest))
        return Page(found.items[::-1], rest, previous, found.is_partial)

    async def _gather(self, limit: int, after: Position | None, max_read: int | None, *, reverse: bool) -> _Found[R]:
        """Read until one more than ``limit`` has been seen, nothing is left, or ``max_read`` records were read."""
        read, left = self.reader(reverse), max_read
        found: _Found[R] = _Found()
        while True:
            length = self._read_length(limit + 1 - len(found.items))
            page = await read(after, length if left is None else min(length, left))
            for record, item in await self._accepted(page.records):
                if len(found.items) == limit:
                    found.rest = found.places[-1]
                    return found
                found.items.append(item)
                found.places.append(self._place(record))
            after = page.next
            left = None if left is None else left - len(page.records)
            if after is None or left == 0:
                found.rest, found.is_partial = after, after is not None
                return found

    def _read_length(self, wanted: int) -> int:
        return min(LONGEST_PAGE, wanted if self.identity.where is None else first_read_length(wanted))

    async def _accepted(self, records: Sequence[Record]) -> list[tuple[Record, R]]:
        own = [record for record in records if record.kind in self.source.entities]
        decoded = await self.source.decode(own)
        return [(r, item) for r, item in zip(own, decoded, strict=True) if item is not None and self._is_wanted(item)]

    def _is_wanted(self, item: R) -> bool:
        where = self.identity.where
        return where is None or (isinstance(item, BaseModel) and matches(where, item))

    def _place(self, record: Record) -> Position:
        return Position(record.key, None if self.slot is None else record.index_keys[self.slot])

    def _cursor(self, mark: Bookmark) -> Cursor:
        return self.source.seal.seal(self.identity, mark)


def first_read_length(wanted: int) -> int:
    """How many records a filtered page reads at first, in the hope of finding so many that match."""
    return max(wanted, _SHORTEST_FILTERED_READ)


def _check_count(count: object, most: int | None, subject: str, unit: str) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1 or (most is not None and count > most):
        limits = "1 or more" if most is None else f"1 to {most}"
        raise InvalidArgument(f"{subject} {limits} {unit}, not {count!r}.")
