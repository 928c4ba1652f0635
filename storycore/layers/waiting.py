"""Waiting for a write to be seen: a read that came too early is asked again until its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import ClassVar, TypeVar

from storycore.errors import StaleRead
from storycore.layers.around import Operation
from storycore.layers.deadline import leaves_time
from storycore.ports.vectors import TextQuery, VectorQuery

__all__ = ["Waiting"]

T = TypeVar("T")

_SHORTEST = 0.010
_LONGEST = 0.250
_GROWTH = 1.6
_WAITS = ("query", "search_text")
"""The operations whose queries say how long they may wait."""


class Waiting:
    """Repeats searches that raise ``StaleRead`` until the ``wait`` of the queries is over, then lets it through.

    Pauses grow from 10 to 250 ms; the last one ends with the wait, so that there is always a look at its end. Queries
    of one call are answered together: of those that name a write, the shortest wait holds. There is no pause that
    would last beyond the caller's deadline. The layer stands outside retry and timeout, each of which sees single
    looks, and is put only around an index whose writes may be seen late, so that no other ever pauses.
    """

    slot: ClassVar[int] = 30

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        """Run an operation whose queries are not known; nothing is repeated."""
        return await proceed()

    def surround(self, operation: Operation, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """``call`` with waiting around it, where it is a search."""
        if operation.name not in _WAITS:
            return call

        @wraps(call)
        async def waited(queries: Sequence[VectorQuery | TextQuery]) -> T:
            seconds = min((query.wait for query in queries if query.at_least is not None), default=0.0)
            return await _repeated(lambda: call(queries), seconds)

        return waited


async def _repeated(look: Callable[[], Awaitable[T]], seconds: float) -> T:
    now = asyncio.get_running_loop().time
    end, pause = now() + seconds, _SHORTEST
    while True:
        try:
            return await look()
        except StaleRead:
            pause = min(pause, end - now())
            if pause <= 0 or not leaves_time(pause):
                raise
        await asyncio.sleep(pause)
        pause = min(pause * _GROWTH, _LONGEST)
