"""The lease protocol on one diskcache, synchronously, on one thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import diskcache  # type: ignore[import-untyped]  # diskcache ships no types

from storycore.errors import Corrupt, StorycoreError
from storycore.ports.cache import Acquired, CacheItem, Fill, KeyPage, Lease
from storycore.ports.environment import Environment
from storycore_diskcache import _sql
from storycore_diskcache._disk import BytesDisk, ForeignRow
from storycore_diskcache._faults import translated
from storycore_diskcache._place import Place, boot_id
from storycore_diskcache._sql import COUNTER, LEASE, MARK, VALUE, after_prefix
from storycore_diskcache.config import DiskcacheConfig

__all__ = ["Store"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOT = MARK + b"boot"
_TIDY_EVERY = 16
"""Writes between two looks at the size; SQLite tells it in 20 microseconds."""
_PAGES_IN_LOG = 4000
"""Four times SQLite's own: a row that is written often is copied to the database less often, in a tenth less time."""
_DEAD_AT_ONCE = 200
_OLD_AT_ONCE = 500


class _Cache(diskcache.Cache):  # type: ignore[misc]  # diskcache is untyped
    """A cache that lets go of its database when it cannot be opened; diskcache's own keeps it."""

    def __init__(self, **settings: Any) -> None:  # diskcache's own arguments
        try:
            super().__init__(**settings)
        except BaseException:
            self.close()
            raise


class Store:
    """Rows of one directory; every method is called on the same thread.

    Args:
        config: where and how large.
        env: clock, lease tokens and the counters' first values.
    """

    def __init__(self, config: DiskcacheConfig, env: Environment) -> None:
        self.place = Place(config.path)
        self.times_begun_anew = 0
        self._config = config
        self._env = env
        self._cache: Any = None  # diskcache is untyped
        self._identity: tuple[int, int] | None = None
        self._doomed: list[str] = []
        self._writes = 0

    @property
    def client(self) -> Any:
        """The raw diskcache, while open."""
        return self._cache

    def missing(self) -> list[str]:
        """What ``make()`` would do."""
        with translated(self.place.path):
            return self.place.missing()

    def make(self) -> None:
        """Create what is missing, and leave it closed."""
        with translated(self.place.path):
            self.place.make()
            self._connect()
            self.close()

    def open(self) -> None:
        """Open what has been made; a damaged cache is set aside."""
        try:
            with translated(self.place.path):
                self.place.require()
                self._connect()
        except Corrupt:
            self.begin_anew()

    def close(self) -> None:
        """Let go of the files."""
        cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()

    def refresh(self) -> None:
        """Open again when another process has set the database aside, or somebody has deleted it."""
        if self.place.identity() != self._identity:
            with translated(self.place.path):
                self.close()
                self.place.make()
                self._connect()

    def begin_anew(self) -> None:
        """Set a damaged database aside and start empty: it is only a cache."""
        with translated(self.place.path):
            self.close()
            if self.place.identity() == self._identity or self._identity is None:
                self.place.set_aside()
                self.times_begun_anew += 1
            self._connect()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One atomic step, across processes too."""
        with translated(self.place.path):
            self._doomed = []
            self._cache.disk.begun.clear()
            try:
                with self._cache.transact():
                    yield
                    self._tidy()
            except BaseException:  # no row leads to the files that were written
                self._doomed = self._cache.disk.begun
                raise
            finally:
                self._remove_doomed()

    def get_each(self, requests: Sequence[Sequence[str]]) -> list[list[bytes | None]]:
        """The live values for each request; needs no transaction and no space."""
        names = {key: VALUE + key.encode() for keys in requests for key in keys}
        with translated(self.place.path):
            found = self._live(list(names.values()))
        return [[found.get(names[key]) for key in keys] for keys in requests]

    def acquire_each(self, requests: Sequence[tuple[Sequence[str], timedelta, bool]]) -> list[list[Acquired]]:
        """A value, a lease, or neither, per key, for each request's keys, length of a lease, and whether to refresh."""
        names = [key.encode() for keys, _, _ in requests for key in keys]
        found = self._live([kind + name for name in dict.fromkeys(names) for kind in (VALUE, LEASE)])
        granted: list[tuple[bytes, bytes, timedelta]] = []
        answers = [
            [self._acquire(found, granted, key, lease, refresh) for key in keys] for keys, lease, refresh in requests
        ]
        self._write(granted)
        return answers

    def fill_each(self, requests: Sequence[Sequence[Fill]]) -> list[list[bool]]:
        """Store under leases that still live; each lease is used up by the first who fills under it."""
        held = self._live([LEASE + fill.lease.key.encode() for fills in requests for fill in fills])
        taken: dict[bytes, Fill] = {}
        answers = [[_take(held, taken, fill) for fill in fills] for fills in requests]
        self._replace([(name, fill.value, fill.ttl) for name, fill in taken.items()])
        return answers

    def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back."""
        for lease in leases:
            self._take(lease)

    def put_each(self, requests: Sequence[Sequence[CacheItem]]) -> list[None]:
        """Store at once and kill the leases; of values for one key the last one stays."""
        items = {item.key.encode(): item for request in requests for item in request}
        self._replace([(name, item.value, item.ttl) for name, item in items.items()])
        return [None] * len(requests)

    def invalidate(self, keys: Sequence[str]) -> int:
        """Remove values and kill leases; how many values were live."""
        names = list(dict.fromkeys(key.encode() for key in keys))
        live = len(self._live([VALUE + name for name in names]))
        self._delete([kind + name for name in names for kind in (VALUE, LEASE)])
        return live

    def touch(self, keys: Sequence[str], ttl: timedelta) -> list[bool]:
        """Give live values a new time to live."""
        now = self._now()
        return [_sql.set_expiry(self._sql, VALUE + key.encode(), now, now + _micros(ttl)) for key in keys]

    def known_counters(self, names: Sequence[str]) -> list[int] | None:
        """The counters, if all of them are there; needs no transaction and no space."""
        with translated(self.place.path):
            found = self._counters(names)
        return [found[name] for name in names] if all(name in found for name in names) else None

    def counters(self, names: Sequence[str]) -> list[int]:
        """The counters; a missing one starts at random."""
        found = self._counters(names)
        for name in names:
            if name not in found:
                found[name] = self._set_counter(name, self._env.random.randint(1, 2**62))
        return [found[name] for name in names]

    def bump(self, names: Sequence[str]) -> list[int]:
        """Add 1 to each counter."""
        self.counters(names)
        return [self._set_counter(name, self._counters([name])[name] + 1) for name in names]

    def keys(self, prefix: str, after: str | None, limit: int) -> KeyPage:
        """Keys of live values, ascending; needs no transaction and no space."""
        low, high = _range(VALUE, prefix)
        behind = b"" if after is None else VALUE + after.encode()
        with translated(self.place.path):
            found = _sql.live_keys(self._sql, low, high, behind, self._now(), limit + 1)
        names = [key[1:].decode() for key in found[:limit]]
        return KeyPage(names, next=names[-1] if len(found) > limit else None)

    def clear(self, prefix: str) -> int:
        """Remove values and kill leases under a prefix; how many values were live."""
        count = _sql.live_count(self._sql, *_range(VALUE, prefix), self._now())
        for kind in (VALUE, LEASE):
            self._doomed += _sql.delete_range(self._sql, *_range(kind, prefix))
        return count

    def measure(self, *, deep: bool) -> dict[str, str | int | float | bool]:
        """Counts and sizes for people; ``deep`` also reads the whole database.

        Raises:
            Corrupt: the database is damaged.
        """
        with translated(self.place.path):
            values = _sql.live_count(self._sql, *_range(VALUE, ""), self._now())
            size = int(self._cache.volume())
            verdict = _sql.integrity(self._sql) if deep else "ok"
        if verdict != "ok":
            raise Corrupt(f"The cache in {self.place.path} is damaged: {verdict}.")
        return {"values": values, "size_bytes": size, "size_limit_bytes": self._config.size_limit_bytes}

    @property
    def _sql(self) -> Any:
        return self._cache._sql

    def _connect(self) -> None:
        known_boot = boot_id()
        self._cache = _Cache(
            directory=str(self.place.path),
            timeout=self._config.busy_timeout_seconds,
            disk=BytesDisk,
            cull_limit=0,  # diskcache would evict counters too, and by its own clock
            eviction_policy="least-recently-stored",  # for its index
            tag_index=1,
            statistics=0,
            sqlite_synchronous=1 if known_boot else 2,
            sqlite_wal_autocheckpoint=_PAGES_IN_LOG,
        )
        self._identity = self.place.identity()
        with self._cache.transact():
            self._doomed = _sql.delete_foreign(self._sql)
            self._forget_earlier_boot(known_boot)
        self._remove_doomed()

    def _forget_earlier_boot(self, boot: str) -> None:
        """Drop everything after a restart of the machine, which may have undone the last invalidations."""
        known = self._read([_BOOT]).get(_BOOT)
        if boot and (known is None or known[0] != boot.encode()):
            self._doomed += _sql.delete_range(self._sql, b"", b"\xff")
            self._cache.set(_BOOT, boot.encode())

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int | None]]:
        """Value and expiry of each row of ours; rows that are none of ours are removed."""
        found: dict[bytes, tuple[bytes, int | None]] = {}
        foreign: list[bytes] = []
        for key, until, mode, filename, value in _sql.rows(self._sql, keys):
            try:
                found[key] = (self._cache.disk.fetch(mode, filename, value, False), until)
            except ForeignRow:
                foreign.append(key)
            except FileNotFoundError:
                continue  # another process replaced the value since the row was read
        if foreign:
            self._remove_foreign(foreign)
        return found

    def _remove_foreign(self, keys: Sequence[bytes]) -> None:
        with suppress(StorycoreError), translated(self.place.path), self._cache.transact():
            for name in _sql.delete(self._sql, keys):
                self._cache.disk.remove(name)

    def _live(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        now = self._now()
        return {key: data for key, (data, until) in self._read(keys).items() if isinstance(until, int) and until > now}

    def _acquire(
        self,
        found: dict[bytes, bytes],
        granted: list[tuple[bytes, bytes, timedelta]],
        key: str,
        lease: timedelta,
        refresh: bool,
    ) -> Acquired:
        name = key.encode()
        value = found.get(VALUE + name)
        if LEASE + name in found or (value is not None and not refresh):
            return Acquired(value=value)
        token = self._env.new_id()
        found[LEASE + name] = token.encode()
        granted.append((LEASE + name, token.encode(), lease))
        return Acquired(value=value, lease=Lease(key, token))

    def _take(self, lease: Lease) -> bool:
        """Use up a lease, if it lives."""
        name = LEASE + lease.key.encode()
        if self._live([name]).get(name) != lease.token.encode():
            return False
        self._delete([name])
        return True

    def _replace(self, values: Sequence[tuple[bytes, bytes, timedelta]]) -> None:
        """Store values and kill their leases."""
        names = [name for name, _, _ in values]
        found = _sql.present(self._sql, [kind + name for name in names for kind in (VALUE, LEASE)])
        self._delete([LEASE + name for name in names if LEASE + name in found])
        self._doomed += [file for name in names if (file := found.get(VALUE + name)) is not None]
        self._write([(VALUE + name, data, ttl) for name, data, ttl in values])

    def _write(self, rows: Sequence[tuple[bytes, bytes, timedelta]]) -> None:
        """As ``diskcache.Cache.set`` for each, but with one statement for all; files of older rows are the caller's."""
        now, stored_at, store = self._now(), time.time(), self._cache.disk.store
        _sql.put_rows(
            self._cache._con,
            [(key, stored_at, stored_at, now + _micros(ttl), *store(data, False, key=key)) for key, data, ttl in rows],
        )

    def _delete(self, keys: Sequence[bytes]) -> None:
        self._doomed += _sql.delete(self._sql, keys)

    def _counters(self, names: Sequence[str]) -> dict[str, int]:
        found = self._read([COUNTER + name.encode() for name in names])
        return {key[1:].decode(): int.from_bytes(data, "big") for key, (data, _) in found.items()}

    def _set_counter(self, name: str, value: int) -> int:
        self._cache.set(COUNTER + name.encode(), value.to_bytes(8, "big"))
        return value

    def _tidy(self) -> None:
        """Now and then: drop what has expired, and what is too much."""
        self._writes += 1
        if self._writes % _TIDY_EVERY:
            return
        self._doomed += _sql.delete_dead(self._sql, self._now(), _DEAD_AT_ONCE)
        excess = int(self._cache.volume()) - self._config.size_limit_bytes
        while excess > 0:
            old = _sql.oldest_values(self._sql, *_range(VALUE, ""), _OLD_AT_ONCE)
            if not old:
                return
            excess = self._evict(old, excess)

    def _evict(self, old: Sequence[tuple[bytes, int]], excess: int) -> int:
        """Delete values until ``excess`` bytes are gained; how many are still missing."""
        keys: list[bytes] = []
        for key, size in old:
            if excess <= 0:
                break
            keys.append(key)
            excess -= size
        self._delete(keys)
        return excess

    def _remove_doomed(self) -> None:
        for name in self._doomed:
            self._cache.disk.remove(name)
        self._doomed = []

    def _now(self) -> int:
        return _micros(self._env.clock.now() - _EPOCH)


def _take(held: dict[bytes, bytes], taken: dict[bytes, Fill], fill: Fill) -> bool:
    """Use up a lease, if it lives."""
    name = fill.lease.key.encode()
    if held.get(LEASE + name) != fill.lease.token.encode():
        return False
    del held[LEASE + name]
    taken[name] = fill
    return True


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _range(kind: bytes, prefix: str) -> tuple[bytes, bytes]:
    """From the first row of a kind and prefix on, below the first one after them."""
    low = kind + prefix.encode()
    return low, after_prefix(low)
