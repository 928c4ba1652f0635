"""Entries: a value together with what decides how long it may be used, and its way into and out of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from storycore.caching.codecs import Unfit
from storycore.caching.envelope import Envelope, open_envelope
from storycore.caching.policies import Answer, Fetched, Policy, Tier
from storycore.ports.cache import MIN_TTL
from storycore.ports.instants import micros

__all__ = ["Entry", "Slot", "entry_of", "port_ttl", "seal", "unseal"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slot(Generic[T]):
    """One entry's place.

    Args:
        key: in both tiers.
        tags: names of the counters whose versions the entry depends on.
        policy: of its region.
    """

    key: str
    tags: Sequence[str]
    policy: Policy[T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[T]):
    """A value and its times, in microseconds since 1970.

    Args:
        value: for one caller; ``None`` when ``absent``.
        kept: for the memory tier.
        payload: for the shared tier.
        stored_at: when it was loaded.
        fresh_until: from this instant on it is at best a stand-in for a failing load. Not after ``stored_at`` when
            the value is not to be kept at all.
        refresh_from: from this instant on it is due to be loaded again, though still an answer.
        cost: how long the load took.
        absent: the source said that there is nothing.
    """

    value: T | None
    kept: object
    payload: bytes
    stored_at: int
    fresh_until: int
    refresh_from: int
    cost: int
    absent: bool

    @property
    def is_kept(self) -> bool:
        """Whether the value may be found again."""
        return self.fresh_until > self.stored_at

    def answer(self, tier: Tier) -> Answer[T]:
        """The entry as a caller sees it."""
        return Answer(self.value, tier, self.stored_at, self.absent)

    def is_fresh(self, now: datetime) -> bool:
        """Whether the value is an answer now."""
        return micros(now) < self.fresh_until

    def is_due(self, now: datetime) -> bool:
        """Whether it is time to load the value again."""
        return micros(now) >= self.refresh_from

    def is_stand_in(self, now: datetime, max_stale: timedelta | None) -> bool:
        """Whether the value may stand in for a failing load now."""
        return max_stale is not None and not self.absent and micros(now - max_stale) < self.fresh_until


def entry_of(policy: Policy[T], given: T | Fetched[T] | None, now: datetime, luck: float, *, cost: int = 0) -> Entry[T]:
    """The entry of a value that was just loaded; not kept when it does not survive the codec or is not to be.

    Args:
        luck: a random number from 0 to 1, below 1.
        cost: how long the load took, microseconds.
    """
    fetched: Fetched[T] = given if isinstance(given, Fetched) else Fetched(given)
    value = fetched.value
    absent = value is None and not policy.codec.allows_none
    payload, kept, lifetime = b"", None, policy.lifetime(fetched, absent, now, luck)
    if not absent and lifetime > timedelta(0):
        try:
            payload = policy.codec.encode(value)  # type: ignore[arg-type]  # None only where the codec allows it
            kept = policy.codec.keep(payload, policy.codec.decode(payload))
        except Unfit:
            policy.counts.unfit += 1
            lifetime = timedelta(0)
    stored_at, fresh_until = micros(now), micros(now + max(lifetime, timedelta(0)))
    return Entry(
        value=value,
        kept=kept,
        payload=payload,
        stored_at=stored_at,
        fresh_until=fresh_until,
        refresh_from=policy.refresh_from(stored_at, fresh_until, cost, luck),
        cost=cost,
        absent=absent,
    )


def seal(slot: Slot[T], entry: Entry[T], versions: Sequence[int], secret: bytes) -> bytes:
    """The bytes for the shared tier. An entry that is not kept becomes a marker that is a miss for every reader."""
    return Envelope(
        schema=slot.policy.codec.schema,
        stored_at=entry.stored_at,
        fresh_until=entry.fresh_until,
        cost=entry.cost,
        versions=versions,
        absent=entry.absent or not entry.is_kept,
        payload=entry.payload if entry.is_kept else b"",
    ).seal(slot.key, secret, slot.policy.compress)


def unseal(
    slot: Slot[T], sealed: bytes, versions: Sequence[int], secrets: Sequence[bytes], luck: float
) -> Entry[T] | None:
    """The entry; ``None`` when the bytes are damaged, foreign, a marker, or older than one of the tags."""
    found = open_envelope(slot.key, sealed, slot.policy.codec.schema, secrets)
    if found is None or tuple(found.versions) != tuple(versions) or found.fresh_until <= found.stored_at:
        return None
    value: T | None = None
    if not found.absent:
        try:
            value = slot.policy.codec.decode(found.payload)
        except ValueError:
            return None
    return Entry(
        value=value,
        kept=None if found.absent else slot.policy.codec.keep(found.payload, value),  # type: ignore[arg-type]  # as above
        payload=found.payload,
        stored_at=found.stored_at,
        fresh_until=found.fresh_until,
        refresh_from=slot.policy.refresh_from(found.stored_at, found.fresh_until, found.cost, luck),
        cost=found.cost,
        absent=found.absent,
    )


def port_ttl(slot: Slot[T], entry: Entry[T]) -> timedelta:
    """How long the shared tier keeps the bytes."""
    fresh = timedelta(microseconds=entry.fresh_until - entry.stored_at)
    grace = slot.policy.max_stale if entry.is_kept and not entry.absent else None
    return max(fresh + (grace or timedelta(0)), MIN_TTL)
