"""Arrivals: what was loaded becomes an entry, and enters the tiers unless something came between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from storycore.caching.entries import Entry, Slot, entry_of
from storycore.caching.fences import Ticket
from storycore.caching.near_tier import NearTier
from storycore.caching.policies import Fetched, Policy
from storycore.caching.shared_tier import Loaded, SharedTier
from storycore.errors import DeadlineExceeded, Effect
from storycore.ports.environment import Environment

__all__ = ["Arrivals", "counted"]

T = TypeVar("T")
R = TypeVar("R")

_MICROSECOND = timedelta(microseconds=1)


class Arrivals:
    """The way from a loader into both tiers.

    Args:
        near, shared: the tiers to fill.
        env: clock and randomness.
    """

    def __init__(self, near: NearTier, shared: SharedTier, env: Environment) -> None:
        self._near = near
        self._shared = shared
        self._env = env

    def entry(self, slot: Slot[T], value: T | Fetched[T] | None, begun: datetime) -> Entry[T]:
        """The entry of a value whose load began then."""
        now = self._env.clock.now()
        cost = max((now - begun) // _MICROSECOND, 0)
        return entry_of(slot.policy, value, now, self._env.random.random(), cost=cost)

    async def bring_in(self, rows: Sequence[tuple[Loaded[T], Ticket]]) -> list[bool]:
        """Fill the shared tier under the leases, and the memory tier with what it accepted; which were accepted."""
        since = self._env.clock.now()
        ours = [row for row in rows if row[0].claim.lease is not None]
        await self._shared.release([loaded.claim for loaded, ticket in ours if not ticket.alive])
        alive = [loaded for loaded, ticket in ours if ticket.alive]
        took = dict(zip((loaded.slot.key for loaded in alive), await self._shared.fill(alive), strict=True))
        for loaded, ticket in ours:
            if took.get(loaded.slot.key, False):
                loaded.slot.policy.counts.fills += loaded.entry.is_kept
                self._near.remember(loaded.slot, ticket, loaded.entry, since)
            else:
                loaded.slot.policy.counts.refused += 1
        if self._shared.is_cut_off:
            for loaded, ticket in rows:
                if loaded.claim.is_fault:
                    self._near.bridge(loaded.slot, ticket, loaded.entry, since)
        return [took.get(loaded.slot.key, False) for loaded, _ in rows]


async def counted(policy: Policy[Any], load: Callable[[], Awaitable[R]]) -> R:
    """What ``load`` returns within the region's hard timeout.

    Raises:
        DeadlineExceeded: it took longer, and was cancelled.
    """
    policy.counts.loads += 1
    try:
        return await (load() if policy.hard_timeout is None else _in_time(policy, policy.hard_timeout, load))
    except Exception:
        policy.counts.load_errors += 1
        raise


async def _in_time(policy: Policy[Any], longest: timedelta, load: Callable[[], Awaitable[R]]) -> R:
    timer = asyncio.timeout(longest.total_seconds())
    try:
        async with timer:
            return await load()
    except TimeoutError as exc:
        if not timer.expired():
            raise
        raise DeadlineExceeded(
            f"The load of {policy.name!r} took longer than its hard timeout of {longest.total_seconds():g} s.",
            effect=Effect.UNKNOWN,
        ) from exc
