"""Races inside one process: whichever call comes first, what was invalidated does not come back."""

from __future__ import annotations

import asyncio

import pytest

from storycore.ports.cache import Cache
from storycore.testing.cache_examples import LEASE, fill, item, lease_of
from storycore.testing.cache_reader import Source, read_through

__all__ = ["CacheRaces"]

_ROUNDS = 25


class CacheRaces:
    """Tests that run calls at the same time."""

    @pytest.mark.asyncio
    async def test_of_many_readers_one_gets_the_lease(self, store: Cache) -> None:
        """At most one live lease per key."""
        for i in range(5):
            answers = await asyncio.gather(*(store.acquire([f"k{i}"], lease=LEASE) for _ in range(20)))
            assert sum(got.lease is not None for (got,) in answers) == 1

    @pytest.mark.asyncio
    async def test_of_two_fills_under_one_lease_one_is_accepted(self, store: Cache) -> None:
        """The accepted value is the one that is read."""
        for i in range(_ROUNDS):
            lease = await lease_of(store, f"k{i}")
            accepted = await asyncio.gather(fill(store, lease, b"0"), fill(store, lease, b"1"))
            assert sorted(accepted) == [False, True]
            assert [str(accepted.index(True)).encode()] == await store.get([f"k{i}"])

    @pytest.mark.asyncio
    async def test_a_fill_that_races_an_invalidation_leaves_nothing(self, store: Cache) -> None:
        """Accepted before it or refused after it, the value is gone when both have returned."""
        for i in range(_ROUNDS):
            lease = await lease_of(store, f"k{i}")
            calls = [fill(store, lease, b"late"), store.invalidate([f"k{i}"])]
            await asyncio.gather(*(calls if i % 2 else reversed(calls)))
            assert await store.get([f"k{i}"]) == [None]

    @pytest.mark.asyncio
    async def test_a_fill_that_races_a_put_loses(self, store: Cache) -> None:
        """When both have returned, the put value is there."""
        for i in range(_ROUNDS):
            lease = await lease_of(store, f"k{i}")
            calls = [fill(store, lease, b"late"), store.put([item(f"k{i}", b"newest")])]
            await asyncio.gather(*(calls if i % 2 else reversed(calls)))
            assert await store.get([f"k{i}"]) == [b"newest"]

    @pytest.mark.asyncio
    async def test_a_fill_that_races_a_clear_leaves_nothing(self, store: Cache) -> None:
        """As for an invalidation of the key itself."""
        for i in range(_ROUNDS):
            lease = await lease_of(store, f"p{i}:k")
            await asyncio.gather(fill(store, lease, b"late"), store.clear(f"p{i}:"))
            assert await store.get([f"p{i}:k"]) == [None]

    @pytest.mark.asyncio
    async def test_no_reader_sees_a_value_older_than_a_returned_invalidation(self, store: Cache) -> None:
        """Readers that load through the cache while a writer changes the source and invalidates."""
        source = Source()

        async def write() -> None:
            for _ in range(40):
                source.version += 1
                await asyncio.sleep(0)
                await store.invalidate(["k"])
                source.floor = source.version
                await asyncio.sleep(0)
            source.done = True

        async def read() -> None:
            while not source.done:
                floor = source.floor
                assert await read_through(store, "k", source.load) >= floor
                await asyncio.sleep(0)

        await asyncio.gather(write(), *(read() for _ in range(6)))
        assert await read_through(store, "k", source.load) == 40
