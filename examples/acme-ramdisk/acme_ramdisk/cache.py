"""The cache: two dictionaries, one of values and one of leases, and time from the environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version

from acme_ramdisk.config import RamdiskConfig
from storycore.errors import Unsupported
from storycore.ports.cache import Acquired, Cache, CacheItem, Fill, KeyPage, Lease, Listener
from storycore.ports.capabilities import Capabilities
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle

__all__ = ["RamdiskCache", "open_cache"]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A value or a lease's token, and when it ends."""

    content: bytes
    until: datetime


class RamdiskCache(Lifecycle):
    """Bytes under keys, for as long as the process lives.

    Every method is one step of the event loop, so none needs a lock.
    """

    def __init__(self, config: RamdiskConfig, env: Environment) -> None:
        self._config = config
        self._env = env
        self._values: dict[str, _Kept] = {}
        self._leases: dict[str, _Kept] = {}
        self._counters: dict[str, int] = {}

    @property
    def info(self) -> AdapterInfo:
        """Who is behind the port."""
        return AdapterInfo("ramdisk", version("acme-ramdisk"))

    @property
    def capabilities(self) -> Capabilities:
        """Nothing beyond the port's promises."""
        return Capabilities()

    async def health(self, *, deep: bool = False) -> Health:
        """Always well while open."""
        return Health(ok=self._opened, detail="" if self._opened else "not open", facts={"values": len(self._values)})

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The live values."""
        self._require_open()
        return [self._live(self._values, key) for key in keys]

    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        """Values, or leases to load what is missing."""
        self._require_open()
        return [self._acquire(key, lease, refresh) for key in keys]

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        """Store what was loaded under a lease that still lives."""
        self._require_open()
        return [self._fill(fill) for fill in fills]

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back."""
        self._require_open()
        for lease in leases:
            self._take(lease)

    async def put(self, items: Sequence[CacheItem]) -> None:
        """Store values and kill their leases."""
        self._require_open()
        for item in items:
            self._leases.pop(item.key, None)
            self._store(item.key, item.value, item.ttl)

    async def invalidate(self, keys: Sequence[str]) -> int:
        """Remove values and kill their leases."""
        self._require_open()
        held = sum(self._live(self._values, key) is not None for key in set(keys))
        for key in keys:
            self._values.pop(key, None)
            self._leases.pop(key, None)
        return held

    async def touch(self, keys: Sequence[str], ttl: timedelta) -> list[bool]:
        """Let live values live anew."""
        self._require_open()
        found = [self._live(self._values, key) for key in keys]
        for key, value in zip(keys, found, strict=True):
            if value is not None:
                self._values[key] = _Kept(value, self._env.clock.now() + ttl)
        return [value is not None for value in found]

    async def counters(self, names: Sequence[str]) -> list[int]:
        """The counters, each begun at random."""
        self._require_open()
        return [self._counters.setdefault(name, self._env.random.randint(1, 2**62)) for name in names]

    async def bump(self, names: Sequence[str]) -> list[int]:
        """Count on, one after the other."""
        return [self._bump(name, value) for name, value in zip(names, await self.counters(names), strict=True)]

    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        """Keys of live values, ascending."""
        self._require_open()
        live = sorted(
            key for key in list(self._values) if key.startswith(prefix) and self._live(self._values, key) is not None
        )
        rest = [key for key in live if after is None or key > after]
        return KeyPage(rest[:limit], rest[limit - 1] if len(rest) > limit else None)

    async def clear(self, prefix: str = "") -> int:
        """Remove all values below a prefix and kill their leases."""
        return await self.invalidate([key for key in {*self._values, *self._leases} if key.startswith(prefix)])

    async def listen(self, listener: Listener) -> Callable[[], None]:
        """Not offered."""
        raise Unsupported("The adapter 'ramdisk' tells no changes.", feature="cache.push")

    def _bump(self, name: str, started: int) -> int:
        self._counters[name] = self._counters.get(name, started) + 1
        return self._counters[name]

    def _live(self, kept: dict[str, _Kept], key: str) -> bytes | None:
        found = kept.get(key)
        if found is not None and found.until <= self._env.clock.now():
            del kept[key]
            return None
        return found.content if found is not None else None

    def _acquire(self, key: str, duration: timedelta, refresh: bool) -> Acquired:
        value = self._live(self._values, key)
        if value is not None and not refresh:
            return Acquired(value=value)
        if self._live(self._leases, key) is not None:
            return Acquired(value=value)
        token = self._env.new_id()
        self._leases[key] = _Kept(token.encode(), self._env.clock.now() + duration)
        return Acquired(value=value, lease=Lease(key, token))

    def _take(self, lease: Lease) -> bool:
        """Use a lease up, if it is the live one."""
        if self._live(self._leases, lease.key) != lease.token.encode():
            return False
        del self._leases[lease.key]
        return True

    def _fill(self, fill: Fill) -> bool:
        if not self._take(fill.lease):
            return False
        self._store(fill.lease.key, fill.value, fill.ttl)
        return True

    def _store(self, key: str, value: bytes, ttl: timedelta) -> None:
        self._values.pop(key, None)
        self._values[key] = _Kept(value, self._env.clock.now() + ttl)
        if len(self._values) > self._config.max_entries:
            del self._values[next(iter(self._values))]


def open_cache(config: RamdiskConfig, env: Environment) -> Cache:
    """Make the cache; it is not open yet."""
    return RamdiskCache(config, env)
