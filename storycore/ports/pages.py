"""Listings: a page of results, and the async iterator that walks pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NewType, TypeVar

__all__ = ["Cursor", "Page", "Pages"]

T = TypeVar("T")

Cursor = NewType("Cursor", str)
"""Where a listing stopped: opaque, signed, bound to its query, and good on any adapter that holds the same data."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a listing.

    Args:
        items: the results, in the listing's order.
        cursor: where the next page starts; ``None`` exactly when nothing is left. (Behind a page that ``previous`` led
            to, there was something when the page was read from which it led; it may have gone since.)
        previous: leads to the page before this one, which ends in front of this one's first item; ``None`` where
            nothing is before, as on a page that was read without a cursor.
        partial: reading stopped at the bound that the caller set: the page may be shorter than asked for, even empty,
            and its cursor may find nothing.
    """

    items: Sequence[T]
    cursor: Cursor | None = None
    previous: Cursor | None = None
    partial: bool = False

    def __len__(self) -> int:
        return len(self.items)


class Pages(Generic[T]):
    """A listing that has not been read yet: iterate over it for items, or over ``pages()`` for pages.

    Args:
        fetch: reads the page that starts at a cursor (``None``: the first).
    """

    __slots__ = ("_fetch",)

    def __init__(self, fetch: Callable[[Cursor | None], Awaitable[Page[T]]]) -> None:
        self._fetch = fetch

    async def pages(self, *, after: Cursor | None = None) -> AsyncIterator[Page[T]]:
        """The pages, beginning behind ``after``."""
        cursor = after
        while True:
            page = await self._fetch(cursor)
            yield page
            if page.cursor is None:
                return
            cursor = page.cursor

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def to_list(self) -> list[T]:
        """All items; holds them in memory, so use it where the listing is known to be short."""
        return [item async for item in self]
