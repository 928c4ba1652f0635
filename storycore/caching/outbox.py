"""Invalidations that the shared tier has not confirmed: kept until it does, and nothing is served from it before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from storycore.caching.guard import Guard
from storycore.layers.deadline import timeless
from storycore.ports.cache import Cache
from storycore.ports.environment import Environment

__all__ = ["Outbox"]

_LIMIT = 10_000
_FIRST_PAUSE = timedelta(milliseconds=50)
_LONGEST_PAUSE = timedelta(seconds=5)


class Outbox:
    """A bounded list of invalidations to repeat; beyond the bound they become one: clear the whole namespace.

    Args:
        port: the shared tier.
        guard: of the shared tier; also limits how long a reader waits for a delivery.
        env: its clock times the attempts.
        prefix: of all the namespace's keys.
    """

    def __init__(self, port: Cache, guard: Guard, env: Environment, prefix: str) -> None:
        self._port = port
        self._guard = guard
        self._env = env
        self._prefix = prefix
        self._keys: set[str] = set()
        self._tags: set[str] = set()
        self._everything = False
        self._under_way = 0
        self._sending = asyncio.Lock()
        self._pause = _FIRST_PAUSE
        self._not_before: datetime | None = None
        self._drain: asyncio.Task[None] | None = None
        self._flushing: set[asyncio.Task[bool]] = set()

    def __len__(self) -> int:
        return len(self._keys) + len(self._tags) + self._everything + self._under_way

    def add(self, *, keys: Iterable[str] = (), tags: Iterable[str] = (), everything: bool = False) -> None:
        """Remember invalidations and begin to repeat them in the background."""
        self._keys.update(keys)
        self._tags.update(tags)
        self._everything = self._everything or everything or len(self._keys) + len(self._tags) > _LIMIT
        if self._everything:
            self._keys.clear()
            self._tags.clear()
        self._postpone()
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._keep_trying(), context=timeless())

    async def settled(self) -> bool:
        """Whether the shared tier may be used now: nothing is pending, or all of it was just confirmed."""
        if not self._sending.locked() and not len(self):
            return True
        if self._sending.locked() or (self._not_before is not None and self._env.clock.now() < self._not_before):
            return False
        task = asyncio.create_task(self.flush(), context=timeless())
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)
        await asyncio.wait([task], timeout=self._guard.seconds)
        return task.done() and task.result()

    async def flush(self) -> bool:
        """Repeat everything pending now; whether nothing is left."""
        async with self._sending:
            return await self._flush()

    async def close(self) -> None:
        """Try once more, or wait for whoever is trying, then stop."""
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)
        if self._flushing:
            await asyncio.wait(self._flushing)
        if self._sending.locked() or len(self):
            self._guard.relent()
            await self.flush()

    async def _flush(self) -> bool:
        keys, tags, everything = self._keys, self._tags, self._everything
        self._keys, self._tags, self._everything = set(), set(), False
        self._under_way = len(keys) + len(tags) + everything
        confirmed = False
        try:
            confirmed = await self._send(keys, tags, everything)
        finally:
            self._under_way = 0
            if not confirmed:
                self._keys |= keys
                self._tags |= tags
                self._everything = self._everything or everything
                self._postpone()
        self._pause = _FIRST_PAUSE
        return confirmed and not len(self)

    async def _send(self, keys: set[str], tags: set[str], everything: bool) -> bool:
        try:
            if everything:
                await self._guard.run(lambda: self._port.clear(self._prefix), in_time=False)
            if keys:
                await self._guard.run(lambda: self._port.invalidate(sorted(keys)), in_time=False)
            if tags:
                await self._guard.run(lambda: self._port.bump(sorted(tags)), in_time=False)
        except Exception:  # whatever the tier raises, its answer is "not confirmed", and the outbox keeps them
            return False
        return True

    async def _keep_trying(self) -> None:
        while len(self) or self._sending.locked():  # what somebody is sending may come back
            await asyncio.sleep(self._pause.total_seconds())
            if not self._sending.locked() and len(self):
                await self.flush()

    def _postpone(self) -> None:
        self._not_before = self._env.clock.now() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
