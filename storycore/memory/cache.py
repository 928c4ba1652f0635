"""The cache in plain dicts: the reference for what the Cache port means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from storycore.errors import Unsupported
from storycore.memory.config import MemoryCacheConfig
from storycore.ports.cache import Acquired, Cache, CacheItem, Fill, KeyPage, Lease, Listener
from storycore.ports.capabilities import Capabilities
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle

__all__ = ["MemoryCache", "open_cache"]


def open_cache(config: MemoryCacheConfig, env: Environment) -> Cache:
    """Make the cache, empty."""
    return MemoryCache(config, env)


@dataclass(frozen=True, slots=True)
class _Value:
    data: bytes
    until: datetime


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    until: datetime


class MemoryCache(Lifecycle):
    """Values, leases and counters, each in a dict; the value that was written longest ago is evicted first."""

    def __init__(self, config: MemoryCacheConfig, env: Environment) -> None:
        self._config = config
        self._env = env
        self._values: dict[str, _Value] = {}
        self._leases: dict[str, _Held] = {}
        self._counters: dict[str, int] = {}
        self._size_bytes = 0

    @property
    def info(self) -> AdapterInfo:
        """Memory, of no place."""
        return AdapterInfo(adapter="memory")

    @property
    def capabilities(self) -> Capabilities:
        """The port has no optional features."""
        return Capabilities()

    async def health(self, *, deep: bool = False) -> Health:
        """Counts and sizes."""
        facts = {"values": len(self._values), "size_bytes": self._size_bytes, "leases": len(self._leases)}
        return Health(ok=self._opened, detail="" if self._opened else "The cache is not open.", facts=facts)

    async def close(self) -> None:
        """Forget everything."""
        await super().close()
        self._values.clear()
        self._leases.clear()
        self._counters.clear()
        self._size_bytes = 0

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The live values."""
        self._require_open()
        return [self._live(key) for key in keys]

    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        """A value, a lease, or neither, per key."""
        self._require_open()
        self._drop_dead_leases()
        return [self._acquire(key, lease, refresh) for key in keys]

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        """Store under leases that still live."""
        self._require_open()
        return [self._fill(fill) for fill in fills]

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back."""
        self._require_open()
        for lease in leases:
            if self._holds(lease):
                del self._leases[lease.key]

    async def put(self, items: Sequence[CacheItem]) -> None:
        """Store at once and kill the leases."""
        self._require_open()
        for item in items:
            self._leases.pop(item.key, None)
            self._store(item.key, item.value, item.ttl)

    async def invalidate(self, keys: Sequence[str]) -> int:
        """Remove values and kill leases."""
        self._require_open()
        return sum(self._invalidate(key) for key in keys)

    async def touch(self, keys: Sequence[str], ttl: timedelta) -> list[bool]:
        """Give live values a new time to live."""
        self._require_open()
        return [self._touch(key, ttl) for key in keys]

    async def counters(self, names: Sequence[str]) -> list[int]:
        """The counters' values; a missing one starts at random."""
        self._require_open()
        return [self._counter(name) for name in names]

    async def bump(self, names: Sequence[str]) -> list[int]:
        """Add 1 to each counter."""
        self._require_open()
        bumped: list[int] = []
        for name in names:
            self._counters[name] = self._counter(name) + 1
            bumped.append(self._counters[name])
        return bumped

    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        """Keys of live values, ascending."""
        self._require_open()
        live = [key for key in list(self._values) if self._live(key) is not None]
        found = sorted(key for key in live if key.startswith(prefix) and (after is None or key > after))
        page = found[:limit]
        return KeyPage(page, next=page[-1] if len(found) > limit else None)

    async def clear(self, prefix: str = "") -> int:
        """Remove values and kill leases under a prefix."""
        self._require_open()
        keys = {key for key in [*self._values, *self._leases] if key.startswith(prefix)}
        return sum(self._invalidate(key) for key in keys)

    async def listen(self, listener: Listener) -> Callable[[], None]:
        """Not offered."""
        raise Unsupported("The adapter 'memory' tells no changes.", feature="cache.push")

    def _acquire(self, key: str, lease: timedelta, refresh: bool) -> Acquired:
        value = self._live(key)
        if value is not None and not refresh:
            return Acquired(value=value)
        if key in self._leases:
            return Acquired(value=value)
        token = self._env.new_id()
        self._leases[key] = _Held(token, self._env.clock.now() + lease)
        return Acquired(value=value, lease=Lease(key, token))

    def _fill(self, fill: Fill) -> bool:
        if not self._holds(fill.lease):
            return False
        del self._leases[fill.lease.key]
        self._store(fill.lease.key, fill.value, fill.ttl)
        return True

    def _invalidate(self, key: str) -> bool:
        held = self._live(key) is not None
        self._leases.pop(key, None)
        self._drop(key)
        return held

    def _touch(self, key: str, ttl: timedelta) -> bool:
        value = self._live(key)
        if value is not None:
            self._values[key] = _Value(value, self._env.clock.now() + ttl)
        return value is not None

    def _live(self, key: str) -> bytes | None:
        held = self._values.get(key)
        if held is None:
            return None
        if held.until <= self._env.clock.now():
            self._drop(key)
            return None
        return held.data

    def _holds(self, lease: Lease) -> bool:
        held = self._leases.get(lease.key)
        return held is not None and held.token == lease.token and held.until > self._env.clock.now()

    def _drop_dead_leases(self) -> None:
        now = self._env.clock.now()
        for key in [key for key, held in self._leases.items() if held.until <= now]:
            del self._leases[key]

    def _counter(self, name: str) -> int:
        return self._counters.setdefault(name, self._env.random.randint(1, 2**62))

    def _store(self, key: str, value: bytes, ttl: timedelta) -> None:
        self._drop(key)
        self._values[key] = _Value(value, self._env.clock.now() + ttl)
        self._size_bytes += _cost(key, value)
        while self._size_bytes > self._config.max_bytes:
            self._drop(next(iter(self._values)))

    def _drop(self, key: str) -> None:
        held = self._values.pop(key, None)
        if held is not None:
            self._size_bytes -= _cost(key, held.data)


def _cost(key: str, value: bytes) -> int:
    return len(key.encode()) + len(value)
