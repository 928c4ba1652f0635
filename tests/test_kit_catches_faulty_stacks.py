"""Faults put into the cache itself, each of which the machine of the stacks has to find."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from storycore.caching import (
    Tier,
    arrivals,
    entries,
    envelope,
    fences,
    flights,
    loads,
    near_tier,
    outbox,
    pushes,
    shared_tier,
    writes,
)
from storycore.caching import guard as guards
from storycore.caching import memory_tier as memory
from storycore.ports.cache import CacheItem, Changed, Fill
from storycore.ports.instants import moment
from storycore.ports.lifecycle import PortName
from storycore.testing.cache_clients import How
from storycore.testing.cache_stacks import StackMachine, stack_machine_for
from storycore.testing.cache_wires import Trouble
from storycore.testing.harness import Harness

_EXAMPLES: Final = 300
"""At most; the first that fails ends it."""


async def _adopts_whatever_comes(self: flights.Flight[Any], *, late: bool) -> Any:
    return await self.ride()


def _stands_in_for_ever(self: entries.Entry[Any], now: datetime, max_stale: timedelta | None) -> bool:
    return max_stale is not None


def _heeds_no_loss(self: pushes.Pushes, changed: Changed | None) -> None:
    if changed is not None:
        _HEAR(self, changed)


_HEAR: Final = pushes.Pushes._hear


def _is_stored_for_long(slot: object, entry: object) -> timedelta:
    return timedelta(days=1)


async def _keeps_leases(self: shared_tier.SharedTier, claims: object) -> None:
    return None


async def _serves_before_the_outbox(self: outbox.Outbox) -> bool:
    return True


def _forgets_what_failed(self: outbox.Outbox, **unwanted: object) -> None:
    return None


async def _stores_the_newest_versions(self: shared_tier.SharedTier, loaded: Sequence[Any]) -> list[bool]:
    if not loaded:
        return []
    try:
        versions = await self._versions([one.slot for one in loaded])
    except Exception:
        return [False] * len(loaded)
    fills = [
        Fill(
            one.claim.lease,
            self._seal(one.slot, one.entry, shared_tier._of(one.slot, versions)),
            entries.port_ttl(one.slot, one.entry),
        )
        for one in loaded
    ]
    try:
        return await self._port.fill(fills)
    except Exception:
        return [False] * len(loaded)


async def _believes_what_it_saw(
    self: loads.Loads, flight: flights.Flight[Any], slot: Any, claim: Any, exc: BaseException
) -> Any:
    found = claim.found
    now = self._env.clock.now()
    await self._shared.release([claim])
    if found is None or not isinstance(exc, Exception) or not found.is_stand_in(now, slot.policy.max_stale):
        raise exc
    flight.accepted = True
    return loads._Landed(found.answer(Tier.STALE), found)


def _keeps_as_long_as_the_value(
    self: near_tier.NearTier, slot: Any, ticket: Any, entry: Any, since: Any, **_: Any
) -> None:
    self._keep(slot, ticket, entry, moment(entry.fresh_until))


def _lets_late_copies_in(self: Any, ticket: Any, act: Callable[[], None]) -> None:
    act()


def _never_evicts(self: memory.MemoryTier, held: memory.Held) -> None:
    with self._lock:
        self._remove(held.key)
        self._add(held)


def _trusts_any_bytes(key: str, sealed: bytes, secrets: Sequence[bytes]) -> bytes:
    return sealed[:-8]


async def _takes_its_time(self: guards.Guard, call: Callable[[], Awaitable[Any]], *, in_time: bool = True) -> Any:
    return await call()


async def _lets_loads_hang(policy: Any, longest: timedelta, load: Callable[[], Awaitable[Any]]) -> Any:
    return await load()


def _drops_no_flight(self: flights.Flights[Any], keys: object) -> None:
    return None


async def _keeps_what_was_refused(self: shared_tier.SharedTier, loaded: Sequence[Any]) -> list[bool]:
    await _FILL(self, loaded)
    return [True] * len(loaded)


_FILL: Final = shared_tier.SharedTier.fill


async def _bumps_nothing(self: shared_tier.SharedTier, tags: Sequence[str]) -> bool:
    return True


async def _leads_alone(self: loads.Loads, slot: Any, load: Any) -> Any:
    return await self.alone(slot, load)


async def _puts_without_a_lease(self: writes.Writes, slot: Any, ticket: Any, claim: Any, value: Any) -> bool:
    port = self._shared._port
    entry = entries.entry_of(slot.policy, value, self._env.clock.now(), 0.5)
    if not entry.is_kept:
        return await self._shared.invalidate([slot.key])
    try:
        sealed = self._shared._seal(slot, entry, claim.versions)
        await self._shared.guard.run(lambda: port.put([CacheItem(slot.key, sealed, entries.port_ttl(slot, entry))]))
    except Exception:
        return await self._shared.invalidate([slot.key])
    return True


async def _takes_the_lease_late(self: writes.Writes, slot: Any) -> shared_tier.Claim[Any]:
    return shared_tier.Claim()


async def _stores_under_a_lease_of_its_own(self: writes.Writes, slot: Any, ticket: Any, claim: Any, value: Any) -> bool:
    (own,) = await self._shared.claim([slot], refresh=True)
    return await _STORE(self, slot, ticket, own, value)


_STORE: Final = writes.Writes._store

FAULTS: Final[dict[str, list[tuple[object, str, object]]]] = {
    "a joiner adopts a load that was refused or overtaken": [(flights.Flight, "join", _adopts_whatever_comes)],
    "a value stands in past max_stale": [
        (entries.Entry, "is_stand_in", _stands_in_for_ever),
        (shared_tier, "port_ttl", _is_stored_for_long),
    ],
    "memory is kept over a lost connection": [(pushes.Pushes, "_hear", _heeds_no_loss)],
    "a lease is not given back": [(shared_tier.SharedTier, "release", _keeps_leases)],
    "the tier serves before the outbox is empty": [(outbox.Outbox, "settled", _serves_before_the_outbox)],
    "what was not confirmed is forgotten": [(outbox.Outbox, "add", _forgets_what_failed)],
    "tags' versions are read after the load": [(shared_tier.SharedTier, "fill", _stores_the_newest_versions)],
    "a value stands in after it was invalidated": [(loads.Loads, "_stand_in", _believes_what_it_saw)],
    "copies outlive their short life": [(near_tier.NearTier, "remember", _keeps_as_long_as_the_value)],
    "a copy enters after an invalidation": [(fences.Fences, "pass_through", _lets_late_copies_in)],
    "memory has no bound": [(memory.MemoryTier, "put", _never_evicts)],
    "any bytes are trusted": [(envelope, "_genuine", _trusts_any_bytes)],
    "a silent tier is waited for": [(guards.Guard, "run", _takes_its_time)],
    "a load may hang": [(arrivals, "_in_time", _lets_loads_hang)],
    "flights outlive an invalidation": [(flights.Flights, "drop", _drops_no_flight)],
    "what was refused is kept in memory": [(shared_tier.SharedTier, "fill", _keeps_what_was_refused)],
    "tags are not bumped": [(shared_tier.SharedTier, "invalidate_tags", _bumps_nothing)],
    "everybody loads for himself": [(loads.Loads, "one", _leads_alone)],
    "a newest value is put without a lease": [(writes.Writes, "_store", _puts_without_a_lease)],
    "the lease is taken after the write": [
        (writes.Writes, "_claim", _takes_the_lease_late),
        (writes.Writes, "_store", _stores_under_a_lease_of_its_own),
    ],
}


_CALM: Final = {"max_stale": 10, "soft_timeout": None, "refresh_at": None, "tags": ("all",)}


def _begun(machine: StackMachine, luck: int, *, is_stormy: bool) -> StackMachine:
    machine.begin(policy=dict(_CALM), luck=luck, is_stormy=is_stormy)
    return machine


def _a_load_is_overtaken(machine: StackMachine, luck: int) -> None:
    _begun(machine, luck, is_stormy=False).overtake(2, 1, 0, ("key", "tag")[luck % 2], How.LATER, (0.002, 0.002), False)


def _a_load_without_the_tier_is_overtaken(machine: StackMachine, luck: int) -> None:
    _begun(machine, luck, is_stormy=True).overtake(2, 0, 0, "key", How.LATER, (0.002, 0.002), True)


def _a_failing_load_is_overtaken(machine: StackMachine, luck: int) -> None:
    _begun(machine, luck, is_stormy=False).outlive(2, 0, (21.0, 31.0)[luck % 2], How.FAILS, 1)


def _a_load_fails_long_after(machine: StackMachine, luck: int) -> None:
    _begun(machine, luck, is_stormy=False).outlive(2, 0, 31.0, How.FAILS, 0)


def _a_connection_is_lost(machine: StackMachine, luck: int) -> None:
    _begun(machine, luck, is_stormy=True).read(0, 1, How.QUICK, 1, 0)
    machine.wait(6.0)
    machine.tell(0, 1, 0, "key", None, 12)


def _an_invalidation_is_refused(machine: StackMachine, luck: int) -> None:
    _begun(machine, luck, is_stormy=True).tell(1, 1, 0, "key", Trouble.REFUSED, 0)


def _a_hit_is_overtaken(machine: StackMachine, luck: int) -> None:
    _begun(machine, luck, is_stormy=False).slow_down(1, 0.0, 0.01, 0.0)
    machine.overtake(1, 0, 0, "key", How.QUICK, (4, 0.02), False)


def _a_write_is_overtaken(machine: StackMachine, luck: int) -> None:
    _begun(machine, luck, is_stormy=False).write(2, 0, "writing", 12)
    machine.wait(0.004)
    machine.write(1, 0, "key", 1)
    machine.wait(0.5)
    machine.read(2, 0, How.QUICK, 1, 0)


HISTORIES: Final[dict[str, Callable[[StackMachine, int], None]]] = {
    "a joiner adopts a load that was refused or overtaken": _a_load_is_overtaken,
    "what was refused is kept in memory": _a_load_is_overtaken,
    "tags' versions are read after the load": _a_load_is_overtaken,
    "flights outlive an invalidation": _a_load_without_the_tier_is_overtaken,
    "a value stands in after it was invalidated": _a_failing_load_is_overtaken,
    "a value stands in past max_stale": _a_load_fails_long_after,
    "memory is kept over a lost connection": _a_connection_is_lost,
    "the tier serves before the outbox is empty": _an_invalidation_is_refused,
    "what was not confirmed is forgotten": _an_invalidation_is_refused,
    "a copy enters after an invalidation": _a_hit_is_overtaken,
    "a newest value is put without a lease": _a_write_is_overtaken,
    "the lease is taken after the write": _a_write_is_overtaken,
}
"""Each in ten variants; they spare the search for faults that chance meets rarely."""


def _fails(machine: type[StackMachine], history: Callable[[StackMachine, int], None]) -> bool:
    """Whether a promise is broken in some variant of a history."""
    for luck in range(10):
        run = machine()
        try:
            history(run, luck)
            run.teardown()
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize("fault", HISTORIES)
async def test_the_machine_sees(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history in which the fault shows breaks one of the promises, and without the fault none."""
    machine = stack_machine_for(Harness(PortName.CACHE, "memory", {}, tmp_path))
    assert not await asyncio.to_thread(_fails, machine, HISTORIES[fault])
    for place, name, faulty in FAULTS[fault]:
        monkeypatch.setattr(place, name, faulty)
    assert await asyncio.to_thread(_fails, machine, HISTORIES[fault])


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in HISTORIES])
async def test_the_machine_finds(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some history of clients breaks one of the promises."""
    for place, name, faulty in FAULTS[fault]:
        monkeypatch.setattr(place, name, faulty)
    machine = stack_machine_for(Harness(PortName.CACHE, "memory", {}, tmp_path))
    quickly = settings(
        max_examples=_EXAMPLES,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    with pytest.raises(AssertionError):
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=quickly)
