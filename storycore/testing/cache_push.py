"""What a cache promises that tells of changes: nothing that was read here is changed elsewhere unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import pytest

from storycore.errors import Unsupported
from storycore.ports.cache import Cache, Changed
from storycore.testing.cache_examples import KEYS, LEASE, TTL, fill, item, lease_of
from storycore.testing.harness import Harness

__all__ = ["CachePush"]

PUSH: Final = "cache.push"
_PATIENCE_SECONDS: Final = 10


class _Told:
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.counters: list[str] = []
        self.times_lost = 0
        self._more = asyncio.Event()

    def __call__(self, changed: Changed | None) -> None:
        if changed is None:
            self.times_lost += 1
        else:
            self.keys += changed.keys
            self.counters += changed.counters
        self._more.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was told fulfils a condition."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not condition():
                self._more.clear()
                await self._more.wait()


_CHANGES: Final[Mapping[str, Callable[[Cache], Awaitable[object]]]] = {
    "put": lambda other: other.put([item("p:k", b"new")]),
    "invalidate": lambda other: other.invalidate(["p:k"]),
    "touch": lambda other: other.touch(["p:k"], TTL * 2),
    "clear": lambda other: other.clear(),
    "clear a prefix": lambda other: other.clear("p:"),
}


class CachePush:
    """Tests with two clients of one place, one of which listens."""

    @pytest.mark.asyncio
    async def test_listening_is_unsupported_where_it_is_not_claimed(self, store: Cache) -> None:
        """``listen`` works where ``cache.push`` is claimed, and nowhere else."""
        if store.capabilities.has(PUSH):
            (await store.listen(_Told()))()
            return
        with pytest.raises(Unsupported) as caught:
            await store.listen(_Told())
        assert caught.value.feature == PUSH

    @pytest.mark.asyncio
    @pytest.mark.parametrize("how", sorted(_CHANGES))
    async def test_a_value_that_was_read_is_told_of_when_another_changes_it(self, harness: Harness, how: str) -> None:
        """Whichever call removes or replaces it; and again after the next read."""
        async with _pair(harness) as (store, other, told):
            for times in (1, 2):
                await other.put([item("p:k"), item("q")])
                assert await store.get(["p:k"]) == [b"v"]
                await _CHANGES[how](other)
                await told.until(lambda times=times: len(told.keys) >= times)  # type: ignore[misc]
            assert (told.keys, told.counters, told.times_lost) == (["p:k", "p:k"], [], 0)

    @pytest.mark.asyncio
    async def test_a_miss_is_told_of_when_another_fills_it(self, harness: Harness) -> None:
        """Nothing is an answer too, whether ``get`` gave it or ``acquire``."""
        async with _pair(harness) as (store, other, told):
            assert await store.get(["got"]) == [None]
            await fill(other, await lease_of(other, "got"))
            await told.until(lambda: "got" in told.keys)
            await other.put([item("hit")])
            await store.acquire(["hit"], lease=LEASE)
            await other.invalidate(["hit"])
            await told.until(lambda: "hit" in told.keys)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("how", ["put", "fill", "touch"])
    async def test_what_was_stored_here_is_told_of_when_another_changes_it(self, harness: Harness, how: str) -> None:
        """A copy of what was just stored may be kept without reading it back."""
        async with _pair(harness) as (store, other, told):
            if how == "fill":
                assert await fill(store, await lease_of(store, "k"))
            else:
                await store.put([item("k")])
            if how == "touch":
                await store.touch(["k"], TTL)
            told.keys.clear()
            await other.invalidate(["k"])
            await told.until(lambda: told.keys == ["k"])

    @pytest.mark.asyncio
    async def test_counters_are_told_of_apart_from_values(self, harness: Harness) -> None:
        """A counter and a value of one name are two things, whether the counter was read or bumped."""
        async with _pair(harness) as (store, other, told):
            await store.get(["same"])
            await store.counters(["same"])
            await other.bump(["same"])
            await told.until(lambda: told.counters == ["same"])
            await store.bump(["same"])
            await other.bump(["same"])
            await told.until(lambda: told.counters == ["same", "same"])
            assert told.keys == []

    @pytest.mark.asyncio
    async def test_keys_are_told_as_they_were_given(self, harness: Harness) -> None:
        """Any text."""
        async with _pair(harness) as (store, other, told):
            await store.get(list(KEYS))
            await store.counters(list(KEYS))
            await other.put([item(key) for key in KEYS])
            await other.bump(list(KEYS))
            await told.until(lambda: len(told.keys) + len(told.counters) >= 2 * len(KEYS))
            assert (sorted(KEYS), sorted(KEYS)) == (sorted(told.keys), sorted(told.counters))

    @pytest.mark.asyncio
    async def test_every_listener_is_told_until_it_ends(self, harness: Harness) -> None:
        """Two listeners hear the same; one that has ended hears nothing more, and may end again."""
        async with _pair(harness) as (store, other, told):
            second = _Told()
            end = await store.listen(second)
            await store.get(["k"])
            await other.put([item("k")])
            await told.until(lambda: told.keys == ["k"])
            assert second.keys == ["k"]
            end()
            end()
            await store.get(["k"])
            await other.put([item("k")])
            await told.until(lambda: told.keys == ["k", "k"])
            assert (second.keys, second.times_lost) == (["k"], 0)

    @pytest.mark.asyncio
    async def test_closing_says_that_nothing_is_known_any_more(self, harness: Harness) -> None:
        """Who keeps copies hears ``None`` once."""
        async with _pair(harness) as (store, _, told):
            await store.get(["k"])
            await store.close()
            assert told.times_lost == 1

    @pytest.mark.asyncio
    async def test_copies_that_heed_what_is_told_are_never_left_outdated(self, harness: Harness) -> None:
        """Whoever drops what is told, also while a read is under way, holds nothing old once all is told."""
        async with _pair(harness) as (store, other, told):
            copies = _Copies(store)
            await store.listen(copies)
            await store.get(["last"])
            reading = [asyncio.create_task(copies.read_on()) for _ in range(4)]
            for version in range(60):
                await other.put([item("k", b"%d" % version)])
                await asyncio.sleep(0)
            await other.put([item("last")])
            await told.until(lambda: "last" in told.keys)
            assert copies.kept in (None, b"59")
            copies.done = True
            await asyncio.gather(*reading)
            assert copies.kept == b"59"


class _Copies:
    """The smallest near tier: one copy, and a number that makes reads under way worthless."""

    def __init__(self, store: Cache) -> None:
        self.kept: bytes | None = None
        self.done = False
        self._store = store
        self._round = 0

    def __call__(self, changed: Changed | None) -> None:
        if changed is None or "k" in changed.keys:
            self._round += 1
            self.kept = None

    async def read_on(self) -> None:
        """Read, and keep what was read unless something was told meanwhile."""
        while True:
            last, began = self.done, self._round
            (found,) = await self._store.get(["k"])
            if began == self._round:
                self.kept = found
            if last:
                return


@asynccontextmanager
async def _pair(harness: Harness) -> AsyncIterator[tuple[Cache, Cache, _Told]]:
    """A client that listens, and another one; skipped where changes are not told."""
    harness.require(harness.make(), PUSH)
    store: Cache
    other: Cache
    async with await harness.started() as store, await harness.started() as other:
        told = _Told()
        await store.listen(told)
        yield store, other, told
