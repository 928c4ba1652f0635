"""The tier stack: memory, then the shared tier, then the loader, without ever bringing back what was invalidated.

The rules, in the order in which they were learnt:

- The shared tier takes a loaded value only under a lease, and an invalidation kills the lease.
- Tag versions are read before the load begins and are stored with the value; other versions make it a miss.
- The memory tier takes a value only from the shared tier or after an accepted fill, and only while the reader's
  ticket is alive; an invalidation in this process takes tickets away before and after it asks the shared tier.
- A fault of the shared tier is answered by loading, and an invalidation that it did not confirm waits in the outbox,
  before which nothing is served from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from storycore.caching.arrivals import Arrivals
from storycore.caching.entries import Entry, Slot
from storycore.caching.loads import Loads
from storycore.caching.near_tier import NearTier
from storycore.caching.policies import Answer, Fetched, Tier
from storycore.caching.pushes import Pushes
from storycore.caching.refreshes import Refreshes
from storycore.caching.shared_tier import SharedTier
from storycore.caching.writes import Writes
from storycore.ports.environment import Environment

__all__ = ["Tiers"]

T = TypeVar("T")

_ROUNDS = 4
"""How often a reader looks, or joins a load whose result he may not use, before he loads for himself."""


class Tiers:
    """Both tiers of one namespace; used from one event loop.

    Args:
        near: the memory tier, which alone may be used from any thread.
        shared: the shared tier.
        env: clock and randomness.
        pushes: what the shared tier tells, if it does.

    ``writes`` is the way in for who knows the newest value.
    """

    def __init__(self, near: NearTier, shared: SharedTier, env: Environment, *, pushes: Pushes | None = None) -> None:
        self.near = near
        self.shared = shared
        self._env = env
        self._pushes = pushes
        arrivals = Arrivals(near, shared, env)
        self._loads = Loads(near, shared, arrivals, env)
        self._refreshes = Refreshes(near, shared, arrivals, env)
        self.writes = Writes(near, shared, self._forget, env)

    async def look(self, slot: Slot[T]) -> Answer[T] | None:
        """What either tier holds, without loading."""
        return self.near.look(slot) or (await self._look_shared([slot]))[0]

    async def fetch(self, slot: Slot[T], load: Callable[[], Awaitable[T | Fetched[T] | None]]) -> Answer[T]:
        """The value from a tier, or loaded once for all who ask at the same time."""
        for _ in range(_ROUNDS):
            found = await self.look(slot)
            if found is not None:
                if found.due:
                    self._refreshes.begin([(slot, found)], lambda _: _alone(load))
                return slot.policy.count_hit(found)
            answer = await self._loads.one(slot, load)
            if answer is not None:
                return answer
        return await self._loads.alone(slot, load)

    async def fetch_many(
        self, slots: Sequence[Slot[T]], load: Callable[[Sequence[int]], Awaitable[Sequence[T | Fetched[T] | None]]]
    ) -> list[Answer[T]]:
        """As ``fetch`` for different keys of one region, with one load of all that is missing.

        Nobody waits here for another process: what it is loading is loaded too, and not filled.

        Args:
            load: takes positions in ``slots`` and returns their values in that order.
        """
        answers = [self.near.look(slot) for slot in slots]
        far = [i for i, answer in enumerate(answers) if answer is None]
        for i, answer in zip(far, await self._look_shared([slots[i] for i in far]), strict=True):
            answers[i] = answer
        for answer, slot in zip(answers, slots, strict=True):
            if answer is not None:
                slot.policy.count_hit(answer)
        due = [(i, answer) for i in far if (answer := answers[i]) is not None and answer.due]
        if due:
            seen = [(slots[i], answer) for i, answer in due]
            self._refreshes.begin(seen, lambda some: load([due[i][0] for i in some]))
        missing = [i for i in far if answers[i] is None]
        loaded = await self._load_missing(slots, missing, load)
        for i, answer in zip(missing, loaded, strict=True):
            answers[i] = answer
        return [answer for answer in answers if answer is not None]

    async def peek(self, slot: Slot[T]) -> Answer[T] | None:
        """What either tier holds, also what is at best a stand-in, without loading or keeping."""
        near = self.near.look(slot)
        if near is not None:
            return near
        (entry,) = await self.shared.look([slot])
        now = self._env.clock.now()
        if entry is None or not (entry.is_fresh(now) or entry.is_stand_in(now, slot.policy.max_stale)):
            return None
        return _shared_answer(entry, now) if entry.is_fresh(now) else entry.answer(Tier.STALE)

    async def invalidate(self, keys: Sequence[str]) -> bool:
        """Remove entries everywhere; whether the shared tier confirmed it."""
        self._forget(keys)
        try:
            return await self.shared.invalidate(keys)
        finally:
            self._forget(keys)

    async def invalidate_tags(self, tags: Sequence[str]) -> bool:
        """Outdate everything that carries one of the tags; whether the shared tier confirmed it."""
        self._forget_tagged(tags)
        try:
            return await self.shared.invalidate_tags(tags)
        finally:
            self._forget_tagged(tags)

    async def clear(self) -> bool:
        """Remove everything of the namespace; whether the shared tier confirmed it."""
        self._forget_all()
        try:
            return await self.shared.clear()
        finally:
            self._forget_all()

    async def close(self) -> None:
        """End all loads, and try once more to deliver what is pending."""
        if self._pushes is not None:
            await self._pushes.close()
        await self._refreshes.close()
        await self._loads.flights.close()
        await self.shared.close()

    async def _look_shared(self, slots: Sequence[Slot[T]]) -> list[Answer[T] | None]:
        """What the shared tier holds fresh, with a copy for the memory tier."""
        if not slots:
            return []
        if self._pushes is not None:
            self._pushes.begin()
        if self.shared.is_let_alone(slots):
            return [None] * len(slots)
        since = self._env.clock.now()
        answers: list[Answer[T] | None] = []
        with self.near.tickets(slots) as tickets:
            found = await self.shared.look(slots)
            now = self._env.clock.now()
            for slot, ticket, entry in zip(slots, tickets, found, strict=True):
                fresh = entry is not None and entry.is_fresh(now)
                if entry is not None and fresh:
                    self.near.remember(slot, ticket, entry, since)
                answers.append(_shared_answer(entry, now) if entry is not None and fresh else None)
        return answers

    async def _load_missing(
        self,
        slots: Sequence[Slot[T]],
        missing: Sequence[int],
        load: Callable[[Sequence[int]], Awaitable[Sequence[T | Fetched[T] | None]]],
    ) -> list[Answer[T]]:
        if not missing:
            return []
        return await self._loads.many([slots[i] for i in missing], lambda some: load([missing[i] for i in some]))

    def _forget(self, keys: Sequence[str]) -> None:
        self.near.forget(keys)
        self._loads.flights.drop(keys)

    def _forget_tagged(self, tags: Sequence[str]) -> None:
        self.near.forget_tagged(tags)
        self._loads.flights.drop_tagged(tags)

    def _forget_all(self) -> None:
        self.near.forget_all()
        self._loads.flights.drop_all()


def _shared_answer(entry: Entry[T], now: datetime) -> Answer[T]:
    answer = entry.answer(Tier.SHARED)
    return replace(answer, due=True) if entry.refresh_from < entry.fresh_until and entry.is_due(now) else answer


async def _alone(load: Callable[[], Awaitable[T | Fetched[T] | None]]) -> list[T | Fetched[T] | None]:
    return [await load()]
