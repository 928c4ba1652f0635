"""Statistics: what a region and the tiers have counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace

from storycore.caching.guard import BreakerState

__all__ = ["CacheStats", "RegionStats", "total_of"]


@dataclass(slots=True)
class RegionStats:
    """A region's counts.

    Args:
        memory_hits, shared_hits: reads answered by each tier.
        stale_hits: reads answered by a value past its ttl.
        absent_hits: of all hits, those that answered "there is nothing".
        misses: reads that neither tier could answer.
        loads, load_errors: calls of a loader, and those that raised.
        fills: loaded values that entered the shared tier.
        refused: loaded values kept out because an invalidation or another fill came first.
        joined: reads that shared another caller's load in this process: stampedes avoided.
        waited: loads put off because another process was loading.
        refreshes: values loaded again before their end.
        unfit: values not cached because they do not survive the codec unchanged.
        faults: calls of the shared tier that failed, and were answered by loading.
        invalidations: keys invalidated.
    """

    memory_hits: int = 0
    shared_hits: int = 0
    stale_hits: int = 0
    absent_hits: int = 0
    misses: int = 0
    loads: int = 0
    load_errors: int = 0
    fills: int = 0
    refused: int = 0
    joined: int = 0
    waited: int = 0
    refreshes: int = 0
    unfit: int = 0
    faults: int = 0
    invalidations: int = 0

    @property
    def hits(self) -> int:
        """Reads that needed no load."""
        return self.memory_hits + self.shared_hits + self.stale_hits

    @property
    def hit_rate(self) -> float:
        """Hits per read, 0 to 1; 0 when nothing was read."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0

    def snapshot(self) -> RegionStats:
        """The counts as they are now, in an object that does not change."""
        return replace(self)

    def as_dict(self) -> dict[str, int | float]:
        """The counts and the hit rate, for ``--json`` output."""
        return {**asdict(self), "hits": self.hits, "hit_rate": self.hit_rate}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What a cache has counted since it was made.

    Args:
        regions: each region's counts by its name.
        total: all regions together.
        memory_entries, memory_bytes: what the memory tier holds now.
        memory_evictions: entries that the memory tier gave up for space.
        pending_invalidations: invalidations that the shared tier has not yet confirmed.
        breaker: whether the shared tier is used, or let alone after failures.
        outages: how often it began to be let alone.
        shared_bytes_read, shared_bytes_written: of values, with what lies around them.
    """

    regions: Mapping[str, RegionStats]
    total: RegionStats
    memory_entries: int
    memory_bytes: int
    memory_evictions: int
    pending_invalidations: int
    breaker: BreakerState = BreakerState.CLOSED
    outages: int = 0
    shared_bytes_read: int = 0
    shared_bytes_written: int = 0

    @property
    def hit_rate(self) -> float:
        """Hits per read over all regions, 0 to 1."""
        return self.total.hit_rate

    def as_dict(self) -> dict[str, object]:
        """All counts as plain values, for ``--json`` output."""
        return {
            "regions": {name: region.as_dict() for name, region in self.regions.items()},
            "total": self.total.as_dict(),
            "memory": {
                "entries": self.memory_entries,
                "bytes": self.memory_bytes,
                "evictions": self.memory_evictions,
            },
            "shared": {
                "breaker": str(self.breaker),
                "outages": self.outages,
                "bytes_read": self.shared_bytes_read,
                "bytes_written": self.shared_bytes_written,
            },
            "pending_invalidations": self.pending_invalidations,
        }


def total_of(regions: Iterable[RegionStats]) -> RegionStats:
    """The sum of several regions' counts."""
    total = RegionStats()
    for region in regions:
        for field in fields(RegionStats):
            setattr(total, field.name, getattr(total, field.name) + getattr(region, field.name))
    return total
