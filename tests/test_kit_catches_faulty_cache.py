"""The Cache suite catches caches that break one promise each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from storycore.memory.cache import MemoryCache
from storycore.memory.config import MemoryCacheConfig
from storycore.plugins import Adapter
from storycore.ports.cache import Acquired, CacheItem, Fill, KeyPage, Lease
from storycore.ports.lifecycle import PortName
from storycore.testing.cache import CacheSuite
from storycore.testing.cache_machine import machine_for
from storycore.testing.harness import Harness
from storycore.testing.verdicts import verdict


class Faulty(MemoryCache):
    """The reference; each class below breaks one promise."""


class FillsWithoutLooking(Faulty):
    """What most caches do: set whatever was loaded."""

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        await self.put([CacheItem(fill.lease.key, fill.value, fill.ttl) for fill in fills])
        return [True] * len(fills)


class InvalidateKeepsLeases(Faulty):
    def _invalidate(self, key: str) -> bool:
        held = self._live(key) is not None
        self._drop(key)
        return held


class PutKeepsLeases(Faulty):
    async def put(self, items: Sequence[CacheItem]) -> None:
        leases = dict(self._leases)
        await super().put(items)
        self._leases = leases


class ClearKeepsLeasesWithoutValue(Faulty):
    async def clear(self, prefix: str = "") -> int:
        return await self.invalidate([key for key in self._values if key.startswith(prefix)])


class LeasesNeverEnd(Faulty):
    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        return await super().acquire(keys, lease=timedelta(days=3000), refresh=refresh)


class LeasesAreNotExclusive(Faulty):
    def _acquire(self, key: str, lease: timedelta, refresh: bool) -> Acquired:
        self._leases.pop(key, None)
        return super()._acquire(key, lease, refresh)


class LeasesAreReusable(Faulty):
    def _fill(self, fill: Fill) -> bool:
        held = self._leases.get(fill.lease.key)
        accepted = super()._fill(fill)
        if accepted and held is not None:
            self._leases[fill.lease.key] = held
        return accepted


class TokensAreNotCompared(Faulty):
    def _holds(self, lease: Lease) -> bool:
        held = self._leases.get(lease.key)
        return held is not None and held.until > self._env.clock.now()


class ReleaseFreesAnybodysLease(Faulty):
    async def release(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._leases.pop(lease.key, None)


class RefreshHidesTheValue(Faulty):
    def _acquire(self, key: str, lease: timedelta, refresh: bool) -> Acquired:
        got = super()._acquire(key, lease, refresh)
        if refresh and got.lease is not None:
            self._drop(key)
        return got


class RefreshIsIgnored(Faulty):
    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        return await super().acquire(keys, lease=lease)


class HitsTakeALease(Faulty):
    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        found = await super().acquire(keys, lease=lease, refresh=True)
        return [replace(got, lease=None) if got.value is not None and not refresh else got for got in found]


class ExpiresAnInstantLate(Faulty):
    def _live(self, key: str) -> bytes | None:
        held = self._values.get(key)
        return held.data if held is not None and held.until >= self._env.clock.now() else None


class ExpiredKeysAreListed(Faulty):
    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        found = sorted(key for key in self._values if key.startswith(prefix) and (after is None or key > after))
        return KeyPage(found[:limit], next=found[limit - 1] if len(found) > limit else None)


class TouchRevives(Faulty):
    def _touch(self, key: str, ttl: timedelta) -> bool:
        if key in self._values:
            self._values[key] = replace(self._values[key], until=self._env.clock.now() + ttl)
        return key in self._values


class TouchOnlyLengthens(Faulty):
    def _touch(self, key: str, ttl: timedelta) -> bool:
        held = self._values.get(key)
        if held is not None and held.until > self._env.clock.now() + ttl:
            return True
        return super()._touch(key, ttl)


class EmptyValuesAreMisses(Faulty):
    def _live(self, key: str) -> bytes | None:
        return super()._live(key) or None


class KeysAreFolded(Faulty):
    def _live(self, key: str) -> bytes | None:
        return super()._live(key.lower())

    def _store(self, key: str, value: bytes, ttl: timedelta) -> None:
        super()._store(key.lower(), value, ttl)


class CountersStartAtZero(Faulty):
    def _counter(self, name: str) -> int:
        return self._counters.setdefault(name, 0)


class CountersForgetTheirStart(Faulty):
    def _counter(self, name: str) -> int:
        return self._counters.get(name) or self._env.random.randint(1, 2**62)


class BumpIsNotAtomic(Faulty):
    async def bump(self, names: Sequence[str]) -> list[int]:
        before = await self.counters(names)
        await asyncio.sleep(0)
        for name, number in zip(names, before, strict=True):
            self._counters[name] = number + 1
        return [number + 1 for number in before]


class ClearDropsCounters(Faulty):
    async def clear(self, prefix: str = "") -> int:
        self._counters.clear()
        return await super().clear(prefix)


class PrefixIsAPattern(Faulty):
    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        return await super().keys(prefix.rstrip("%_*"), after=after, limit=limit)


class PagesPromiseTooMuch(Faulty):
    """``next`` is set on every full page, also on the last one."""

    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        page = await super().keys(prefix, after=after, limit=limit)
        return KeyPage(page.keys, next=page.keys[-1] if len(page.keys) == limit else None)


class InvalidateCountsKeys(Faulty):
    async def invalidate(self, keys: Sequence[str]) -> int:
        await super().invalidate(keys)
        return len(keys)


class ServesAfterClosing(Faulty):
    def _require_open(self) -> None:
        return None


class InvalidatesLater(Faulty):
    """The removal happens after the call has returned."""

    async def invalidate(self, keys: Sequence[str]) -> int:
        count = sum(self._live(key) is not None for key in dict.fromkeys(keys))
        asyncio.get_running_loop().call_soon(lambda: [self._invalidate(key) for key in keys])
        return count


class FillIsInTwoSteps(Faulty):
    """The lease is looked at first, and the value is stored a moment later."""

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        held = [self._holds(fill.lease) for fill in fills]
        await asyncio.sleep(0)
        for fill, is_held in zip(fills, held, strict=True):
            if is_held:
                self._leases.pop(fill.lease.key, None)
                self._store(fill.lease.key, fill.value, fill.ttl)
        return held


CAUGHT_BY: dict[type[Faulty], str] = {
    FillsWithoutLooking: "test_a_fill_without_a_living_lease_is_refused",
    InvalidateKeepsLeases: "test_what_kills_a_lease_refuses_the_fill",
    PutKeepsLeases: "test_what_kills_a_lease_refuses_the_fill",
    ClearKeepsLeasesWithoutValue: "test_what_kills_a_lease_refuses_the_fill",
    LeasesNeverEnd: "test_a_lease_counts_as_never_taken_once_its_time_has_passed",
    LeasesAreNotExclusive: "test_of_many_readers_one_gets_the_lease",
    LeasesAreReusable: "test_a_lease_fills_once",
    TokensAreNotCompared: "test_a_fill_without_a_living_lease_is_refused",
    ReleaseFreesAnybodysLease: "test_after_an_invalidation_the_next_reader_gets_a_lease_at_once",
    RefreshHidesTheValue: "test_a_refresh_takes_the_lease_while_the_value_stays",
    RefreshIsIgnored: "test_a_refresh_takes_the_lease_while_the_value_stays",
    HitsTakeALease: "test_a_hit_takes_no_lease",
    ExpiresAnInstantLate: "test_an_expired_value_is_absent_for_every_operation",
    ExpiredKeysAreListed: "test_an_expired_value_is_absent_for_every_operation",
    TouchRevives: "test_an_expired_value_is_absent_for_every_operation",
    TouchOnlyLengthens: "test_touch_gives_a_new_ttl_from_now",
    EmptyValuesAreMisses: "test_a_value_may_be_any_bytes",
    KeysAreFolded: "test_values_come_back_byte_for_byte",
    CountersStartAtZero: "test_a_new_counter_starts_at_random_and_stays",
    CountersForgetTheirStart: "test_a_new_counter_starts_at_random_and_stays",
    BumpIsNotAtomic: "test_concurrent_bumps_are_all_counted",
    ClearDropsCounters: "test_clear_removes_what_begins_with_the_prefix",
    PrefixIsAPattern: "test_keys_are_listed_in_order",
    PagesPromiseTooMuch: "test_pages_of_keys_join_without_gap",
    InvalidateCountsKeys: "test_invalidate_counts_live_values",
    ServesAfterClosing: "test_a_closed_store_is_unavailable",
    InvalidatesLater: "test_invalidate_counts_live_values",
    FillIsInTwoSteps: "test_a_fill_that_races_an_invalidation_leaves_nothing",
}

CAUGHT_BY_AGREEMENT = [
    FillsWithoutLooking,
    InvalidateKeepsLeases,
    PutKeepsLeases,
    ClearKeepsLeasesWithoutValue,
    LeasesNeverEnd,
    LeasesAreNotExclusive,
    ExpiresAnInstantLate,
    EmptyValuesAreMisses,
]


def adapter_of(fault: type[Faulty]) -> Adapter:
    return Adapter(
        name="memory",
        ports={PortName.CACHE: f"{__name__}:{fault.__name__}"},
        config=MemoryCacheConfig,
        summary=fault.__name__,
    )


@pytest.mark.parametrize("fault", CAUGHT_BY, ids=lambda fault: fault.__name__)
async def test_the_suite_catches(fault: type[Faulty], tmp_path: Path) -> None:
    """The named test fails on the faulty cache."""
    found = await verdict(CacheSuite, CAUGHT_BY[fault], PortName.CACHE, adapter_of(fault), tmp_path)
    assert found is not None, f"{fault.__name__} passes {CAUGHT_BY[fault]}"


@pytest.mark.parametrize("fault", CAUGHT_BY_AGREEMENT, ids=lambda fault: fault.__name__)
async def test_the_machine_catches(fault: type[Faulty], tmp_path: Path) -> None:
    """The comparison with the reference alone finds the fault."""
    machine = machine_for(Harness(PortName.CACHE, adapter_of(fault), {}, tmp_path))
    quickly = settings(
        max_examples=150,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=quickly)


@pytest.mark.parametrize(
    "fault", [FillsWithoutLooking, InvalidateKeepsLeases, PutKeepsLeases, ClearKeepsLeasesWithoutValue]
)
async def test_the_interleavings_catch(fault: type[Faulty], tmp_path: Path) -> None:
    """A late fill is found at some point of a load."""
    test = "test_an_invalidation_at_any_point_of_a_load_wins"
    assert await verdict(CacheSuite, test, PortName.CACHE, adapter_of(fault), tmp_path) is not None


@pytest.mark.parametrize("test", sorted({*CAUGHT_BY.values(), "test_an_invalidation_at_any_point_of_a_load_wins"}))
async def test_a_faultless_cache_passes(test: str, tmp_path: Path) -> None:
    """What catches the faults does not fail on the harness that they are put into."""
    assert await verdict(CacheSuite, test, PortName.CACHE, adapter_of(Faulty), tmp_path) is None
