"""The default jobs: when a store does its own upkeep, as far as it can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from storycore.jobs.declaration import Job, Work
from storycore.layers.spilling import SpillingEntities
from storycore.ports.vectors import VectorIndex

__all__ = ["DEFAULTS", "Upkeep", "default_jobs"]

_LONG = timedelta(hours=6)

DEFAULTS: Mapping[str, tuple[str, str, timedelta]] = {
    "expired.sweep": ("17 * * * *", "Remove what has expired, to save space.", timedelta(minutes=30)),
    "cache.warm": ("47 * * * *", "Read the templates into the cache.", timedelta(minutes=10)),
    "backup.daily": ("0 2 * * *", "Back up what has changed.", _LONG),
    "backup.weekly": ("0 3 * * SUN", "Back up everything, for the weeks.", _LONG),
    "backup.monthly": ("0 4 1 * *", "Back up everything, for the months.", _LONG),
    "backup.record": ("*/5 * * * *", "Seal what has changed, so that any second can be restored.", _LONG),
    "vectors.optimize": ("30 3 * * *", "Compact the index.", _LONG),
    "spilled.sweep": ("50 3 * * *", "Remove spilled bodies that no record needs.", _LONG),
    "backup.verify": ("0 5 * * *", "Read the newest backup in full.", _LONG),
    "backup.prune": ("0 6 * * *", "Remove backups that retention does not keep.", _LONG),
}
"""Name to cron expression, summary and deadline."""
_RETRIES = 3
"""After 5, 15 and 35 minutes: done before the next due time of whatever runs hourly."""


def default_jobs(
    works: Mapping[str, Work], crons: Mapping[str, str] | None = None, *, plans: Mapping[str, Work]
) -> list[Job]:
    """The default jobs for which there is something to do.

    Args:
        works: what they do, by names of ``DEFAULTS``.
        crons: when, where it is not as in ``DEFAULTS``.
        plans: what those say beforehand that can.
    """
    when = crons or {}
    return [
        Job(
            name=name,
            cron=when.get(name, cron),
            work=works[name],
            plan=plans.get(name),
            summary=summary,
            deadline=deadline,
            retries=_RETRIES,
        )
        for name, (cron, summary, deadline) in DEFAULTS.items()
        if name in works
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The housekeeping of a store.

    Args:
        expire: removes what has expired, or says how much that is; returns how much.
        vectors: the index that is compacted.
        spilling: where long bodies are swept.
        warm: fills the cache; returns with how much.
    """

    expire: Callable[..., Awaitable[int]]
    vectors: VectorIndex
    spilling: SpillingEntities
    warm: Callable[[], Awaitable[int]]

    async def all(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Everything that saves space; safe at any time."""
        expired, optimized = await self.expire(dry_run=dry_run), await self.vectors.optimize(dry_run=dry_run)
        spilled = asdict(await self.spilling.sweep(dry_run=dry_run))
        return {"expired": expired, "vectors": optimized.detail, "dropped": optimized.dropped, "spilled": spilled}

    def works(self) -> dict[str, Work]:
        """The work of each default job."""
        return {
            "expired.sweep": self._expire,
            "cache.warm": self._warm,
            "vectors.optimize": self._optimize,
            "spilled.sweep": self._sweep,
        }

    def plans(self) -> dict[str, Work]:
        """What the works would do, by the same names."""
        return {
            "expired.sweep": partial(self._expire, dry_run=True),
            "vectors.optimize": partial(self._optimize, dry_run=True),
            "spilled.sweep": partial(self._sweep, dry_run=True),
        }

    async def _expire(self, *, dry_run: bool = False) -> dict[str, int]:
        return {"removed": await self.expire(dry_run=dry_run)}

    async def _warm(self) -> dict[str, int]:
        return {"warmed": await self.warm()}

    async def _optimize(self, *, dry_run: bool = False) -> dict[str, Any]:
        optimized = await self.vectors.optimize(dry_run=dry_run)
        return {"dropped": optimized.dropped, "detail": optimized.detail}

    async def _sweep(self, *, dry_run: bool = False) -> dict[str, int]:
        return asdict(await self.spilling.sweep(dry_run=dry_run))
