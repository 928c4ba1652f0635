"""Readings: what a store's layers, cache, adapters and jobs have counted, as families of metrics.

Labels are names from the profile and from code, never keys or values of records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from storycore.errors import Unsupported
from storycore.layers.metrics import BOUNDS_SECONDS, Metrics, OperationCount
from storycore.ports.metering import Meter
from storycore.telemetry.families import Distribution, Family, Kind, Sample

if TYPE_CHECKING:
    from storycore.caching.counts import CacheStats
    from storycore.jobs import Jobs, Status
    from storycore.layers.deferred import Deferred
    from storycore.ports.lifecycle import PortName
    from storycore.profiles import Profile

__all__ = ["consumed", "read"]

Labels = Mapping[str, str]

_RESULTS = {"memory_hits": "memory", "shared_hits": "shared", "stale_hits": "stale", "misses": "miss"}
_EVENTS = {
    "loads": "load",
    "load_errors": "load_error",
    "fills": "fill",
    "refused": "refused_fill",
    "joined": "joined_load",
    "waited": "awaited_load",
    "refreshes": "refresh",
    "unfit": "unfit_value",
    "faults": "fault",
    "invalidations": "invalidation",
}
"""Counts of a region to the values of a label."""


def read(
    profile: Profile,
    ports: Mapping[PortName, Deferred],
    metrics: Metrics,
    cache: CacheStats,
    jobs: Jobs | None,
) -> Sequence[Family]:
    """All families, the same ones in the same order each time; without I/O.

    Args:
        ports: the store's, of which those count that were built.
        jobs: the store's, where anybody has asked for them.
    """
    own = {"profile": profile.name, "namespace": profile.namespace}
    adapters = {str(name): profile.port(name).adapter for name in profile.ports}
    return [
        *_of_operations(own, adapters, metrics),
        _of_consumption(own, consumed(ports)),
        *_of_cache(own, cache),
        *_of_jobs(own, [] if jobs is None else jobs.seen()),
    ]


def consumed(ports: Mapping[PortName, Deferred]) -> dict[str, Mapping[str, Mapping[str, float]]]:
    """What services count for their bills: port to operation to sums."""
    found = {}
    for name, port in ports.items():
        if port.is_built:
            with suppress(Unsupported):
                found[str(name)] = port.native(Meter).consumed()
    return found


def _of_operations(own: Labels, adapters: Labels, metrics: Metrics) -> list[Family]:
    counted = [
        ({**own, "port": port, "adapter": adapters.get(port, ""), "operation": name}, count)
        for (port, name), count in sorted(metrics.counts.items())
        if count.calls
    ]
    outcomes = [
        Sample({**labels, "outcome": outcome}, value)
        for labels, count in counted
        for outcome, value in _outcomes(count).items()
    ]
    durations = [
        Sample(labels, Distribution(BOUNDS_SECONDS, tuple(count.within), count.total_seconds))
        for labels, count in counted
    ]
    return [
        Family("operations", Kind.COUNTER, "Calls of ports that have ended, by how they did.", outcomes),
        Family("operation.duration", Kind.HISTOGRAM, "How long calls of ports took.", durations, "seconds"),
    ]


def _outcomes(count: OperationCount) -> dict[str, int]:
    failed = count.errors - count.refused - count.cancelled
    return {
        "done": count.calls - count.errors,
        "refused": count.refused,
        "cancelled": count.cancelled,
        "failed": failed,
    }


def _of_consumption(own: Labels, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Family:
    samples = [
        Sample({**own, "port": port, "operation": operation, "unit": unit}, value)
        for port, operations in found.items()
        for operation, sums in operations.items()
        for unit, value in sums.items()
    ]
    return Family("consumed", Kind.COUNTER, "What services count for their bills.", samples)


def _of_cache(own: Labels, cache: CacheStats) -> list[Family]:
    def by_region(label: str, names: Mapping[str, str]) -> list[Sample]:
        return [
            Sample({**own, "region": region, label: shown}, getattr(counts, name))
            for region, counts in cache.regions.items()
            for name, shown in names.items()
        ]

    def sample(value: float, **labels: str) -> Sample:
        return Sample({**own, **labels}, value)

    reads, events = by_region("result", _RESULTS), by_region("event", _EVENTS)
    through = [
        sample(cache.shared_bytes_read, direction="read"),
        sample(cache.shared_bytes_written, direction="written"),
    ]
    is_open = float(cache.breaker != "closed")
    return [
        Family("cache.reads", Kind.COUNTER, "Reads of regions, by who answered.", reads),
        Family("cache.events", Kind.COUNTER, "What happened in regions beside reads.", events),
        Family("cache.evictions", Kind.COUNTER, "Entries given up for space.", [sample(cache.memory_evictions)]),
        Family("cache.outages", Kind.COUNTER, "How often the shared tier was let alone.", [sample(cache.outages)]),
        Family("cache.traffic", Kind.COUNTER, "Values from and to the shared tier.", through, "bytes"),
        Family("cache.entries", Kind.GAUGE, "Entries in memory.", [sample(cache.memory_entries)]),
        Family("cache.size", Kind.GAUGE, "What they take.", [sample(cache.memory_bytes)], "bytes"),
        Family("cache.pending", Kind.GAUGE, "Invalidations not confirmed.", [sample(cache.pending_invalidations)]),
        Family("cache.breaker.open", Kind.GAUGE, "1 while the shared tier is let alone.", [sample(is_open)]),
    ]


def _of_jobs(own: Labels, jobs: Iterable[Status]) -> list[Family]:
    listed = list(jobs)

    def moments(of: Callable[[Status], datetime | None]) -> list[Sample]:
        found = [(job.name, of(job)) for job in listed]
        return [Sample({**own, "job": name}, at.timestamp()) for name, at in found if at is not None]

    runs = [
        Sample({**own, "job": job.name, "outcome": str(outcome)}, count)
        for job in listed
        for outcome, count in job.counts.items()
    ]
    well = [Sample({**own, "job": job.name}, float(job.standing.is_well)) for job in listed]
    good, due = moments(lambda job: job.last_good), moments(lambda job: job.next)
    return [
        Family("job.runs", Kind.COUNTER, "Due times and runs by hand, by how they ended, of all runners.", runs),
        Family("job.healthy", Kind.GAUGE, "0 where a job is overdue, failing or unreadable.", well),
        Family("job.last.success.timestamp", Kind.GAUGE, "When the work last returned, in Unix time.", good, "seconds"),
        Family(
            "job.next.due.timestamp", Kind.GAUGE, "The next due time, in Unix time; the past is owed.", due, "seconds"
        ),
    ]
