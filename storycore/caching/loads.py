"""Loading what neither tier has: once per key at a time, under a lease, and in only if nothing came between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from storycore.caching.arrivals import Arrivals, counted
from storycore.caching.entries import Entry, Slot
from storycore.caching.flights import Flight, Flights
from storycore.caching.near_tier import NearTier
from storycore.caching.policies import Answer, Fetched, Tier
from storycore.caching.shared_tier import Claim, Loaded, SharedTier
from storycore.ports.environment import Environment

__all__ = ["Loads"]

T = TypeVar("T")

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
        arrivals: brings in what was loaded.
        env: clock and randomness.
    """

    def __init__(self, near: NearTier, shared: SharedTier, arrivals: Arrivals, env: Environment) -> None:
        self.flights: Flights[_Landed[Any]] = Flights()  # one map for all regions, each with its own type
        self._near = near
        self._shared = shared
        self._arrivals = arrivals
        self._env = env

    async def one(self, slot: Slot[T], load: Callable[[], Awaitable[T | Fetched[T] | None]]) -> Answer[T] | None:
        """Load, or join who is loading already; ``None`` when what he brings is not for us: look again.

        Raises:
            Exception: whatever ``load`` raises, unless an older value may stand in.
        """
        flight: Flight[_Landed[T]] | None = self.flights.find(slot.key)
        leads, late = flight is None, flight is not None and flight.sealed
        if flight is None:
            flight = self.flights.begin(slot.key, slot.tags, lambda begun: self._fly(begun, slot, load))
        meanwhile = await self._meanwhile(flight, slot)
        if meanwhile is not None:
            return meanwhile
        if leads:
            return (await flight.ride()).answer
        landed = await flight.join(late=late)
        if landed is None:
            return None
        slot.policy.counts.misses += 1
        slot.policy.counts.joined += 1
        return landed.answer if landed.entry is None else replace(landed.answer, value=_copy(slot, landed.entry))

    async def alone(self, slot: Slot[T], load: Callable[[], Awaitable[T | Fetched[T] | None]]) -> Answer[T]:
        """Load for one caller and keep nothing."""
        slot.policy.counts.misses += 1
        begun = self._env.clock.now()
        return self._arrivals.entry(slot, await counted(slot.policy, load), begun).answer(Tier.LOAD)

    async def many(
        self, slots: Sequence[Slot[T]], load: Callable[[Sequence[int]], Awaitable[Sequence[T | Fetched[T] | None]]]
    ) -> list[Answer[T]]:
        """Load different keys of one region at once, filling those whose lease is free; nobody is waited for.

        Args:
            load: takes positions in ``slots`` and returns their values in that order.

        Raises:
            Exception: whatever ``load`` raises, unless older values may stand in for all that is missing.
        """
        with self._near.tickets(slots) as tickets:
            claims = await self._shared.claim(slots)
            answers = {i: answer for i, claim in enumerate(claims) if (answer := self._without_load(slots[i], claim))}
            missing = [i for i in range(len(slots)) if i not in answers]
            try:
                entries = await self._load_missing(slots, missing, load)
            except BaseException as exc:
                await self._shared.release(claims)
                return _merged(answers, await self._instead(slots, claims, missing, exc))
            rows = [(Loaded(slots[i], claims[i], entry), tickets[i]) for i, entry in entries.items()]
            await self._arrivals.bring_in(rows)
        return _merged(answers, {i: entry.answer(Tier.LOAD) for i, entry in entries.items()})

    async def _fly(
        self, flight: Flight[_Landed[Any]], slot: Slot[T], load: Callable[[], Awaitable[T | Fetched[T] | None]]
    ) -> _Landed[T]:
        """The leader's way: claim, load, bring in."""
        with self._near.tickets([slot]) as (ticket,):
            claim = await self._claim(slot)
            answer = self._without_load(slot, claim)
            if answer is not None:
                return _Landed(answer, claim.found)
            slot.policy.counts.misses += 1
            flight.has_older = claim.found is not None
            begun = self._env.clock.now()
            try:
                value = await counted(slot.policy, load)
            except BaseException as exc:
                flight.sealed = True
                return await self._stand_in(flight, slot, claim, exc)
            entry = self._arrivals.entry(slot, value, begun)
            flight.sealed = True
            (took,) = await self._arrivals.bring_in([(Loaded(slot, claim, entry), ticket)])
            flight.accepted = took or claim.is_fault
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

    async def _meanwhile(self, flight: Flight[_Landed[Any]], slot: Slot[T]) -> Answer[T] | None:
        """An older value, when the load takes longer than the soft timeout; it goes on without this caller."""
        soft = slot.policy.soft_timeout
        if soft is None or await flight.lands_within(soft.total_seconds()) or not flight.has_older:
            return None
        flight.goes_on = True
        (older,) = await self._older([slot])
        return None if older is None else slot.policy.count_hit(older.answer(Tier.STALE))

    async def _stand_in(
        self, flight: Flight[_Landed[Any]], slot: Slot[T], claim: Claim[T], exc: BaseException
    ) -> _Landed[T]:
        """After a failed load: the older value, if it is still there and may be used; else the load's error."""
        wanted = claim.found is not None and isinstance(exc, Exception)
        found = (await self._older([slot]))[0] if wanted else None
        await self._shared.release([claim])
        if found is None:
            raise exc
        flight.accepted = True
        return _Landed(slot.policy.count_hit(found.answer(Tier.STALE)), found)

    async def _instead(
        self, slots: Sequence[Slot[T]], claims: Sequence[Claim[T]], missing: Sequence[int], exc: BaseException
    ) -> dict[int, Answer[T]]:
        """After a failed load of many: the older values, if all are still there; else the load's error."""
        wanted = isinstance(exc, Exception) and all(claims[i].found is not None for i in missing)
        found = await self._older([slots[i] for i in missing]) if wanted else [None]
        older = {i: entry.answer(Tier.STALE) for i, entry in zip(missing, found, strict=False) if entry is not None}
        if len(older) < len(missing):
            raise exc
        return {i: slots[i].policy.count_hit(answer) for i, answer in older.items()}

    async def _older(self, slots: Sequence[Slot[T]]) -> list[Entry[T] | None]:
        """What may stand in now; looked at anew, for it may have been invalidated since it was seen."""
        found = await self._shared.look(slots)
        now = self._env.clock.now()
        return [
            entry if entry is not None and entry.is_stand_in(now, slot.policy.max_stale) else None
            for slot, entry in zip(slots, found, strict=True)
        ]

    async def _load_missing(
        self,
        slots: Sequence[Slot[T]],
        missing: Sequence[int],
        load: Callable[[Sequence[int]], Awaitable[Sequence[T | Fetched[T] | None]]],
    ) -> dict[int, Entry[T]]:
        if not missing:
            return {}
        policy = slots[0].policy
        policy.counts.misses += len(missing)
        begun = self._env.clock.now()
        values = await counted(policy, lambda: load(missing))
        return {i: self._arrivals.entry(slots[i], value, begun) for i, value in zip(missing, values, strict=True)}


def _merged(some: Mapping[int, Answer[T]], others: Mapping[int, Answer[T]]) -> list[Answer[T]]:
    merged = {**some, **others}
    return [merged[i] for i in range(len(merged))]


def _copy(slot: Slot[T], entry: Entry[T]) -> T | None:
    """A joiner's own copy; a value that was not kept is handed to all as it is."""
    return slot.policy.codec.give(entry.kept) if entry.is_kept and not entry.absent else entry.value
