"""What every cache promises about values: they come back whole, until they expire or are removed."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

import pytest

from storycore.ports.cache import Cache, KeyPage
from storycore.testing.cache_examples import KEYS, LEASE, TTL, VALUES, fill, item, lease_of
from storycore.testing.harness import Harness

__all__ = ["CacheValues"]

_INSTANT = timedelta(microseconds=1)

EXPIRED_LOOKS: Final[Mapping[str, Callable[[Cache, str], tuple[Awaitable[object], object]]]] = {
    "get": lambda store, key: (store.get([key]), [None]),
    "keys": lambda store, key: (store.keys(), KeyPage([])),
    "touch": lambda store, key: (store.touch([key], TTL), [False]),
    "invalidate": lambda store, key: (store.invalidate([key]), 0),
    "clear": lambda store, key: (store.clear(), 0),
    "acquire": lambda store, key: (_has_lease(store, key), True),
}
"""Each looks at an expired key in its own way, and what it finds."""


async def _has_lease(store: Cache, key: str) -> bool:
    (got,) = await store.acquire([key], lease=LEASE)
    return got.value is None and got.lease is not None


class CacheValues:
    """Tests of get, put, touch, invalidate, keys and clear."""

    @pytest.mark.asyncio
    async def test_values_come_back_byte_for_byte(self, store: Cache) -> None:
        """Any bytes under any valid key come back as they were put, and no key means another."""
        wanted = {key: VALUES[i % len(VALUES)] + str(i).encode() for i, key in enumerate(KEYS)}
        await store.put([item(key, value) for key, value in wanted.items()])
        assert list(wanted.values()) == await store.get(list(wanted))

    @pytest.mark.asyncio
    @pytest.mark.parametrize("value", VALUES)
    async def test_a_value_may_be_any_bytes(self, store: Cache, value: bytes) -> None:
        """Empty and binary values are values, not misses."""
        await store.put([item("k", value)])
        assert [value] == await store.get(["k"])

    @pytest.mark.asyncio
    async def test_get_keeps_the_order_of_its_keys(self, store: Cache) -> None:
        """Answers are in the order of the keys, which may repeat; a missing one is ``None``."""
        await store.put([item("a", b"1"), item("b", b"2")])
        assert await store.get(["b", "x", "a", "b"]) == [b"2", None, b"1", b"2"]

    @pytest.mark.asyncio
    async def test_empty_calls_do_nothing(self, store: Cache) -> None:
        """Every operation takes an empty sequence."""
        assert await store.get([]) == []
        assert await store.acquire([], lease=LEASE) == []
        assert await store.fill([]) == []
        assert await store.touch([], TTL) == []
        assert await store.counters([]) == []
        assert await store.bump([]) == []
        assert await store.invalidate([]) == 0
        await store.release([])
        await store.put([])

    @pytest.mark.asyncio
    async def test_many_keys_in_one_call(self, store: Cache) -> None:
        """A call may hold more keys than any batch of a vendor."""
        names = [f"k{i:04}" for i in range(1200)]
        await store.put([item(name, name.encode()) for name in names])
        assert [name.encode() for name in names] == await store.get(names)
        assert await store.invalidate(names) == 1200

    @pytest.mark.asyncio
    async def test_the_last_put_wins(self, store: Cache) -> None:
        """A put replaces value and ttl."""
        await store.put([item("k", b"old" * 20_000)])
        await store.put([item("k", b"new")])
        assert await store.get(["k"]) == [b"new"]

    @pytest.mark.asyncio
    async def test_a_value_is_there_up_to_the_instant_its_ttl_has_passed(self, harness: Harness, store: Cache) -> None:
        """A moment before its end it is read, whether it was put or filled."""
        await store.put([item("put")])
        assert await fill(store, await lease_of(store, "filled"))
        harness.clock.advance(TTL - _INSTANT)
        assert await store.get(["put", "filled"]) == [b"v", b"v"]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("look", EXPIRED_LOOKS)
    async def test_an_expired_value_is_absent_for_every_operation(
        self, harness: Harness, store: Cache, look: str
    ) -> None:
        """From the instant on, whichever operation looks first finds nothing."""
        await store.put([item("put")])
        assert await fill(store, await lease_of(store, "filled"))
        harness.clock.advance(TTL)
        for key in ("put", "filled"):
            absent, expected = EXPIRED_LOOKS[look](store, key)
            assert await absent == expected
        assert await store.get(["put", "filled"]) == [None, None]

    @pytest.mark.asyncio
    async def test_each_value_has_its_own_ttl(self, harness: Harness, store: Cache) -> None:
        """From one millisecond to ten years; a later put with a longer ttl extends the life."""
        await store.put([item("short", ttl=timedelta(milliseconds=1)), item("long", ttl=timedelta(days=3653))])
        await store.put([item("extended", ttl=timedelta(seconds=1))])
        await store.put([item("extended", b"2", ttl=timedelta(days=1))])
        harness.clock.advance(timedelta(hours=1))
        assert await store.get(["short", "long", "extended"]) == [None, b"v", b"2"]

    @pytest.mark.asyncio
    async def test_touch_gives_a_new_ttl_from_now(self, harness: Harness, store: Cache) -> None:
        """A touched value lives the new ttl from the touch on, longer or shorter; nothing else changes."""
        await store.put([item("longer"), item("shorter"), item("same")])
        harness.clock.advance(TTL / 2)
        assert await store.touch(["longer", "absent"], TTL) == [True, False]
        assert await store.touch(["shorter", "shorter"], timedelta(seconds=1)) == [True, True]
        harness.clock.advance(timedelta(seconds=1))
        assert await store.get(["longer", "shorter", "same"]) == [b"v", None, b"v"]
        harness.clock.advance(TTL - timedelta(seconds=1) - _INSTANT)
        assert await store.get(["longer", "same"]) == [b"v", None]

    @pytest.mark.asyncio
    async def test_touch_does_not_disturb_a_lease(self, store: Cache) -> None:
        """A refresh under way can still fill."""
        await store.put([item("k", b"old")])
        lease = await lease_of(store, "k", refresh=True)
        assert await store.touch(["k"], TTL) == [True]
        assert await fill(store, lease, b"new")

    @pytest.mark.asyncio
    async def test_invalidate_counts_live_values(self, store: Cache) -> None:
        """It returns how many keys held a live value, each once, and only those keys are gone."""
        await store.put([item("a"), item("b"), item("c")])
        assert await store.invalidate(["a", "b", "a", "absent"]) == 2
        assert await store.invalidate(["a"]) == 0
        assert await store.get(["a", "b", "c"]) == [None, None, b"v"]

    @pytest.mark.asyncio
    async def test_keys_are_listed_in_order(self, store: Cache) -> None:
        """Ascending by UTF-8 bytes, beginning with the prefix, which is no pattern."""
        await store.put([item(key) for key in KEYS])
        everything = sorted(KEYS, key=str.encode)
        assert KeyPage(everything) == await store.keys()
        for prefix in ("a", "%", "_", "a*", "\u00e9", "k" * 1024, "none"):
            wanted = [key for key in everything if key.startswith(prefix)]
            assert KeyPage(wanted) == await store.keys(prefix), prefix

    @pytest.mark.asyncio
    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
    async def test_pages_of_keys_join_without_gap(self, store: Cache, limit: int) -> None:
        """Every key once; ``next`` is ``None`` exactly on the last page, and ``after`` need not exist."""
        names = [f"p:{i}" for i in range(6)]
        await store.put([item(name) for name in [*names, "q"]])
        found: list[str] = []
        after: str | None = None
        for _ in itertools.count():
            page = await store.keys("p:", after=after, limit=limit)
            assert 1 <= len(page.keys) <= limit
            found += page.keys
            if page.next is None:
                break
            assert page.next == found[-1]
            after = page.next
        assert names == found
        assert KeyPage(["p:3", "p:4", "p:5"]) == await store.keys("p:", after="p:2x")
        assert KeyPage([]) == await store.keys("p:", after="p:5")

    @pytest.mark.asyncio
    async def test_clear_removes_what_begins_with_the_prefix(self, store: Cache) -> None:
        """It returns how many values went; other keys and the counters stay."""
        (before,) = await store.counters(["a:1"])
        await store.put([item("a:1"), item("a:2"), item("a%"), item("b")])
        assert await store.clear("a:") == 2
        assert KeyPage(["a%", "b"]) == await store.keys()
        assert await store.clear("a:") == 0
        assert await store.clear() == 2
        assert KeyPage([]) == await store.keys()
        assert [before] == await store.counters(["a:1"])

    @pytest.mark.asyncio
    async def test_a_value_of_the_largest_size_is_kept(self, store: Cache) -> None:
        """8 MiB come back whole."""
        largest = bytes(range(256)) * (8 * 1024 * 4)
        await store.put([item("k", largest)])
        (found,) = await store.get(["k"])
        assert found == largest
