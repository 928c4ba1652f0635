"""Decisions: what is to be done about a job now, and what is remembered after it; pure functions of what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from storycore.jobs.declaration import Job, Planned
from storycore.jobs.retries import again_after, resumed, superseded
from storycore.jobs.state import JobState, Outcome, Running, RunRecord

__all__ = ["Decision", "begun_by_hand", "decided", "ended"]

_TICK = timedelta(seconds=1)
_CLOCK_TOLERANCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is remembered from now on.

    Args:
        state: with the run that begins, if one does.
        records: what the history gains.
    """

    state: JobState
    records: Sequence[RunRecord] = ()


def decided(planned: Planned, state: JobState, now: datetime) -> Decision | None:
    """What is to be done about a job whose turn it is; ``None``: nothing.

    A job that is served for the first time owes nothing. A clock that was set back by over an hour begins anew; one
    that was set back by less waits until it has caught up with what is settled.
    """
    lost = _lost(planned.job, state, now)
    if state.settled is None or state.settled > now + _CLOCK_TOLERANCE:
        return Decision(_with(replace(state, settled=now, running=None, again=None), lost), lost)
    given_up = _given_up(planned.job, state.running)
    again = state.again if given_up is not None else resumed(state, now)
    found = planned.schedule.due(state.settled, now)
    owed = [due for due in found if given_up is None or due > given_up]
    if not owed and again is not None and again.at <= now:
        retry = Running(due=again.due, begun=now, attempt=again.attempt + 1, failed=again.failed)
        return Decision(_with(replace(state, running=retry, again=None), lost), lost)
    if not owed and not lost:
        return None
    chosen = _chosen(planned.job, owed, now)
    left_out = [due for due in owed if chosen is None or due < chosen]
    over = superseded(planned.job, again, now) if owed else []
    records = [*lost, *over, *_grouped(planned.job, Outcome.MISSED, left_out, now)]
    settled = max(state.settled, given_up or state.settled, now if chosen is None else chosen - _TICK)
    running = None if chosen is None else Running(due=chosen, begun=now, attempt=_attempt(state.running, chosen))
    kept = None if owed else again
    return Decision(_with(replace(state, settled=settled, running=running, again=kept), records), records)


def begun_by_hand(planned: Planned, state: JobState, now: datetime) -> Decision:
    """A run by hand begins; it settles no due time."""
    records = _lost(planned.job, state, now)
    again = state.again if _given_up(planned.job, state.running) is not None else resumed(state, now)
    running = Running(due=None, begun=now)
    return Decision(_with(replace(state, running=running, again=again), records), records)


def ended(planned: Planned, state: JobState, outcome: Outcome, detail: str, now: datetime) -> Decision:
    """The run under way has ended; unless it was cancelled its due time is settled, and what it overran may be.

    Where the work failed, and may be tried again before the next due time, that is written down instead.
    """
    running = state.running
    assert running is not None
    again = again_after(planned, running, now) if outcome in (Outcome.FAILED, Outcome.TIMED_OUT) else None
    record = RunRecord(
        job=planned.job.name,
        outcome=outcome if again is None else Outcome.RETRIED,
        at=now,
        due=running.due,
        begun=running.begun,
        attempt=running.attempt,
        detail=detail,
    )
    if outcome is Outcome.CANCELLED:
        state = replace(state, again=resumed(state, now), running=None)
        return Decision(_with(state, [record]), [record])
    again = state.again if running.due is None else again
    last_good = now if outcome is Outcome.DONE else state.last_good
    state = replace(state, running=None, again=again, last=record, last_good=last_good)
    if running.due is None or state.settled is None:
        return Decision(_with(state, [record]), [record])
    overrun = planned.schedule.due(max(running.due, state.settled), now) if planned.job.skips else []
    records = [record, *_grouped(planned.job, Outcome.SKIPPED, overrun, now)]
    settled = max(state.settled, overrun[-1] if overrun else running.due)
    return Decision(_with(replace(state, settled=settled), records), records)


def _chosen(job: Job, owed: Sequence[datetime], now: datetime) -> datetime | None:
    """The due time that is run now."""
    latest_start = job.latest_start
    timely = [due for due in owed if latest_start is None or now - due <= latest_start]
    if not timely:
        return None
    return timely[0] if job.catch_up == "all" else timely[-1]


def _lost(job: Job, state: JobState, now: datetime) -> list[RunRecord]:
    """What the history says of a run whose runner died."""
    running = state.running
    if running is None:
        return []
    return [
        RunRecord(
            job=job.name,
            outcome=Outcome.LOST if _given_up(job, running) is None else Outcome.GIVEN_UP,
            at=now,
            due=running.due,
            begun=running.begun,
            attempt=running.attempt,
            detail="Its runner gave no sign of life any more.",
        )
    ]


def _given_up(job: Job, running: Running | None) -> datetime | None:
    """The due time over which too many runners died, if that is so."""
    return running.due if running is not None and running.attempt - running.failed >= job.attempts else None


def _attempt(before: Running | None, due: datetime) -> int:
    return before.attempt + 1 if before is not None and before.due == due else 1


def _grouped(job: Job, outcome: Outcome, due: Sequence[datetime], now: datetime) -> list[RunRecord]:
    """One line for all due times that had the same fate."""
    return [RunRecord(job=job.name, outcome=outcome, at=now, due=due[-1], count=len(due))] if due else []


def _with(state: JobState, records: Sequence[RunRecord]) -> JobState:
    """The state with the records counted."""
    counts = dict(state.counts)
    for record in records:
        counts[record.outcome.value] = counts.get(record.outcome.value, 0) + record.count
    given_up = next((record for record in records if record.outcome is Outcome.GIVEN_UP), None)
    return replace(state, counts=counts, last=state.last if given_up is None else given_up)
