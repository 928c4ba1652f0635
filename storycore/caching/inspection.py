"""Inspection: what lies in the shared tier, for people; nothing is loaded, kept or counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from storycore.caching.envelope import open_envelope
from storycore.caching.policies import Policy
from storycore.ports.cache import Cache
from storycore.ports.instants import micros, moment

__all__ = ["Inspection", "census", "inspect"]

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the shared tier holds under one key.

    Args:
        key: within the namespace.
        size_bytes: of everything that is stored.
        readable: whether the bytes are whole, and signed with one of the keys in use; else only the size is known.
        regions: the declared regions whose values have this form.
        stored_at: when it was loaded.
        fresh_until: when its time to live ends, or has ended.
        age: since it was loaded.
        stale: whether its time to live has passed.
        absent: it is remembered that there is nothing.
        tags: how many tags it carries.
        load_took: how long its load took.
        payload: the encoded value; ``None`` when not readable.
    """

    key: str
    size_bytes: int
    readable: bool
    regions: Sequence[str] = ()
    stored_at: datetime | None = None
    fresh_until: datetime | None = None
    age: timedelta | None = None
    stale: bool = False
    absent: bool = False
    tags: int = 0
    load_took: timedelta | None = None
    payload: bytes | None = None

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json`` output, times in seconds; the payload as text where it is text."""
        found: dict[str, object] = asdict(self)
        for name in ("age", "load_took"):
            value = found[name]
            found[name] = value.total_seconds() if isinstance(value, timedelta) else None
        found["payload"] = _text(self.payload)
        return found


async def inspect(
    port: Cache, prefix: str, key: str, *, policies: Mapping[str, Policy[Any]], secrets: Sequence[bytes], now: datetime
) -> Inspection | None:
    """What lies under ``key``; ``None`` when nothing does."""
    (sealed,) = await port.get([prefix + key])
    if sealed is None:
        return None
    found = open_envelope(prefix + key, sealed, secrets=secrets)
    if found is None:
        return Inspection(key=key, size_bytes=len(sealed), readable=False)
    return Inspection(
        key=key,
        size_bytes=len(sealed),
        readable=True,
        regions=[name for name, policy in policies.items() if policy.codec.schema == found.schema],
        stored_at=moment(found.stored_at),
        fresh_until=moment(found.fresh_until),
        age=timedelta(microseconds=micros(now) - found.stored_at),
        stale=micros(now) >= found.fresh_until,
        absent=found.absent,
        tags=len(found.versions),
        load_took=timedelta(microseconds=found.cost),
        payload=found.payload,
    )


async def census(port: Cache, prefix: str) -> dict[str, int]:
    """How many values there are, by what their keys begin with, up to the first colon."""
    counts: dict[str, int] = {}
    after: str | None = None
    while True:
        page = await port.keys(prefix, after=after, limit=_PAGE)
        for key in page.keys:
            head = key[len(prefix) :].partition(":")[0]
            counts[head] = counts.get(head, 0) + 1
        after = page.next
        if after is None:
            return counts


def _text(payload: bytes | None) -> str | None:
    try:
        return None if payload is None else payload.decode()
    except UnicodeDecodeError:
        return None
