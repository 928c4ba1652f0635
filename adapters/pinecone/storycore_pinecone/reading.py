"""Items by id, in pages, and those that match a filter, also where the service finds none by filter itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Final

from storycore.errors import InvalidArgument, NotProvisioned, Unsupported
from storycore.ports.filters import Filter, evaluate
from storycore.ports.vectors import IdPage, VectorItem, VectorPage
from storycore_pinecone._calls import Calls, all_of, unless_missing
from storycore_pinecone._client import OneIndex, space_of
from storycore_pinecone._wire import item_of, lines_of_ids
from storycore_pinecone.listing import Listing

__all__ = ["LACKING", "Reading"]

LACKING: Final = (InvalidArgument, NotProvisioned, Unsupported)
"""What a service answers that lacks an operation, or refuses it on this kind of index."""
_PAGE: Final = 100


class Reading:
    """Reads items of one index."""

    def __init__(self, index: OneIndex, calls: Calls, *, dimension: int) -> None:
        self._dimension = dimension
        self._index = index
        self._calls = calls
        self._listing = Listing(index, calls)

    async def fetch(self, ids: Sequence[str], namespace: str) -> list[VectorItem | None]:
        """Items in the order of ``ids``; ``None`` where there is none."""
        found = await self._items(ids, namespace)
        return [found.get(id_) for id_ in ids]

    async def ids(self, namespace: str, *, prefix: str, after: str | None, limit: int) -> IdPage:
        """Ids that begin with ``prefix``, ascending, behind ``after``."""
        return await self._listing.page(namespace, prefix=prefix, after=after, limit=limit)

    async def scan(self, namespace: str, *, after: str | None, limit: int, where: Filter | None) -> VectorPage:
        """Items ascending by id, behind ``after``; as many pages are read as it takes to find ``limit`` that match."""
        items: list[VectorItem] = []
        at: str | None = after
        while True:
            if where is None:
                page = await self.ids(namespace, prefix="", after=at, limit=limit)
            else:
                page = await self._listing.rest(namespace, after=at)
            stored = await self.fetch(page.ids, namespace)
            items += [each for each in stored if each is not None and (where is None or evaluate(where, each.metadata))]
            if len(items) > limit:
                self._listing.stopped_within(namespace, begun_after=at, id_=items[limit - 1].id)
                return VectorPage(items[:limit], items[limit - 1].id)
            if page.next is None:
                return VectorPage(items)
            if len(items) == limit:
                return VectorPage(items, page.next)
            at = page.next

    async def matching(self, namespace: str, where: Filter, form: Mapping[str, object]) -> list[str]:
        """The ids of all items that match, found by the service, or where it cannot, by reading everything.

        Args:
            namespace: where to look.
            where: the filter.
            form: the same in the service's words.
        """
        try:
            return [id_ async for id_ in self._found(namespace, form)]
        except LACKING:
            return [item.id async for item in self._all(namespace, where)]

    async def _found(self, namespace: str, form: Mapping[str, object]) -> AsyncIterator[str]:
        token: str | None = None
        while True:
            request = partial(
                self._index.fetch_by_metadata,
                filter=form,
                namespace=space_of(namespace),
                limit=_PAGE,
                pagination_token=token,
            )
            page = await self._calls.send(request)
            for id_ in page.vectors:
                yield id_
            token = page.pagination.next if page.pagination is not None else None
            if not token:
                return

    async def _all(self, namespace: str, where: Filter) -> AsyncIterator[VectorItem]:
        after: str | None = None
        while True:
            page = await self.scan(namespace, after=after, limit=_PAGE, where=where)
            for item in page.items:
                yield item
            if page.next is None:
                return
            after = page.next

    async def _items(self, ids: Sequence[str], namespace: str) -> dict[str, VectorItem]:
        found: dict[str, VectorItem] = {}

        async def add(line: list[str]) -> None:
            request = partial(self._index.fetch, ids=line, namespace=space_of(namespace))
            answer = await self._calls.send(unless_missing(request))
            for id_, record in (answer.vectors if answer else {}).items():
                found[id_] = item_of(record)
            await asyncio.sleep(0)

        await all_of([partial(add, line) for line in lines_of_ids(dict.fromkeys(ids), self._dimension)])
        return found
