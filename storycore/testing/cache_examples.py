"""Keys, values and calls that every cache is tried with."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from storycore.ports.cache import MAX_KEY_BYTES, Acquired, Cache, CacheItem, Fill, Lease

__all__ = ["BAD_KEYS", "BAD_TTLS", "HELD_ELSEWHERE", "KEYS", "LEASE", "TTL", "VALUES", "fill", "item", "lease_of"]

TTL: Final = timedelta(minutes=10)
LEASE: Final = timedelta(seconds=10)

KEYS: Final = (
    "a",
    "A",
    "a ",
    " a",
    "0",
    "a:b",
    "a/../b",
    "%",
    "_",
    "a*",
    "a\x00b",
    "a\nb",
    "\u00e9",
    "e\u0301",
    "ключ",
    "\uffff",
    "\U0001f600",
    "a~l",
    "k" * MAX_KEY_BYTES,
    "\u00e9" * (MAX_KEY_BYTES // 2),
)
"""Each is another key than all the others."""

VALUES: Final = (b"", b"\x00", b"None", bytes(range(256)), b"\x80\x04N.", b"x" * 100_000)

BAD_KEYS: Final = ("", "k" * (MAX_KEY_BYTES + 1), "\u00e9" * 513, "\ud800", 7, None, b"bytes")

BAD_TTLS: Final = (timedelta(0), timedelta(seconds=-1), timedelta(microseconds=999), timedelta(days=3654), 60, None)


def item(key: str, value: bytes = b"v", ttl: timedelta = TTL) -> CacheItem:
    """A value to put."""
    return CacheItem(key, value, ttl)


async def lease_of(store: Cache, key: str, *, refresh: bool = False) -> Lease:
    """A lease on a key that nobody holds one on."""
    (got,) = await store.acquire([key], lease=LEASE, refresh=refresh)
    assert got.lease is not None, f"no lease on {key!r}, but {got}"
    return got.lease


async def fill(store: Cache, lease: Lease, value: bytes = b"v", ttl: timedelta = TTL) -> bool:
    """Fill one key."""
    (accepted,) = await store.fill([Fill(lease, value, ttl)])
    return accepted


HELD_ELSEWHERE: Final = Acquired()
"""What ``acquire`` answers when somebody else holds the lease and nothing is there."""
