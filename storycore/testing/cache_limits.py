"""What every cache refuses, before anything is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storycore.errors import InvalidArgument, InvalidKey, TooLarge
from storycore.ports.cache import MAX_VALUE_BYTES, Cache, CacheItem, Fill, KeyPage, Lease
from storycore.testing.cache_examples import BAD_KEYS, BAD_TTLS, LEASE, TTL, item, lease_of

__all__ = ["CacheLimits"]


def _calls_with_key(store: Cache, key: Any) -> list[Callable[[], Awaitable[object]]]:  # keys of any type
    return [
        lambda: store.get(["good", key]),
        lambda: store.acquire(["good", key], lease=LEASE),
        lambda: store.fill([Fill(Lease(key, "token"), b"v", TTL)]),
        lambda: store.release([Lease(key, "token")]),
        lambda: store.put([item("good"), item(key)]),
        lambda: store.invalidate(["good", key]),
        lambda: store.touch(["good", key], TTL),
        lambda: store.counters(["good", key]),
        lambda: store.bump(["good", key]),
    ]


class CacheLimits:
    """One step past each limit."""

    @pytest.mark.asyncio
    async def test_a_bad_key_is_refused_by_every_operation(self, store: Cache) -> None:
        """Empty, over 1024 bytes, half a surrogate pair or no text at all is an ``InvalidKey``; nothing is written."""
        for key in BAD_KEYS:
            for call in _calls_with_key(store, key):
                with pytest.raises(InvalidKey):
                    await call()
        assert KeyPage([]) == await store.keys()

    @pytest.mark.asyncio
    async def test_a_bad_prefix_is_refused(self, store: Cache) -> None:
        """A prefix may be empty, and else is as a key."""
        for prefix in BAD_KEYS[1:]:
            for call in (store.keys, store.clear):
                with pytest.raises(InvalidKey):
                    await call(prefix)  # type: ignore[arg-type]  # the point of the test

    @pytest.mark.asyncio
    async def test_a_bad_ttl_is_refused(self, store: Cache) -> None:
        """A ttl or lease is 1 ms to 3653 days."""
        lease = await lease_of(store, "leased")
        for ttl in BAD_TTLS:
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda ttl=ttl: store.put([CacheItem("k", b"v", ttl)]),  # type: ignore[misc]
                lambda ttl=ttl: store.fill([Fill(lease, b"v", ttl)]),  # type: ignore[misc]
                lambda ttl=ttl: store.touch(["k"], ttl),  # type: ignore[misc]
                lambda ttl=ttl: store.acquire(["k"], lease=ttl),  # type: ignore[misc]
            ]
            for call in calls:
                with pytest.raises(InvalidArgument):
                    await call()
        assert await store.fill([Fill(lease, b"v", TTL)]) == [True]

    @pytest.mark.asyncio
    async def test_a_key_given_twice_is_refused_where_it_has_no_meaning(self, store: Cache) -> None:
        """In ``acquire`` and ``put`` each key stands once."""
        with pytest.raises(InvalidArgument):
            await store.acquire(["k", "other", "k"], lease=LEASE)
        with pytest.raises(InvalidArgument):
            await store.put([item("k", b"1"), item("k", b"2")])
        assert await store.get(["k"]) == [None]
        await lease_of(store, "k")

    @pytest.mark.asyncio
    async def test_a_value_over_the_limit_is_too_large(self, store: Cache) -> None:
        """8 MiB and a byte: the error names limit and size, and the lease is not used up."""
        lease = await lease_of(store, "k")
        value = bytes(MAX_VALUE_BYTES + 1)
        for call in (lambda: store.put([item("k", value)]), lambda: store.fill([Fill(lease, value, TTL)])):
            with pytest.raises(TooLarge) as caught:
                await call()
            assert (caught.value.limit, caught.value.actual) == (MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1)
        assert await store.fill([Fill(lease, b"v", TTL)]) == [True]

    @pytest.mark.asyncio
    async def test_a_value_that_is_not_bytes_is_refused(self, store: Cache) -> None:
        """Text, ``None`` and mutable buffers are an ``InvalidArgument``."""
        for value in ("text", None, 1, bytearray(b"x"), memoryview(b"x")):
            with pytest.raises(InvalidArgument):
                await store.put([CacheItem("k", value, TTL)])  # type: ignore[arg-type]  # the point of the test

    @pytest.mark.asyncio
    async def test_a_bad_page_limit_is_refused(self, store: Cache) -> None:
        """1 to 1000 keys a page."""
        for limit in (0, -1, 1001):
            with pytest.raises(InvalidArgument):
                await store.keys(limit=limit)
        assert KeyPage([]) == await store.keys(limit=1000)

    @pytest.mark.asyncio
    async def test_a_text_in_place_of_keys_is_refused(self, store: Cache) -> None:
        """A single text would otherwise be taken for its letters."""
        with pytest.raises(InvalidArgument):
            await store.get("abc")
        with pytest.raises(InvalidArgument):
            await store.invalidate("abc")
