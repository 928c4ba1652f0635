"""Waiting until reads show what this index has written, before an item is read to be stored changed."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from storycore.errors import StaleRead
from storycore.ports.vectors import IndexSpec
from storycore_pinecone._calls import Calls, unless_missing
from storycore_pinecone._client import OneIndex, space_of
from storycore_pinecone.positions import Positions

__all__ = ["Freshness"]

_PATIENCE_SECONDS: Final = 5.0
_SHORTEST_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.25


class Freshness:
    """Looks how far reads of a namespace are behind this index's own writes, which only a query tells.

    Args:
        index: the client.
        calls: sends requests.
        positions: of the writes.
        spec: the dimension.
    """

    def __init__(self, index: OneIndex, calls: Calls, positions: Positions, spec: IndexSpec) -> None:
        self._index = index
        self._calls = calls
        self._positions = positions
        self._any = [1.0] + [0.0] * (spec.dimension - 1)

    async def reached(self, namespace: str) -> None:
        """Wait until reads show the last write that this index made; at once where the service tells no places.

        Raises:
            StaleRead: they do not show it in 5 seconds.
        """
        now = asyncio.get_running_loop().time
        end, pause = now() + _PATIENCE_SECONDS, _SHORTEST_PAUSE_SECONDS
        while self._positions.is_known(namespace):
            try:
                await self._look(namespace)
                break
            except StaleRead:
                if now() + pause > end:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _look(self, namespace: str) -> None:
        request = partial(self._index.query, top_k=1, vector=self._any, namespace=space_of(namespace))
        answer = await self._calls.send(unless_missing(request))
        if answer is not None and answer.response_info is not None:
            seen = answer.response_info.lsn_reconciled
            self._positions.require(self._positions.last(namespace), namespace, seen, place=self._calls.place)
