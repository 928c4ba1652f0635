"""Writes of the one who knows the newest value: stored under a lease, so that no invalidation is ever overtaken.

A value that is written to the source and then stored may arrive late: somebody else may have written and invalidated
meanwhile. So the lease is taken before the source is written, and ends, like any other, with an invalidation. Whatever
keeps the value out, the key is invalidated instead, so that nothing older stays either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Generic, TypeVar

from storycore.caching.entries import Slot, entry_of
from storycore.caching.fences import Ticket
from storycore.caching.near_tier import NearTier
from storycore.caching.policies import Fetched
from storycore.caching.shared_tier import Claim, Loaded, SharedTier
from storycore.ports.environment import Environment

__all__ = ["Writes", "Writing"]

T = TypeVar("T")


class Writing(Generic[T]):
    """A write to the source that is under way; made by ``Region.writing``.

    ``confirmed`` says after the block whether the shared tier has confirmed that nothing older is served from it. Until
    it has, the invalidation is repeated, and nothing is served from the tier in this process.
    """

    def __init__(self) -> None:
        self.confirmed = False
        self._values: list[T | Fetched[T] | None] = []

    @property
    def values(self) -> Sequence[T | Fetched[T] | None]:
        """What was put, if anything was."""
        return self._values

    def put(self, value: T | Fetched[T] | None) -> None:
        """Say what the source holds now; it is stored when the block ends without an error. The last one counts."""
        self._values = [value]


class Writes:
    """How newest values come into the shared tier; the memory tier takes them from there.

    Args:
        near, shared: the tiers.
        forget: removes keys from this process, and keeps out what is being read or loaded.
        env: clock and randomness.
    """

    def __init__(
        self, near: NearTier, shared: SharedTier, forget: Callable[[Sequence[str]], None], env: Environment
    ) -> None:
        self._near = near
        self._shared = shared
        self._forget = forget
        self._env = env

    async def put(self, slot: Slot[T], value: T | Fetched[T] | None) -> bool:
        """Store what is the newest now; whether the shared tier confirmed that nothing older is served from it."""
        async with self._fenced(slot) as ticket:
            with self._invalidated_if_cut_short(slot):
                return await self._put(slot, ticket, value)

    @asynccontextmanager
    async def writing(self, slot: Slot[T]) -> AsyncIterator[Writing[T]]:
        """A block in which the source is written: the old value goes before, the new one is stored after it."""
        writing: Writing[T] = Writing()
        async with self._fenced(slot) as ticket:
            claim = await self._claim_anew(slot)
            try:
                yield writing
            except BaseException:  # the write may have happened all the same
                await self._shared.invalidate([slot.key])
                raise
            for value in writing.values:
                with self._invalidated_if_cut_short(slot):
                    writing.confirmed = await self._store(slot, ticket, claim, value)
            if not writing.values:
                writing.confirmed = await self._shared.invalidate([slot.key])

    async def _put(self, slot: Slot[T], ticket: Ticket, value: T | Fetched[T] | None) -> bool:
        claim = await self._claim(slot)
        if claim.lease is None and not claim.is_fault:
            claim = await self._claim_anew(slot)
        return await self._store(slot, ticket, claim, value)

    @asynccontextmanager
    async def _fenced(self, slot: Slot[T]) -> AsyncIterator[Ticket]:
        self._forget([slot.key])
        try:
            with self._near.tickets([slot]) as (ticket,):
                yield ticket
        finally:
            self._forget([slot.key])

    async def _claim(self, slot: Slot[T]) -> Claim[T]:
        (claim,) = await self._shared.claim([slot], refresh=True)
        return claim

    async def _claim_anew(self, slot: Slot[T]) -> Claim[T]:
        """The lease, from whoever has it: what he is loading may be older."""
        await self._shared.invalidate([slot.key])
        return await self._claim(slot)

    async def _store(self, slot: Slot[T], ticket: Ticket, claim: Claim[T], value: T | Fetched[T] | None) -> bool:
        entry = entry_of(slot.policy, value, self._env.clock.now(), self._env.random.random())
        took = False
        if ticket.alive and claim.lease is not None and entry.is_kept:
            (took,) = await self._shared.fill([Loaded(slot, claim, entry)])
        return took or await self._shared.invalidate([slot.key])

    @contextmanager
    def _invalidated_if_cut_short(self, slot: Slot[T]) -> Iterator[None]:
        """Whoever is cancelled leaves no older value: the key is invalidated in the background."""
        try:
            yield
        except BaseException:
            self._shared.outbox.add(keys=[slot.key])
            raise
