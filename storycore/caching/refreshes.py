"""Refreshes: what is due is loaded again in the background, while the value that is there is still served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from storycore.caching.arrivals import Arrivals, counted
from storycore.caching.entries import Slot
from storycore.caching.near_tier import NearTier
from storycore.caching.policies import Answer, Fetched
from storycore.caching.shared_tier import Claim, Loaded, SharedTier
from storycore.layers.deadline import timeless
from storycore.ports.environment import Environment

__all__ = ["Refreshes"]

_HOLD_OFF_SECONDS = 1.0
"""How long a key is left alone after its refresh has failed."""

T = TypeVar("T")


class Refreshes:
    """The refreshes under way; used from one event loop.

    A refresh takes the lease while the old value stays, so of all processes one loads, and an invalidation meanwhile
    keeps out what it brings. Its failure is counted and else of no consequence: the value is loaded when it ends.

    Args:
        near, shared: the tiers.
        arrivals: brings in what was loaded.
        env: the clock.
    """

    def __init__(self, near: NearTier, shared: SharedTier, arrivals: Arrivals, env: Environment) -> None:
        self._near = near
        self._shared = shared
        self._arrivals = arrivals
        self._env = env
        self._keys: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(
        self,
        due: Sequence[tuple[Slot[T], Answer[T]]],
        load: Callable[[Sequence[int]], Awaitable[Sequence[T | Fetched[T] | None]]],
    ) -> None:
        """Load again what is due, unless it is being loaded.

        Args:
            load: takes positions in ``due`` and returns their values in that order.
        """
        places = [i for i, (slot, _) in enumerate(due) if slot.key not in self._keys]
        if not places:
            return
        keys = [due[i][0].key for i in places]
        self._keys.update(keys)
        work = self._refresh([due[i] for i in places], lambda some: load([places[i] for i in some]))
        task = asyncio.create_task(work, context=timeless())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(done, keys))

    async def close(self) -> None:
        """Cancel every refresh and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _refresh(
        self,
        due: Sequence[tuple[Slot[T], Answer[T]]],
        load: Callable[[Sequence[int]], Awaitable[Sequence[T | Fetched[T] | None]]],
    ) -> None:
        slots = [slot for slot, _ in due]
        with self._near.tickets(slots) as tickets:
            since = self._env.clock.now()
            claims = await self._shared.claim(slots, refresh=True)
            for slot, ticket, claim in zip(slots, tickets, claims, strict=True):
                if claim.found is not None and claim.found.is_fresh(since):
                    self._near.remember(slot, ticket, claim.found, since, is_refreshed=True)
            ours = [i for i, claim in enumerate(claims) if _is_ours(claim, due[i][1])]
            begun = self._env.clock.now()
            try:
                await self._shared.release([claim for i, claim in enumerate(claims) if i not in ours])
                values = await counted(slots[0].policy, lambda: load(ours)) if ours else ()
                entries = [self._arrivals.entry(slots[i], value, begun) for i, value in zip(ours, values, strict=True)]
            except BaseException:
                await self._shared.release(claims)
                raise
            rows = [(Loaded(slots[i], claims[i], entry), tickets[i]) for i, entry in zip(ours, entries, strict=True)]
            accepted = await self._arrivals.bring_in(rows)
            slots[0].policy.counts.refreshes += sum(accepted)

    def _end(self, task: asyncio.Task[None], keys: Sequence[str]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            self._keys.difference_update(keys)
        else:
            asyncio.get_running_loop().call_later(_HOLD_OFF_SECONDS, self._keys.difference_update, keys)


def _is_ours(claim: Claim[T], seen: Answer[T]) -> bool:
    """Whether we got the lease, and nobody has refreshed the value since we saw it."""
    if claim.lease is None:
        return False
    return claim.found is None or claim.found.stored_at == seen.stored_at
