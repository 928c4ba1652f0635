"""Standing: how a job does, from what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from storycore.entities.leases import Held
from storycore.errors import Corrupt
from storycore.jobs.declaration import Planned
from storycore.jobs.state import Counts, JobState, RunRecord

__all__ = ["Standing", "Status", "status_of"]


class Standing(StrEnum):
    """How a job does."""

    OFF = "off"
    """The profile has switched it off."""
    NEW = "new"
    """No runner has served it yet."""
    OK = "ok"
    RUNNING = "running"
    OVERDUE = "overdue"
    """A due time passed, and no run has ended well within the job's deadline."""
    FAILING = "failing"
    """The last run did not do what it was to do."""
    RETRYING = "retrying"
    """The same, and it is run again before its next due time."""
    UNREADABLE = "unreadable"
    """What is remembered of it is damaged, so it is not run."""

    @property
    def is_well(self) -> bool:
        """Whether nobody needs to look after the job."""
        return self not in (Standing.OVERDUE, Standing.FAILING, Standing.UNREADABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A job as ``storycore jobs list`` shows it.

    Args:
        name: of the job.
        summary: what it does.
        cron: when, in ``zone``.
        zone: the time zone.
        standing: how it does.
        detail: one sentence where somebody should look after it.
        next: the next due time; one in the past is owed.
        running_since: when the run under way began.
        last: the last run that ended by itself.
        last_good: when the work last returned.
        counts: how many due times and runs by hand ended how.
    """

    name: str
    summary: str
    cron: str
    zone: str
    standing: Standing
    detail: str
    next: datetime | None
    running_since: datetime | None
    last: RunRecord | None
    last_good: datetime | None
    counts: Counts


def status_of(planned: Planned, held: Held[JobState] | Corrupt | None, now: datetime, *, is_on: bool) -> Status:
    """How a job does at a moment."""
    if isinstance(held, Corrupt):
        return _unreadable(planned, held)
    job, state = planned.job, JobState() if held is None else held.state
    following = planned.schedule.next(now if state.settled is None else state.settled)
    upcoming = following if state.again is None else state.again.at
    is_running = state.running is not None and held is not None and held.until > now
    standing = _standing(state, following, now, job.deadline, is_running=is_running) if is_on else Standing.OFF
    return Status(
        name=job.name,
        summary=job.summary,
        cron=planned.schedule.cron,
        zone=planned.schedule.zone,
        standing=standing,
        detail=_detail(job.name, standing, state, following, now),
        next=upcoming if is_on else None,
        running_since=state.running.begun if state.running is not None and is_running else None,
        last=state.last,
        last_good=state.last_good,
        counts=state.counts,
    )


def _unreadable(planned: Planned, damage: Corrupt) -> Status:
    return Status(
        name=planned.job.name,
        summary=planned.job.summary,
        cron=planned.schedule.cron,
        zone=planned.schedule.zone,
        standing=Standing.UNREADABLE,
        detail=damage.message,
        next=None,
        running_since=None,
        last=None,
        last_good=None,
        counts={},
    )


def _standing(
    state: JobState, following: datetime | None, now: datetime, deadline: timedelta, *, is_running: bool
) -> Standing:
    if state.settled is not None and following is not None and now - following > deadline:
        return Standing.OVERDUE
    if is_running:
        return Standing.RUNNING
    if state.again is not None:
        return Standing.RETRYING
    if state.last is not None and state.last.outcome.is_bad:
        return Standing.FAILING
    return Standing.NEW if state.settled is None and state.last is None else Standing.OK


def _detail(name: str, standing: Standing, state: JobState, following: datetime | None, now: datetime) -> str:
    good = "it never ended well" if state.last_good is None else f"last good {_ago(now - state.last_good)} ago"
    if standing is Standing.OVERDUE and following is not None:
        late = _ago(now - following)
        return f"{name} is overdue by {late}, {good}; does a runner serve it? `storycore jobs run`"
    if standing is Standing.FAILING and state.last is not None:
        return f"{name} {state.last.outcome.replace('_', ' ')}, {good}; see `storycore jobs history {name}`"
    return ""


def _ago(span: timedelta) -> str:
    minutes = int(max(span, timedelta()).total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 4 * 24 * 60 else f"{minutes // (24 * 60)} days"
