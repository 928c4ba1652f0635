"""The Cache port on disk, through diskcache: one directory for all processes of a machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Any, TypeVar

from storycore.errors import StorageFull, StorycoreError, Unavailable, Unsupported
from storycore.ports.cache import Acquired, Cache, CacheItem, Fill, KeyPage, Lease, Listener
from storycore.ports.capabilities import Capabilities, Guarantees
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle, Provision
from storycore_diskcache._lane import Lane
from storycore_diskcache._store import Store
from storycore_diskcache.config import DiskcacheConfig

__all__ = ["DiskCache", "open_cache"]

R = TypeVar("R")


def open_cache(config: DiskcacheConfig, env: Environment) -> Cache:
    """Make the cache, not yet open."""
    return DiskCache(config, env)


class DiskCache(Lifecycle):
    """Values, leases and counters as rows of one diskcache; all work happens on one thread, in batches.

    Every change is a transaction of SQLite, so the promises about leases hold between processes. A damaged cache is
    set aside and begun anew. A restart of the machine empties it, for the last invalidations may be lost with it.
    """

    def __init__(self, config: DiskcacheConfig, env: Environment) -> None:
        self._config = config
        self._store = Store(config, env)
        self._lane = Lane(self._store)

    @property
    def info(self) -> AdapterInfo:
        """The directory."""
        return AdapterInfo("diskcache", version("storycore-diskcache"), str(self._config.path))

    @property
    def capabilities(self) -> Capabilities:
        """The port has no optional features; several processes may share the directory."""
        return Capabilities(guarantees=Guarantees(multi_process=True))

    async def open(self) -> None:
        """Open the directory; a damaged cache in it is set aside."""
        if not self._opened:
            await self._lane.alone(Store.open)
            self._natives = (self._store.client,)
            self._owner = os.getpid()
            self._opened = True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Create the directory, readable by its owner alone, with an empty cache."""
        actions = await self._lane.alone(lambda store: store.missing())
        if actions and not dry_run:
            await self._lane.alone(Store.make)
        return Provision(actions)

    async def health(self, *, deep: bool = False) -> Health:
        """Counts and sizes, and whether a damaged cache was set aside."""
        if not self._opened:
            return Health(ok=False, detail=f"The cache in {self._config.path} is not open; call ensure() and open().")
        started = time.perf_counter()
        try:
            facts = await self._read(lambda store: store.measure(deep=deep))
        except StorycoreError as exc:
            return Health(ok=False, detail=exc.message, latency_ms=_since(started))
        facts["times_begun_anew"] = self._store.times_begun_anew
        return Health(ok=True, detail=self._remark(), latency_ms=_since(started), facts=facts)

    async def close(self) -> None:
        """Close the files and end the thread; in a forked child, which has no such thread, touch nothing."""
        if self._opened and os.getpid() != self._owner:
            return
        if self._opened:
            await super().close()
            await self._lane.alone(Store.close)
        self._natives = ()
        self._lane.close()

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The live values."""
        self._require_open()
        return await self._lane.read(Store.get_each, keys)

    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        """A value, a lease, or neither, per key; values are also found when there is no space for a lease."""
        self._require_open()
        try:
            return await self._lane.write(Store.acquire_each, (keys, lease, refresh))
        except StorageFull:
            values = await self.get(keys)
            if refresh or None in values:
                raise
            return [Acquired(value=value) for value in values]

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        """Store under leases that still live."""
        self._require_open()
        return await self._lane.write(Store.fill_each, fills)

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back."""
        await self._write(lambda store: store.release(leases))

    async def put(self, items: Sequence[CacheItem]) -> None:
        """Store at once and kill the leases."""
        self._require_open()
        await self._lane.write(Store.put_each, items)

    async def invalidate(self, keys: Sequence[str]) -> int:
        """Remove values and kill leases."""
        return await self._write(lambda store: store.invalidate(keys))

    async def touch(self, keys: Sequence[str], ttl: timedelta) -> list[bool]:
        """Give live values a new time to live."""
        return await self._write(lambda store: store.touch(keys, ttl))

    async def counters(self, names: Sequence[str]) -> list[int]:
        """The counters' values; a missing one starts at random and is stored."""
        known = await self._read(lambda store: store.known_counters(names))
        return known if known is not None else await self._write(lambda store: store.counters(names))

    async def bump(self, names: Sequence[str]) -> list[int]:
        """Add 1 to each counter."""
        return await self._write(lambda store: store.bump(names))

    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        """Keys of live values, ascending."""
        return await self._read(lambda store: store.keys(prefix, after, limit))

    async def clear(self, prefix: str = "") -> int:
        """Remove values and kill leases under a prefix."""
        return await self._write(lambda store: store.clear(prefix))

    async def listen(self, listener: Listener) -> Callable[[], None]:
        """Not offered."""
        raise Unsupported("The adapter 'diskcache' tells no changes.", feature="cache.push")

    async def _read(self, act: Callable[[Store], R]) -> R:
        self._require_open()
        return await self._lane.read(_in_turn, act)

    async def _write(self, act: Callable[[Store], R]) -> R:
        self._require_open()
        return await self._lane.write(_in_turn, act)

    def _require_open(self) -> None:
        super()._require_open()
        if os.getpid() != self._owner:
            raise Unavailable(
                f"The cache in {self._config.path} was opened before this process was forked; "
                "open a store of its own in each process."
            )

    def _remark(self) -> str:
        if self._store.place.damaged.is_dir():
            return f"A damaged cache was set aside in {self._store.place.damaged}; delete it when it is of no interest."
        return ""


def _in_turn(store: Store, acts: Sequence[Callable[[Store], Any]]) -> list[Any]:
    """What cannot be answered together."""
    return [act(store) for act in acts]


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
