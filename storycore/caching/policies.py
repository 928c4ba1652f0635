"""What a region lays down for all its entries, and what the tiers answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

from storycore.caching.codecs import Codec
from storycore.caching.counts import RegionStats
from storycore.errors import ConfigError
from storycore.ports.cache import MAX_TTL, MIN_TTL

__all__ = ["Answer", "Duration", "Policy", "Tier", "duration"]

T = TypeVar("T")

Duration: TypeAlias = timedelta | float
"""A timedelta, or a number of seconds."""


def duration(given: Duration) -> timedelta:
    """A timedelta of either."""
    return given if isinstance(given, timedelta) else timedelta(seconds=given)


class Tier(StrEnum):
    """Where an answer came from."""

    MEMORY = "memory"
    SHARED = "shared"
    LOAD = "load"
    STALE = "stale"
    """From the shared tier, past its time to live, because the load failed or another caller is loading."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value on its way to one caller.

    Args:
        value: ``None`` when ``absent``.
        tier: where it was found.
        stored_at: when it was loaded, microseconds since 1970.
        absent: the source said that there is nothing.
    """

    value: T | None
    tier: Tier
    stored_at: int
    absent: bool = False


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
        expires_at: when a value itself ends, if it does.
        counts: the region's statistics.
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

    def __post_init__(self) -> None:
        durations = {
            "ttl": self.ttl,
            "negative_ttl": self.negative_ttl,
            "lease": self.lease,
            "max_stale": self.max_stale,
        }
        for name, duration in durations.items():
            if duration is not None and not MIN_TTL <= duration <= MAX_TTL / 2:
                raise ConfigError(
                    f"The region {self.name!r}: {name} is {duration}; it must be from 1 ms to 5 years.", path=name
                )
        if not 0 <= self.jitter <= 1:
            raise ConfigError(
                f"The region {self.name!r}: jitter is {self.jitter}; it must be from 0 to 1.", path="jitter"
            )

    def lifetime(self, value: T | None, absent: bool, now: datetime, luck: float) -> timedelta:
        """How long a value loaded now is fresh; zero or less: it is not kept.

        Args:
            luck: a random number from 0 to 1.
        """
        ttl = self.negative_ttl if absent else self.ttl
        if ttl is None:
            return timedelta(0)
        ttl = max(ttl * (1 - self.jitter * luck), MIN_TTL)
        end = self.expires_at(value) if self.expires_at is not None and value is not None else None
        return ttl if end is None else min(ttl, end - now)

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
