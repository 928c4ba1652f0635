"""A reader that loads through a cache as the port's protocol says; and what it reads from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from storycore.ports.cache import Cache, Fill
from storycore.testing.cache_examples import LEASE, TTL

__all__ = ["Source", "read_through"]


@dataclass
class Source:
    """A number that a writer raises.

    Args:
        version: the present number.
        floor: the last number whose invalidation has returned.
        done: the writer has ended.
    """

    version: int = 0
    floor: int = 0
    done: bool = False

    async def load(self) -> int:
        """The number as it was when the load began; loading takes a while."""
        found = self.version
        for _ in range(3):
            await asyncio.sleep(0)
        return found


async def read_through(store: Cache, key: str, load: Callable[[], Awaitable[int]]) -> int:
    """The cached number, or the loaded one, filled under a lease."""
    while True:
        (got,) = await store.acquire([key], lease=LEASE)
        if got.value is not None:
            return int(got.value)
        if got.lease is not None:
            number = await load()
            await store.fill([Fill(got.lease, str(number).encode(), TTL)])
            return number
        await asyncio.sleep(0)
