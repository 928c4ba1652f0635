"""Ids in ascending order behind an id, from a service that pages by tokens of its own."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Final, NamedTuple

from storycore.errors import InvalidArgument
from storycore.ports.vectors import IdPage
from storycore_pinecone._calls import Calls, unless_missing
from storycore_pinecone._client import OneIndex, space_of

__all__ = ["Listing"]

_PAGE: Final = 100
"""Ids of one page (Pinecone: "List record IDs")."""
_REMEMBERED: Final = 1_024


class _Place(NamedTuple):
    """Where a walk stopped: behind the last id that it gave."""

    namespace: str
    prefix: str
    id: str


class Listing:
    """Walks through the ids of a namespace, which the service lists in bitwise order.

    Where a walk stopped, the token of the page is remembered for a while, so that going on from there costs one
    request. A place that is not remembered, or whose token has expired, is found by walking from the start.
    """

    def __init__(self, index: OneIndex, calls: Calls) -> None:
        self._index = index
        self._calls = calls
        self._tokens: OrderedDict[_Place, str] = OrderedDict()

    async def page(self, namespace: str, *, prefix: str, after: str | None, limit: int) -> IdPage:
        """At most ``limit`` ids that begin with ``prefix``, ascending, behind ``after``."""
        return await self._from(namespace, prefix, after, limit)

    async def rest(self, namespace: str, *, after: str | None) -> IdPage:
        """The ids behind ``after`` that a page of the service holds: from 1 to 100, unless nothing is left."""
        return await self._from(namespace, "", after, None)

    async def _from(self, namespace: str, prefix: str, after: str | None, limit: int | None) -> IdPage:
        place = _Place(namespace, prefix, after or "")
        if (token := self._tokens.get(place)) is not None:
            try:
                return await self._walk(namespace, prefix, after, limit, token)
            except InvalidArgument:  # the token has expired
                self._tokens.pop(place, None)
        return await self._walk(namespace, prefix, after, limit, None)

    def stopped_within(self, namespace: str, *, begun_after: str | None, id_: str) -> None:
        """Remember that a walk without prefix stopped at an id of the page that began behind another."""
        if begun_after is not None and (token := self._tokens.get(_Place(namespace, "", begun_after))) is not None:
            self._remember(_Place(namespace, "", id_), token)

    async def _walk(
        self, namespace: str, prefix: str, after: str | None, limit: int | None, token: str | None
    ) -> IdPage:
        ids: list[str] = []
        while True:
            here = token
            found, token = await self._fetched(namespace, prefix, here)
            ids += [id_ for id_ in found if after is None or id_ > after]
            if limit is not None and len(ids) > limit:
                return self._stopped(_Place(namespace, prefix, ids[limit - 1]), ids[:limit], here)
            if token is None:
                return IdPage(ids)
            if len(ids) == limit or (limit is None and ids):
                return self._stopped(_Place(namespace, prefix, ids[-1]), ids, token)

    async def _fetched(self, namespace: str, prefix: str, token: str | None) -> tuple[list[str], str | None]:
        request = partial(
            self._index.list_paginated,
            prefix=prefix or None,
            limit=_PAGE,
            pagination_token=token,
            namespace=space_of(namespace),
        )
        page = await self._calls.send(unless_missing(request))
        if page is None:
            return [], None
        ids = [each.id for each in page.vectors if each.id is not None]
        return ids, (page.pagination.next or None) if page.pagination is not None else None

    def _stopped(self, place: _Place, ids: list[str], token: str | None) -> IdPage:
        """The page that ends here; the token leads to where the next one begins, or a little before."""
        if token is not None:
            self._remember(place, token)
        return IdPage(ids, place.id)

    def _remember(self, place: _Place, token: str) -> None:
        self._tokens[place] = token
        self._tokens.move_to_end(place)
        if len(self._tokens) > _REMEMBERED:
            self._tokens.popitem(last=False)
