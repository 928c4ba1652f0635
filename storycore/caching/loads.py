"""Loading what neither tier has: once per key at a time, under a lease, and in only if nothing came between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from storycore.caching.entries import Entry, Slot, entry_of
from storycore.caching.fences import Ticket
from storycore.caching.flights import Flight, Flights
from storycore.caching.near_tier import NearTier
from storycore.caching.policies import Answer, Tier
from storycore.caching.shared_tier import Claim, Loaded, SharedTier
from storycore.ports.environment import Environment

__all__ = ["Loads"]

T = TypeVar("T")
R = TypeVar("R")

_FIRST_PAUSE_SECONDS = 0.004
_LONGEST_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Landed(Generic[T]):
    """What a flight brings: the leader's answer, and the entry from which each joiner gets his own copy."""

    answer: Answer[T]
    entry: Entry[T] | None


class Loads:
    """The loads under way; used from one event loop.

    Args:
        near, shared: the tiers to fill.
        env: clock and randomness.
    """

    def __init__(self, near: NearTier, shared: SharedTier, env: Environment) -> None:
        self.flights: Flights[_Landed[Any]] = Flights()  # one map for all regions, each with its own type
        self._near = near
        self._shared = shared
        self._env = env

    async def one(self, slot: Slot[T], load: Callable[[], Awaitable[T | None]]) -> Answer[T] | None:
        """Load, or join who is loading already; ``None`` when what he brings is not for us: look again.

        Raises:
            Exception: whatever ``load`` raises, unless an older value may stand in.
        """
        flight: Flight[_Landed[T]] | None = self.flights.find(slot.key)
        if flight is None:
            flight = self.flights.begin(slot.key, slot.tags, lambda begun: self._fly(begun, slot, load))
            return (await flight.ride()).answer
        landed = await flight.join()
        if landed is None:
            return None
        slot.policy.counts.misses += 1
        slot.policy.counts.joined += 1
        return landed.answer if landed.entry is None else replace(landed.answer, value=_copy(slot, landed.entry))

    async def alone(self, slot: Slot[T], load: Callable[[], Awaitable[T | None]]) -> Answer[T]:
        """Load for one caller and keep nothing."""
        slot.policy.counts.misses += 1
        return self._entry(slot, await _counted(slot, load)).answer(Tier.LOAD)

    async def many(
        self, slots: Sequence[Slot[T]], load: Callable[[Sequence[int]], Awaitable[Sequence[T | None]]]
    ) -> list[Answer[T]]:
        """Load different keys of one region at once, filling those whose lease is free; nobody is waited for.

        Args:
            load: takes positions in ``slots`` and returns their values in that order.
        """
        with self._near.tickets(slots) as tickets:
            claims = await self._shared.claim(slots)
            answers = [self._without_load(slot, claim) for slot, claim in zip(slots, claims, strict=True)]
            missing = [i for i, answer in enumerate(answers) if answer is None]
            entries = await self._load_missing(slots, claims, missing, load)
            rows = [(Loaded(slots[i], claims[i], entry), tickets[i]) for i, entry in zip(missing, entries, strict=True)]
            await self._bring_in(rows)
        for i, entry in zip(missing, entries, strict=True):
            answers[i] = entry.answer(Tier.LOAD)
        return [answer for answer in answers if answer is not None]

    async def _fly(
        self, flight: Flight[_Landed[Any]], slot: Slot[T], load: Callable[[], Awaitable[T | None]]
    ) -> _Landed[T]:
        """The leader's way: claim, load, bring in."""
        with self._near.tickets([slot]) as (ticket,):
            claim = await self._claim(slot)
            answer = self._without_load(slot, claim)
            if answer is not None:
                return _Landed(answer, claim.found)
            slot.policy.counts.misses += 1
            try:
                value = await _counted(slot, load)
            except BaseException as exc:
                flight.sealed = True
                return await self._stand_in(flight, slot, claim, exc)
            entry = self._entry(slot, value)
            flight.sealed = True
            flight.accepted = claim.is_fault or (await self._bring_in([(Loaded(slot, claim, entry), ticket)]))[0]
            return _Landed(entry.answer(Tier.LOAD), entry)

    async def _claim(self, slot: Slot[T]) -> Claim[T]:
        """The right to load, or what another loader brings; after a lease's time with neither, an empty claim."""
        waited, pause = 0.0, _FIRST_PAUSE_SECONDS
        while True:
            (claim,) = await self._shared.claim([slot])
            if claim.lease is not None or claim.found is not None or claim.is_fault:
                return claim
            if waited >= slot.policy.lease.total_seconds():
                return claim
            slot.policy.counts.waited += waited == 0
            nap = pause * (0.5 + self._env.random.random())
            await asyncio.sleep(nap)
            waited += nap
            pause = min(pause * 1.6, _LONGEST_PAUSE_SECONDS)

    def _without_load(self, slot: Slot[T], claim: Claim[T]) -> Answer[T] | None:
        """The answer where a claim already brings one: fresh, or fit to stand in while another loader is at it."""
        if claim.lease is not None or claim.found is None:
            return None
        now = self._env.clock.now()
        if claim.found.is_fresh(now):
            return slot.policy.count_hit(claim.found.answer(Tier.SHARED))
        if claim.found.is_stand_in(now, slot.policy.max_stale):
            return slot.policy.count_hit(claim.found.answer(Tier.STALE))
        return None

    async def _stand_in(
        self, flight: Flight[_Landed[Any]], slot: Slot[T], claim: Claim[T], exc: BaseException
    ) -> _Landed[T]:
        """After a failed load: the older value, if it is still there and may be used; else the load's error."""
        wanted = claim.found is not None and isinstance(exc, Exception)
        found = (await self._shared.look([slot]))[0] if wanted else None
        await self._shared.release([claim])
        if found is None or not found.is_stand_in(self._env.clock.now(), slot.policy.max_stale):
            raise exc
        flight.accepted = True
        return _Landed(slot.policy.count_hit(found.answer(Tier.STALE)), found)

    async def _load_missing(
        self,
        slots: Sequence[Slot[T]],
        claims: Sequence[Claim[T]],
        missing: Sequence[int],
        load: Callable[[Sequence[int]], Awaitable[Sequence[T | None]]],
    ) -> list[Entry[T]]:
        if not missing:
            return []
        slots[0].policy.counts.misses += len(missing)
        try:
            values = await _counted(slots[0], lambda: load(missing))
            return [self._entry(slots[i], value) for i, value in zip(missing, values, strict=True)]
        except BaseException:
            await self._shared.release(claims)
            raise

    async def _bring_in(self, rows: Sequence[tuple[Loaded[T], Ticket]]) -> list[bool]:
        """Fill the shared tier under the leases, and the memory tier with what it accepted; which were accepted."""
        since = self._env.clock.now()
        await self._shared.release([loaded.claim for loaded, ticket in rows if not ticket.alive])
        ours = [row for row in rows if row[0].claim.lease is not None]
        alive = [loaded for loaded, ticket in ours if ticket.alive]
        took = dict(zip((loaded.slot.key for loaded in alive), await self._shared.fill(alive), strict=True))
        for loaded, ticket in ours:
            if took.get(loaded.slot.key, False):
                loaded.slot.policy.counts.fills += loaded.entry.is_kept
                self._near.remember(loaded.slot, ticket, loaded.entry, since)
            else:
                loaded.slot.policy.counts.refused += 1
        return [took.get(loaded.slot.key, False) for loaded, _ in rows]

    def _entry(self, slot: Slot[T], value: T | None) -> Entry[T]:
        return entry_of(slot.policy, value, self._env.clock.now(), self._env.random.random())


def _copy(slot: Slot[T], entry: Entry[T]) -> T | None:
    """A joiner's own copy; a value that was not kept is handed to all as it is."""
    return slot.policy.codec.give(entry.kept) if entry.is_kept and not entry.absent else entry.value


async def _counted(slot: Slot[Any], load: Callable[[], Awaitable[R]]) -> R:
    slot.policy.counts.loads += 1
    try:
        return await load()
    except Exception:
        slot.policy.counts.load_errors += 1
        raise
