"""What every cache promises about leases: a late fill is harmless, and one loader is at work per key."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storycore.ports.cache import Acquired, Cache, Fill, Lease
from storycore.testing.cache_examples import HELD_ELSEWHERE, KEYS, LEASE, TTL, fill, item, lease_of
from storycore.testing.harness import Harness

__all__ = ["CacheLeases"]

_INSTANT = timedelta(microseconds=1)


class CacheLeases:
    """Tests of acquire, fill and release, one after the other."""

    @pytest.mark.asyncio
    async def test_acquire_finds_a_value_a_lease_or_neither(self, store: Cache) -> None:
        """A hit brings no lease; a miss brings one; a second miss brings nothing. Answers are in the keys' order."""
        await store.put([item("hit")])
        await lease_of(store, "held")
        held, hit, miss = await store.acquire(["held", "hit", "miss"], lease=LEASE)
        assert (HELD_ELSEWHERE, Acquired(value=b"v")) == (held, hit)
        assert miss.value is None
        assert miss.lease is not None
        assert miss.lease.key == "miss"

    @pytest.mark.asyncio
    async def test_an_empty_value_is_a_hit(self, store: Cache) -> None:
        """``b""`` is no miss."""
        await store.put([item("k", b"")])
        assert [Acquired(value=b"")] == await store.acquire(["k"], lease=LEASE)

    @pytest.mark.asyncio
    async def test_every_key_has_a_lease_of_its_own(self, store: Cache) -> None:
        """No key's lease is another's, and each fills its own key."""
        leases = [got.lease for got in await store.acquire(list(KEYS), lease=LEASE)]
        assert None not in leases
        fills = [Fill(lease, lease.key.encode(), TTL) for lease in leases if lease is not None]
        assert [True] * len(KEYS) == await store.fill(fills)
        assert [key.encode() for key in KEYS] == await store.get(list(KEYS))

    @pytest.mark.asyncio
    async def test_a_lease_fills_once(self, store: Cache) -> None:
        """The first fill is accepted, uses the lease up, and is seen by the next read."""
        lease = await lease_of(store, "k")
        assert await store.fill([Fill(lease, b"1", TTL), Fill(lease, b"2", TTL)]) == [True, False]
        assert not await fill(store, lease, b"3")
        assert await store.get(["k"]) == [b"1"]

    @pytest.mark.asyncio
    async def test_a_fill_without_a_living_lease_is_refused(self, store: Cache) -> None:
        """An invented token, another key's token and a taken lease's old token store nothing."""
        mine = await lease_of(store, "mine")
        other = await lease_of(store, "other")
        assert not await fill(store, Lease("mine", "invented"))
        assert not await fill(store, Lease("mine", other.token))
        assert not await fill(store, Lease("free", mine.token))
        assert await store.get(["mine", "other", "free"]) == [None, None, None]
        assert await fill(store, mine)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("how", ["invalidate", "put", "clear", "clear a prefix"])
    async def test_what_kills_a_lease_refuses_the_fill(self, store: Cache, how: str) -> None:
        """A value loaded before an invalidation, a put or a clear can never enter after it."""
        lease = await lease_of(store, "p:k")
        if how == "invalidate":
            assert await store.invalidate(["p:k"]) == 0
        elif how == "put":
            await store.put([item("p:k", b"newest")])
        else:
            await store.clear("p:" if how == "clear a prefix" else "")
        assert not await fill(store, lease, b"late")
        assert [b"newest" if how == "put" else None] == await store.get(["p:k"])

    @pytest.mark.asyncio
    async def test_after_an_invalidation_the_next_reader_gets_a_lease_at_once(self, store: Cache) -> None:
        """Nobody waits for a load whose value can no longer enter; the old lease does not disturb the new one."""
        old = await lease_of(store, "k")
        await store.invalidate(["k"])
        new = await lease_of(store, "k")
        assert old != new
        assert not await fill(store, old, b"old")
        await store.release([old])
        assert await store.acquire(["k"], lease=LEASE) == [HELD_ELSEWHERE]
        assert await fill(store, new, b"new")
        assert await store.get(["k"]) == [b"new"]

    @pytest.mark.asyncio
    async def test_invalidating_one_key_spares_the_leases_of_others(self, store: Cache) -> None:
        """Only the named key's lease dies, or those under the cleared prefix."""
        lease, under = await lease_of(store, "k"), await lease_of(store, "k:1")
        await store.invalidate(["k:"])
        await store.clear("k:1x")
        assert await store.fill([Fill(lease, b"1", TTL), Fill(under, b"2", TTL)]) == [True, True]

    @pytest.mark.asyncio
    async def test_a_lease_counts_as_never_taken_once_its_time_has_passed(self, harness: Harness, store: Cache) -> None:
        """A moment before, it keeps others off; from the instant on, it fills nothing, and the next reader gets one."""
        lease = await lease_of(store, "k")
        harness.clock.advance(LEASE - _INSTANT)
        assert await store.acquire(["k"], lease=LEASE) == [HELD_ELSEWHERE]
        harness.clock.advance(_INSTANT)
        assert not await fill(store, lease, b"late")
        new = await lease_of(store, "k")
        assert not await fill(store, lease, b"late")
        assert await fill(store, new, b"new")
        assert await store.get(["k"]) == [b"new"]

    @pytest.mark.asyncio
    async def test_a_fill_at_the_last_moment_is_accepted(self, harness: Harness, store: Cache) -> None:
        """A lease fills up to the instant at which it ends."""
        lease = await lease_of(store, "k")
        harness.clock.advance(LEASE - _INSTANT)
        assert await fill(store, lease)

    @pytest.mark.asyncio
    async def test_a_released_lease_is_free_at_once(self, store: Cache) -> None:
        """It fills nothing any more, the next reader gets one, and releasing it again harms nobody."""
        lease = await lease_of(store, "k")
        await store.release([lease])
        assert not await fill(store, lease)
        new = await lease_of(store, "k")
        await store.release([lease, Lease("k", "invented"), Lease("absent", "t")])
        assert await fill(store, new)

    @pytest.mark.asyncio
    async def test_a_refresh_takes_the_lease_while_the_value_stays(self, store: Cache) -> None:
        """The old value comes with the lease, is read by everybody until the fill, and then is the new one."""
        await store.put([item("k", b"old")])
        (got,) = await store.acquire(["k"], lease=LEASE, refresh=True)
        assert got.value == b"old"
        assert got.lease is not None
        assert [Acquired(value=b"old")] == await store.acquire(["k"], lease=LEASE)
        assert [Acquired(value=b"old")] == await store.acquire(["k"], lease=LEASE, refresh=True)
        assert await store.get(["k"]) == [b"old"]
        assert await fill(store, got.lease, b"new")
        assert await store.get(["k"]) == [b"new"]

    @pytest.mark.asyncio
    async def test_a_refresh_of_nothing_is_a_miss(self, store: Cache) -> None:
        """With ``refresh`` a missing key gives a lease, and then nothing to the next."""
        await lease_of(store, "k", refresh=True)
        assert await store.acquire(["k"], lease=LEASE, refresh=True) == [HELD_ELSEWHERE]

    @pytest.mark.asyncio
    async def test_an_invalidation_kills_a_refresh_under_way(self, store: Cache) -> None:
        """Neither the old value nor the refreshed one is there afterwards."""
        await store.put([item("k", b"old")])
        lease = await lease_of(store, "k", refresh=True)
        assert await store.invalidate(["k"]) == 1
        assert not await fill(store, lease, b"late")
        assert await store.get(["k"]) == [None]

    @pytest.mark.asyncio
    async def test_a_hit_takes_no_lease(self, store: Cache) -> None:
        """After any number of hits the lease is free for a refresh."""
        await store.put([item("k")])
        await store.acquire(["k"], lease=LEASE)
        await store.get(["k"])
        await lease_of(store, "k", refresh=True)

    @pytest.mark.asyncio
    async def test_a_lease_outlives_the_value_it_refreshes(self, harness: Harness, store: Cache) -> None:
        """When the old value expires during the refresh, others wait, and the fill is accepted."""
        await store.put([item("k", b"old", timedelta(seconds=1))])
        lease = await lease_of(store, "k", refresh=True)
        harness.clock.advance(timedelta(seconds=1))
        assert await store.acquire(["k"], lease=LEASE) == [HELD_ELSEWHERE]
        assert await fill(store, lease, b"new")
        assert await store.get(["k"]) == [b"new"]
