"""What is remembered of a job from run to run, and of each run, and the records that hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import orjson
from pydantic import TypeAdapter

from storycore.ports.entities import Key, Put, Record

__all__ = [
    "Again",
    "Counts",
    "JobState",
    "Outcome",
    "RunRecord",
    "Running",
    "run_of",
    "run_partition",
    "run_put",
    "state_key",
    "state_of",
]


class Outcome(StrEnum):
    """How a due time ended."""

    DONE = "done"
    """The work returned."""
    FAILED = "failed"
    """The work raised."""
    RETRIED = "retried"
    """The work raised, or was cancelled at its deadline; the due time is run again before the next one."""
    TIMED_OUT = "timed_out"
    """The work was cancelled at its deadline."""
    CANCELLED = "cancelled"
    """The runner was closed; the due time is run again, or missed where a later one is run instead."""
    LOST = "lost"
    """The runner died; the due time is run again, or missed where a later one is run instead."""
    GIVEN_UP = "given_up"
    """Too many runners died."""
    MISSED = "missed"
    """Nobody ran jobs, and it was not caught up."""
    SKIPPED = "skipped"
    """It passed while the job was running."""

    @property
    def is_bad(self) -> bool:
        """Whether the job did not do what it was to do."""
        return self in (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.GIVEN_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A run under way.

    Args:
        due: the time it was to run at; ``None``: by hand.
        begun: when it began.
        attempt: of this due time.
        failed: in how many of those before the work failed; in the others its runner died, or was closed.
    """

    due: datetime | None
    begun: datetime
    attempt: int = 1
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A due time that is run again.

    Args:
        due: the time it was to run at.
        at: when it is run again.
        attempt: how often it has been run.
        failed: in how many of those the work failed.
    """

    due: datetime
    at: datetime
    attempt: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One line of a job's history.

    Args:
        job: the name.
        outcome: how it ended.
        at: when that was written down.
        due: the time it was to run at, of several the last; ``None``: by hand.
        begun: when it began; ``None``: it did not.
        attempt: of this due time; 0: none.
        count: for how many due times the line stands.
        detail: what the work returned, or why it failed.
    """

    job: str
    outcome: Outcome
    at: datetime
    due: datetime | None = None
    begun: datetime | None = None
    attempt: int = 0
    count: int = 1
    detail: str = ""


Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """What is remembered of a job.

    Args:
        settled: every due time up to here has its outcome, or is the one that is run again; ``None``: nobody has
            served the job yet.
        running: the run under way, or one whose runner died.
        again: the due time that is run again.
        last: the last run that ended by itself.
        last_good: when the work last returned.
        counts: how many due times and runs by hand ended how.
    """

    settled: datetime | None = None
    running: Running | None = None
    again: Again | None = None
    last: RunRecord | None = None
    last_good: datetime | None = None
    counts: Counts = field(default_factory=dict)


_STATE = TypeAdapter(JobState)
_RUN = TypeAdapter(RunRecord)


def state_key(namespace: str, job: str) -> Key:
    """Where a job's state is."""
    return Key(f"!job#{namespace}#{job}", "state")


def run_partition(namespace: str, job: str) -> str:
    """The partition of a job's history."""
    return f"!job-runs#{namespace}#{job}"


def state_of(value: object) -> JobState:
    """The state that JSON values hold; raises ``ValueError`` where they do not."""
    return _STATE.validate_python(value)


def run_put(record: RunRecord, *, namespace: str, id_: str, expires_at: datetime) -> Put:
    """The write of a line of history."""
    key = Key(run_partition(namespace, record.job), f"{record.at.isoformat(timespec='microseconds')}#{id_}")
    return Put(key=key, kind="job_run", expires_at=expires_at, body=orjson.dumps(record))


def run_of(record: Record) -> RunRecord:
    """The line of history that a record holds; raises ``ValueError`` where it does not."""
    return _RUN.validate_json(record.body)
