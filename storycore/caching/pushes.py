"""Pushes: the shared tier tells what others have changed, so that copies in memory may live as long as their values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from storycore.caching.near_tier import NearTier
from storycore.layers.deadline import timeless
from storycore.ports.cache import Cache, Changed
from storycore.ports.environment import Clock

__all__ = ["Pushes"]

_PAUSE = timedelta(seconds=1)


class Pushes:
    """What the port tells, carried out on the memory tier; used from one event loop.

    Until the port listens, and where it cannot, copies live no longer than the memory tier says. What is read or
    stored from then on is told of at its next change, so that its copies live as long as their values; a read that
    began before does not count. When the port has lost sight of the changes, everything in memory goes.

    Args:
        port: has the feature ``cache.push``.
        near: the memory tier.
        clock: times the attempts.
    """

    def __init__(self, port: Cache, near: NearTier, clock: Clock) -> None:
        self._port = port
        self._near = near
        self._clock = clock
        self._stop: Callable[[], None] | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._not_before: datetime | None = None
        self._is_closed = False

    def begin(self) -> None:
        """See to it that the port listens; nobody waits for it."""
        if self._stop is not None or self._is_closed:
            return
        if self._beginning is not None and not self._beginning.done():
            return
        if self._not_before is None or self._clock.now() >= self._not_before:
            self._beginning = asyncio.create_task(self._listen(), context=timeless())

    async def close(self) -> None:
        """Listen no more."""
        self._is_closed = True
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.wait([self._beginning])
        if self._stop is not None:
            self._stop()
            self._stop = None

    async def _listen(self) -> None:
        try:
            self._stop = await self._port.listen(self._hear)
        except Exception:  # whatever the tier raises, copies keep their short lives, and it is tried again
            self._not_before = self._clock.now() + _PAUSE
            return
        self._near.hears = True

    def _hear(self, changed: Changed | None) -> None:
        if changed is None:
            self._near.forget_all()
            return
        if changed.keys:
            self._near.forget(changed.keys)
        if changed.counters:
            self._near.forget_tagged(changed.counters)
