"""What a region lays down for all its entries, and what the tiers answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

from storycore.caching.codecs import Codec
from storycore.caching.compression import Zstd
from storycore.caching.counts import RegionStats
from storycore.errors import ConfigError
from storycore.ports.cache import MAX_TTL, MIN_TTL

__all__ = ["Answer", "Duration", "Fetched", "Policy", "Tier", "duration"]

T = TypeVar("T")

Duration: TypeAlias = timedelta | float
"""A timedelta, or a number of seconds."""


def duration(given: Duration) -> timedelta:
    """A timedelta of either.

    Raises:
        ConfigError: it is neither, or not a number that a timedelta can hold.
    """
    try:
        return given if isinstance(given, timedelta) else timedelta(seconds=given)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ConfigError(f"{given!r} is no length of time; give a timedelta or a number of seconds.") from exc


class Tier(StrEnum):
    """Where an answer came from."""

    MEMORY = "memory"
    SHARED = "shared"
    LOAD = "load"
    STALE = "stale"
    """From the shared tier, past its time to live: the load failed, takes long, or is somebody else's."""


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """What a loader may return instead of the bare value, to say more about it.

    Args:
        value: as without it; ``None`` for "there is nothing".
        ttl: how long this value is fresh, exactly; ``None``: as long as the region says.
        keep: ``False`` hands the value out and keeps it nowhere.
    """

    value: T | None
    ttl: Duration | None = None
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value on its way to one caller.

    Args:
        value: ``None`` when ``absent``.
        tier: where it was found.
        stored_at: when it was loaded, microseconds since 1970.
        absent: the source said that there is nothing.
        due: it is time to load it again, while it is still fresh.
    """

    value: T | None
    tier: Tier
    stored_at: int
    absent: bool = False
    due: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Generic[T]):
    """How the entries of one region are kept.

    Args:
        name: of the region, in statistics.
        codec: turns values into bytes.
        ttl: how long a value is fresh.
        jitter: up to this share of the ttl is taken off at random, so that entries do not expire together; 0 to 1.
        negative_ttl: how long "there is nothing" is remembered; ``None``: not at all.
        lease: how long one loader keeps the others waiting.
        max_stale: how long beyond its ttl a value may stand in for a failing load; ``None``: not at all.
        refresh_at: share of its time after which a value is loaded again while it is still served; ``None``: never.
        early_refresh: how much sooner, as a multiple of the time that its load took, drawn at random; 0: not at all.
        soft_timeout: how long a load may take before an older value is served meanwhile; ``None``: as long as it takes.
        hard_timeout: how long a load may take at all.
        expires_at: when a value itself ends, if it does.
        counts: the region's statistics.
        compress: makes stored values smaller; ``None``: they are stored as the codec gives them.
    """

    name: str
    codec: Codec[T]
    ttl: timedelta
    jitter: float
    negative_ttl: timedelta | None
    lease: timedelta
    max_stale: timedelta | None
    expires_at: Callable[[T], datetime | None] | None
    counts: RegionStats
    refresh_at: float | None = None
    early_refresh: float = 0.0
    soft_timeout: timedelta | None = None
    hard_timeout: timedelta | None = None
    compress: Zstd | None = None

    def __post_init__(self) -> None:
        durations = {
            "ttl": self.ttl,
            "negative_ttl": self.negative_ttl,
            "lease": self.lease,
            "max_stale": self.max_stale,
            "soft_timeout": self.soft_timeout,
            "hard_timeout": self.hard_timeout,
        }
        for name, duration in durations.items():
            if duration is not None and not MIN_TTL <= duration <= MAX_TTL / 2:
                raise ConfigError(
                    f"The region {self.name!r}: {name} is {duration}; it must be from 1 ms to 5 years.", path=name
                )
        for name, number, most in (
            ("jitter", self.jitter, 1),
            ("refresh_at", self.refresh_at, 1),
            ("early_refresh", self.early_refresh, 100),
        ):
            if number is not None and not 0 <= number <= most:
                raise ConfigError(
                    f"The region {self.name!r}: {name} is {number}; it must be from 0 to {most}.", path=name
                )

    def lifetime(self, fetched: Fetched[T], absent: bool, now: datetime, luck: float) -> timedelta:
        """How long a value loaded now is fresh; zero or less: it is not kept.

        Args:
            luck: a random number from 0 to 1.
        """
        value, ttl = fetched.value, self.negative_ttl if absent else self.ttl
        if not fetched.keep or (ttl is None and fetched.ttl is None):
            return timedelta(0)
        if fetched.ttl is not None:
            ttl = min(duration(fetched.ttl), MAX_TTL / 2)
        elif ttl is not None:
            ttl = ttl * (1 - self.jitter * luck)
        ttl = max(ttl or MIN_TTL, MIN_TTL)
        end = self.expires_at(value) if self.expires_at is not None and value is not None else None
        return ttl if end is None else min(ttl, end - now)

    def refresh_from(self, stored_at: int, fresh_until: int, cost: int, luck: float) -> int:
        """From when on a value is due to be loaded again; all times in microseconds.

        Args:
            cost: how long its load took.
            luck: a random number from 0 to 1, below 1.
        """
        due = fresh_until
        if self.refresh_at is not None:
            due = stored_at + int((fresh_until - stored_at) * self.refresh_at)
        if self.early_refresh:
            due = min(due, fresh_until + int(cost * self.early_refresh * math.log(1 - luck)))
        return max(due, stored_at)

    def count_hit(self, answer: Answer[T]) -> Answer[T]:
        """Count a read that needed no load, and pass its answer on."""
        counts = self.counts
        if answer.tier is Tier.MEMORY:
            counts.memory_hits += 1
        elif answer.tier is Tier.SHARED:
            counts.shared_hits += 1
        else:
            counts.stale_hits += 1
        counts.absent_hits += answer.absent
        return answer
