"""What every cache promises about counters, on which tags are built."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from storycore.ports.cache import Cache
from storycore.testing.cache_examples import KEYS, item, lease_of
from storycore.testing.harness import Harness

__all__ = ["CacheCounters"]


class CacheCounters:
    """Tests of counters and bump."""

    @pytest.mark.asyncio
    async def test_a_new_counter_starts_at_random_and_stays(self, store: Cache) -> None:
        """In 1..2**62, different counters at different numbers, the same at every read until bumped."""
        names = [f"c{i}" for i in range(50)]
        first = await store.counters(names)
        assert all(1 <= number <= 2**62 for number in first)
        assert len(set(first)) == len(names), "counters that start at one number come back to an earlier value"
        assert first == await store.counters(names)

    @pytest.mark.asyncio
    async def test_a_bump_adds_one(self, store: Cache) -> None:
        """It returns the new values in the order of the names; a name that repeats is bumped each time."""
        a, b = await store.counters(["a", "b"])
        assert [b + 1, a + 1, b + 2] == await store.bump(["b", "a", "b"])
        assert [a + 1, b + 2, a + 1] == await store.counters(["a", "b", "a"])

    @pytest.mark.asyncio
    async def test_a_bump_of_a_missing_counter_starts_it(self, store: Cache) -> None:
        """Its first value is random too, never 1."""
        (number,) = await store.bump(["new"])
        assert 1000 < number <= 2**62 + 1
        assert [number] == await store.counters(["new"])

    @pytest.mark.asyncio
    async def test_counters_have_a_space_of_names_of_their_own(self, store: Cache) -> None:
        """No value or lease is touched by a counter of the same name, nor the other way round."""
        first = await store.counters(list(KEYS))
        assert [None] * len(KEYS) == await store.get(list(KEYS))
        assert list((await store.keys()).keys) == []
        await store.put([item("a")])
        await lease_of(store, "b")
        await store.bump(["a", "b"])
        assert await store.get(["a"]) == [b"v"]
        await store.invalidate(list(KEYS))
        await store.clear()
        assert first[1:] == (await store.counters(list(KEYS)))[1:]
        assert [first[0] + 1] == await store.counters(["a"])

    @pytest.mark.asyncio
    async def test_counters_do_not_expire(self, harness: Harness, store: Cache) -> None:
        """Years later they are the same."""
        first = await store.counters(["c"])
        harness.clock.advance(timedelta(days=5000))
        await store.put([item(f"k{i}") for i in range(50)])
        assert first == await store.counters(["c"])

    @pytest.mark.asyncio
    async def test_concurrent_bumps_are_all_counted(self, store: Cache) -> None:
        """Each of many bumps at once gets a number of its own."""
        (first,) = await store.counters(["c"])
        numbers = [number for (number,) in await asyncio.gather(*(store.bump(["c"]) for _ in range(40)))]
        assert [first + 1 + i for i in range(40)] == sorted(numbers)

    @pytest.mark.asyncio
    async def test_concurrent_first_reads_agree(self, store: Cache) -> None:
        """A counter has one random start, whoever asks first."""
        found = await asyncio.gather(*(store.counters(["c"]) for _ in range(20)))
        assert len({number for (number,) in found}) == 1
