"""Assembling: from a profile's settings and a store's services to its jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue

from storycore.errors import ConfigError, Corrupt, FeedGap
from storycore.jobs.declaration import Job, Work
from storycore.jobs.defaults import Upkeep, default_jobs
from storycore.jobs.jobs import Jobs
from storycore.jobs.state import Outcome, RunRecord
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.profiles import Profile

if TYPE_CHECKING:
    from storycore.backup.manifest import Kind
    from storycore.backup.service import Backups

__all__ = ["assembled"]

_FEED = "entities.changes"
_HOUR = 60
_DAY = 24


class Track(Protocol):
    """What writes events."""

    def __call__(self, type: str, /, *, properties: Mapping[str, JsonValue]) -> Awaitable[object]: ...  # noqa: A002 - the event's own word


def assembled(
    profile: Profile,
    store: EntityStore,
    env: Environment,
    *,
    upkeep: Upkeep,
    backups: Callable[[], Backups],
    plugged: Callable[[], Iterable[Iterable[Job]]],
    track: Track,
) -> Jobs:
    """The jobs of a store: its own, and those of plugins.

    Args:
        store: keeps what is remembered of jobs.
        upkeep: the housekeeping.
        backups: gives the service of backups when one is made.
        plugged: gives the jobs of each plugin.
        track: writes an event for each miss, skip and failure.
    """

    async def tell(record: RunRecord) -> None:
        if record.outcome is not Outcome.DONE:
            await track(f"job_{record.outcome}", properties=_properties(record))

    def given() -> Iterator[Job]:
        works, crons, plans = upkeep.works(), dict[str, str](), {**upkeep.plans(), **_backup_plans(backups)}
        if profile.has_backups:
            works |= _backup_works(backups)
            if _is_recorded(profile, store):
                works["backup.record"] = _recording(backups)
                crons["backup.record"] = _every(profile.backup.record_every)
        yield from default_jobs(works, crons, plans=plans)
        for jobs in plugged():
            yield from jobs

    settings = profile.jobs
    return Jobs(
        store,
        env,
        namespace=profile.namespace,
        tell=tell,
        given=given,
        zone=settings.time_zone,
        off=settings.off,
        crons=settings.cron,
        lease=timedelta(seconds=settings.lease_seconds),
        history=timedelta(days=settings.history_days),
    )


def _properties(record: RunRecord) -> dict[str, JsonValue]:
    return {
        "job": record.job,
        "due": None if record.due is None else record.due.isoformat(),
        "attempt": record.attempt,
        "count": record.count,
        "detail": record.detail,
    }


def _is_recorded(profile: Profile, store: EntityStore) -> bool:
    """Whether the change feed is sealed by a job.

    Raises:
        ConfigError: so rarely that the feed may have forgotten changes by then.
    """
    settings, capabilities = profile.backup, store.capabilities
    if not settings.record_every or PortName.ENTITIES not in settings.ports or not capabilities.has(_FEED):
        return False
    kept = capabilities.limits.get("entities.changes_kept_seconds")
    if kept is not None and 2 * 60 * settings.record_every > kept:
        raise ConfigError(
            f"backup.record_every: the change feed is kept for {kept // 60} minutes, so it must be sealed every "
            f"{kept // 120} minutes at least, not every {settings.record_every}.",
            path="backup.record_every",
        )
    return True


def _every(minutes: int) -> str:
    """The cron expression of something that is done every so many minutes."""
    hours = minutes // _HOUR
    return f"*/{minutes} * * * *" if minutes < _HOUR else f"0 */{hours} * * *" if hours < _DAY else "0 0 * * *"


def _recording(backups: Callable[[], Backups]) -> Work:
    async def record() -> dict[str, object]:
        sealed = await backups().record()
        if sealed.gap:
            raise FeedGap(f"Moments before the backup {sealed.series} cannot all be restored: {sealed.gap}")
        return {"until": sealed.until.isoformat(timespec="seconds"), "changes": sealed.changes}

    return record


def _backup_works(backups: Callable[[], Backups]) -> dict[str, Work]:
    async def create(kind: Kind) -> dict[str, object]:
        """What was made, and what is to be known of it: that its key opens no earlier one, for example."""
        made = await backups().create(kind)
        return {"backup": made.manifest.id, **({"notices": list(made.notices)} if made.notices else {})}

    async def verify() -> dict[str, object]:
        found = await backups().verify(level="full")
        if not found.is_whole:
            raise Corrupt(f"The backup {found.backup} is damaged in {len(found.problems)} places: {found.problems[0]}")
        return {"backup": found.backup, "entries": found.entries, **({"unkept": found.unkept} if found.unkept else {})}

    async def prune() -> dict[str, object]:
        return {"removed": len((await backups().prune()).removed)}

    return {
        "backup.daily": lambda: create("daily"),
        "backup.weekly": lambda: create("weekly"),
        "backup.monthly": lambda: create("monthly"),
        "backup.verify": verify,
        "backup.prune": prune,
    }


def _backup_plans(backups: Callable[[], Backups]) -> dict[str, Work]:
    async def create(kind: Kind) -> dict[str, object]:
        parent, reason = await backups().plan_create(kind)
        return {"full": parent is None, **({"because": reason} if parent is None else {"builds_on": parent})}

    async def prune() -> dict[str, object]:
        return {"removed": list((await backups().prune(dry_run=True)).removed)}

    return {
        "backup.daily": lambda: create("daily"),
        "backup.weekly": lambda: create("weekly"),
        "backup.monthly": lambda: create("monthly"),
        "backup.prune": prune,
    }
