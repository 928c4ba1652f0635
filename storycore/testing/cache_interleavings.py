"""An invalidation at every point of a load: before it, after the lease, after the source was read, after the fill."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import pytest

from storycore.ports.cache import Cache
from storycore.testing.cache_examples import LEASE, fill, item
from storycore.testing.harness import Harness

__all__ = ["CacheInterleavings"]

_POINTS: Final = ("before the lease", "before the source is read", "before the fill", "after the fill")

_INVALIDATIONS: Final[Mapping[str, Callable[[Cache, str], Awaitable[object]]]] = {
    "invalidate": lambda store, key: store.invalidate([key]),
    "invalidate among others": lambda store, key: store.invalidate(["other", key]),
    "clear": lambda store, key: store.clear(),
    "clear a prefix": lambda store, key: store.clear(key[:2]),
    "put": lambda store, key: store.put([item(key, b"new")]),
}


class CacheInterleavings:
    """Tests that run a load step by step, and an invalidation between two steps, here or by another client."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("how", sorted(_INVALIDATIONS))
    @pytest.mark.parametrize("is_refresh", [False, True], ids=["a miss", "a refresh"])
    async def test_an_invalidation_at_any_point_of_a_load_wins(
        self, harness: Harness, how: str, is_refresh: bool
    ) -> None:
        """Nothing that was read from the source before it is there after it, and the key can be loaded anew."""
        async with _clients(harness) as (reader, writer):
            for number, point in enumerate(_POINTS):
                key = f"{number}:k"
                if is_refresh:
                    await reader.put([item(key, b"old")])
                left = await _load(reader, key, point, is_refresh, lambda key=key: _INVALIDATIONS[how](writer, key))  # type: ignore[misc]
                assert await reader.get([key]) == [left], f"{how} {point}"
                assert await writer.get([key]) == [left], f"{how} {point}"
                (again,) = await writer.acquire([key], lease=LEASE, refresh=True)
                assert again.lease is not None, f"{how} {point}: the key cannot be loaded anew"
                assert await fill(writer, again.lease, b"newest")
                assert await reader.get([key]) == [b"newest"]


async def _load(
    store: Cache, key: str, point: str, is_refresh: bool, invalidate: Callable[[], Awaitable[object]]
) -> bytes | None:
    """Load through the cache, with an invalidation at one point; what the cache may hold afterwards."""
    source = b"old"

    async def at(here: str) -> None:
        nonlocal source
        if here == point:
            source = b"new"
            await invalidate()

    await at(_POINTS[0])
    (got,) = await store.acquire([key], lease=LEASE, refresh=is_refresh)
    await at(_POINTS[1])
    found = source
    await at(_POINTS[2])
    accepted = got.lease is not None and await fill(store, got.lease, found)
    await at(_POINTS[3])
    if point == _POINTS[0]:
        return found if accepted else b"new"
    assert accepted == (point == _POINTS[3]), f"a fill was {'accepted' if accepted else 'refused'} {point}"
    (left,) = await store.get([key])
    assert left in (None, b"new")
    return left


@asynccontextmanager
async def _clients(harness: Harness) -> AsyncIterator[tuple[Cache, Cache]]:
    """A reader and a writer, which are two clients where several may have the place open."""
    reader: Cache = await harness.started()
    writer: Cache = await harness.started() if reader.capabilities.guarantees.multi_process else reader
    try:
        yield reader, writer
    finally:
        await reader.close()
        if writer is not reader:
            await writer.close()
