"""Queries: what is asked in one request or in two, and what the service's numbers mean."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

from pinecone import QueryResponse, ScoredVector

from storycore.errors import InvalidArgument, NotFound
from storycore.ports.vectors import IndexSpec, Match, Vector, VectorQuery
from storycore_pinecone._calls import Calls, unless_missing
from storycore_pinecone._client import OneIndex, space_of
from storycore_pinecone._wire import ANSWER_BYTES, NUMBER_BYTES, metadata_of
from storycore_pinecone.filters import Compiled, Constant
from storycore_pinecone.positions import Positions
from storycore_pinecone.reading import Reading

__all__ = ["Searching"]

_TOGETHER: Final = 1_000
"""Up to so many matches are asked for with values and metadata."""
_APART: Final = 1e-3
_TURN_NUMBERS: Final = 50_000
"""Of vectors that are turned into others before other tasks get a turn."""


class Searching:
    """Answers queries of one index.

    Args:
        index: the client.
        calls: sends requests.
        reading: fetches the items that a query names or that its answer was too small for.
        spec: dimension and metric.
    """

    def __init__(self, index: OneIndex, calls: Calls, reading: Reading, spec: IndexSpec) -> None:
        self._index = index
        self._calls = calls
        self._reading = reading
        self._spec = spec
        self._is_squared: bool | None = None

    async def target(self, query: VectorQuery) -> Vector:
        """The vector that a query compares with.

        Raises:
            NotFound: the query names an item that is not stored.
            StaleRead: nor has the index seen the write that the query names.
        """
        if query.values is not None:
            return query.values
        assert query.id is not None, "the checks above the port see to it that a query has values or an id"
        [item] = await self._reading.fetch([query.id], query.namespace)
        if item is None:
            if query.at_least is not None:
                self._require_seen(query, await self._asked(query, [1.0] * self._spec.dimension, None, top_k=1))
            raise NotFound(f"There is no item {query.id!r} in namespace {query.namespace!r}.")
        return item.values

    async def answer(self, query: VectorQuery, where: Compiled | None) -> list[Match]:
        """The matches of a query, best first, equal scores by id."""
        target = await self.target(query)
        if where is Constant.NEVER:
            return []
        filter_ = None if isinstance(where, Constant) else where
        found = await self._found(query, target, filter_)
        self._learn(target, found)
        matches = [self._match(query, target, each) async for each in self._in_turns(found)]
        good = [match for match in matches if query.min_score is None or match.score >= query.min_score]
        return sorted(good, key=lambda match: (-match.score, match.id))

    async def _found(
        self, query: VectorQuery, target: Vector, filter_: dict[str, object] | None
    ) -> Sequence[ScoredVector]:
        """What the service finds, with what the query wants to have of it."""
        values = query.include_values or self._must_learn
        together = query.top_k <= _TOGETHER and (not values or self._fits(query.top_k))
        if together or not (values or query.include_metadata):
            try:
                answer = await self._asked(
                    query, target.tolist(), filter_, values=values, metadata=query.include_metadata
                )
            except InvalidArgument:
                if not (values or query.include_metadata):
                    raise  # it was not for its size
            else:
                self._require_seen(query, answer)
                return answer.matches
        answer = await self._asked(query, target.tolist(), filter_)
        self._require_seen(query, answer)
        return await self._completed(query, answer.matches)

    async def _completed(self, query: VectorQuery, found: Sequence[ScoredVector]) -> list[ScoredVector]:
        """The matches with values and metadata, in a second step; one that is gone by then is no match."""
        items = await self._reading.fetch([each.id for each in found], query.namespace)
        stored = {item.id: item for item in items if item is not None}
        return [
            ScoredVector(
                id=each.id,
                score=each.score,
                values=stored[each.id].values.tolist(),
                metadata=dict(stored[each.id].metadata),
            )
            async for each in self._in_turns(found)
            if each.id in stored
        ]

    async def _in_turns(self, found: Sequence[ScoredVector]) -> AsyncIterator[ScoredVector]:
        """The same, while other tasks get their turn."""
        together = max(1, _TURN_NUMBERS // self._spec.dimension)
        for place, each in enumerate(found):
            if place % together == together - 1:
                await asyncio.sleep(0)
            yield each

    async def _asked(
        self,
        query: VectorQuery,
        target: Sequence[float],
        filter_: dict[str, object] | None,
        *,
        values: bool = False,
        metadata: bool = False,
        top_k: int | None = None,
    ) -> QueryResponse:
        request = partial(
            self._index.query,
            top_k=top_k or query.top_k,
            vector=target,
            namespace=space_of(query.namespace),
            filter=filter_,
            include_values=values,
            include_metadata=metadata,
        )
        return await self._calls.send(unless_missing(request)) or QueryResponse()

    def _require_seen(self, query: VectorQuery, answer: QueryResponse) -> None:
        seen = answer.response_info.lsn_reconciled if answer.response_info is not None else None
        Positions.require(query.at_least, query.namespace, seen, place=self._calls.place)

    def _fits(self, top_k: int) -> bool:
        return top_k * self._spec.dimension * NUMBER_BYTES <= ANSWER_BYTES

    @property
    def _must_learn(self) -> bool:
        return self._spec.metric == "euclidean" and self._is_squared is None

    def _learn(self, target: Vector, found: Sequence[ScoredVector]) -> None:
        """Find out from a match whose vector is at hand whether the service gives distances or their squares."""
        for each in found if self._must_learn else ():
            squared = _squared_distance(target, each.values)
            distance = math.sqrt(squared)
            if abs(squared - distance) > _APART * max(1.0, squared):
                self._is_squared = abs(each.score - squared) < abs(each.score - distance)
                return

    def _match(self, query: VectorQuery, target: Vector, found: ScoredVector) -> Match:
        metadata = metadata_of(found.metadata) if query.include_metadata else {}
        values = array("f", found.values) if query.include_values else None
        return Match(found.id, self._score(target, found), metadata, query.namespace, values)

    def _score(self, target: Vector, found: ScoredVector) -> float:
        if self._spec.metric == "cosine":
            return max(-1.0, min(1.0, found.score))
        if self._spec.metric == "dot":
            return found.score
        if self._is_squared is None:
            return -_squared_distance(target, found.values)
        return -found.score if self._is_squared else -(found.score**2)


def _squared_distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))
