"""Retries: a due time whose work failed is run again, a few times, as long as the next one has not come."""

from __future__ import annotations

from datetime import datetime

from storycore.jobs.declaration import Job, Planned
from storycore.jobs.state import Again, JobState, Outcome, Running, RunRecord

__all__ = ["again_after", "resumed", "superseded"]


def again_after(planned: Planned, running: Running, now: datetime) -> Again | None:
    """When a due time is run again whose work has just failed; ``None``: not any more, or it was run by hand."""
    job, failed = planned.job, running.failed + 1
    if running.due is None or failed > job.retries:
        return None
    at = now + job.retry_after * 2 ** (failed - 1)
    following = planned.schedule.next(now)
    comes_too_late = job.max_late is not None and at - running.due > job.max_late
    if comes_too_late or (following is not None and at >= following):
        return None
    return Again(due=running.due, at=at, attempt=running.attempt, failed=failed)


def resumed(state: JobState, now: datetime) -> Again | None:
    """The due time that is run again; also where its runner died, or was closed, while it did so."""
    running = state.running
    if running is None or running.due is None or state.settled is None or running.due > state.settled:
        return state.again
    return Again(due=running.due, at=now, attempt=running.attempt, failed=running.failed)


def superseded(job: Job, again: Again | None, now: datetime) -> list[RunRecord]:
    """What the history says of a due time that was to be run again when the next one had come."""
    if again is None:
        return []
    detail = "It was not tried again, for the next due time had come."
    return [
        RunRecord(job=job.name, outcome=Outcome.FAILED, at=now, due=again.due, attempt=again.attempt, detail=detail)
    ]
