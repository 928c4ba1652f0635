"""The Cache port: bytes under keys, with leases that make a late fill harmless.

Codec, tags' meaning, time-to-live policy, stampede protection and statistics live above it, in ``storycore.caching``.
The protocol in one paragraph: a reader that misses *acquires* a lease, loads, and *fills* under that lease. An
invalidation kills the lease, so a value that was loaded before the invalidation can never enter after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeAlias

from storycore.ports.lifecycle import Port

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_PAGE",
    "MAX_TTL",
    "MAX_VALUE_BYTES",
    "MIN_TTL",
    "Acquired",
    "Cache",
    "CacheItem",
    "Changed",
    "Fill",
    "KeyPage",
    "Lease",
    "Listener",
]

MAX_KEY_BYTES = 1024
MAX_VALUE_BYTES = 8 * 1024 * 1024
MAX_PAGE = 1000
MIN_TTL = timedelta(milliseconds=1)
MAX_TTL = timedelta(days=3653)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to fill one key once. ``token`` is issued by the adapter and not parsed by callers."""

    key: str
    token: str


@dataclass(frozen=True, slots=True)
class Acquired:
    """What ``acquire`` found for one key.

    Exactly one of three: a ``value`` and no lease (a hit, or with ``refresh`` the old value whose lease somebody else
    holds); a ``lease`` (ours to load and fill; ``value`` holds the old value, if any, when ``refresh`` was asked);
    neither (somebody else holds the lease: wait, then read again).
    """

    value: bytes | None = None
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """A loaded value on its way in.

    Args:
        lease: from ``acquire``; used up by the call.
        value: the bytes, at most 8 MiB.
        ttl: how long the value lives, 1 ms to 3653 days.
    """

    lease: Lease
    value: bytes
    ttl: timedelta


@dataclass(frozen=True, slots=True)
class CacheItem:
    """A value to be put without a lease, by the one who knows that it is the newest."""

    key: str
    value: bytes
    ttl: timedelta


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys, and the last one to go on behind; ``next`` is ``None`` exactly when nothing is left."""

    keys: Sequence[str]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """Values and counters, by their names, that somebody else may have changed or removed."""

    keys: Sequence[str] = ()
    counters: Sequence[str] = ()


Listener: TypeAlias = Callable[[Changed | None], None]
"""Is told of changes on the event loop; quick, and raises nothing. ``None``: anything may have changed unnoticed."""


class Cache(Port, Protocol):
    """Bytes under keys with a time to live.

    Keys and counter names are 1 to 1024 UTF-8 bytes of any valid text, a ttl or lease is 1 ms to 3653 days.
    Promised by every adapter:

    - A value is absent from the instant its ttl has passed on the injected clock.
    - Once ``invalidate(k)`` has returned, no fill under a lease that was acquired before it began can succeed.
    - At most one live lease per key.
    - Any value may be gone at any time (eviction); a value is never wrong.
    """

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The live values, in the order of ``keys``; keys may repeat."""
        ...

    async def acquire(self, keys: Sequence[str], *, lease: timedelta, refresh: bool = False) -> list[Acquired]:
        """For each key (each at most once) its value, or a lease, or neither when another holds the lease.

        Args:
            lease: how long a lease lives; it then counts as never taken.
            refresh: take the lease even though a value is there; the value stays readable until the fill.
        """
        ...

    async def fill(self, fills: Sequence[Fill]) -> list[bool]:
        """Store each value if its lease still lives; ``False`` where it was invalidated, replaced or has expired."""
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back unfilled; a lease that no longer lives is passed over."""
        ...

    async def put(self, items: Sequence[CacheItem]) -> None:
        """Store values at once and kill the keys' leases. Each key at most once."""
        ...

    async def invalidate(self, keys: Sequence[str]) -> int:
        """Remove values and kill leases, atomically per key; returns how many keys held a live value."""
        ...

    async def touch(self, keys: Sequence[str], ttl: timedelta) -> list[bool]:
        """Give live values a new time to live; ``False`` where there is none."""
        ...

    async def counters(self, names: Sequence[str]) -> list[int]:
        """The present values of named counters, which have a space of names of their own.

        A counter that is not there starts at a random number in 1..2**62, so that a lost counter never comes back to
        an earlier value; from then on it stays until bumped.
        """
        ...

    async def bump(self, names: Sequence[str]) -> list[int]:
        """Add 1 to each counter, atomically; returns the new values."""
        ...

    async def keys(self, prefix: str = "", *, after: str | None = None, limit: int = 1000) -> KeyPage:
        """Keys of live values that begin with ``prefix``, ascending by UTF-8 bytes, behind ``after``.

        ``limit`` is 1 to 1000; a page holds as many keys unless fewer are left.
        """
        ...

    async def clear(self, prefix: str = "") -> int:
        """Remove all values whose key begins with ``prefix`` and kill all their leases; returns how many values."""
        ...

    async def listen(self, listener: Listener) -> Callable[[], None]:
        """Be told of what others change; needs the feature ``cache.push``. The answer's call ends it.

        From now on, whatever this instance reads or stores is told of when it is next changed, removed or evicted by
        another client: soon, once, and never before the answer of a read that saw the old state has arrived. What this
        instance changes itself need not be told. ``None`` is told when changes may have gone unnoticed, because the
        connection was lost or the cache is closed: everything that was read before may be out of date.

        Raises:
            Unsupported: the adapter does not have ``cache.push``.
        """
        ...
