"""Declaration: what a job is, checked when it is declared."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, get_args

from storycore.errors import ConfigError
from storycore.jobs.schedule import Schedule

__all__ = ["CatchUp", "Job", "Overlap", "Planned", "Run", "Work", "planned", "takes_run"]

CatchUp: TypeAlias = Literal["latest", "all", "none"]
Overlap: TypeAlias = Literal["skip", "wait"]
Work: TypeAlias = Callable[..., Awaitable[object]]
"""What a job does: takes nothing, or the ``Run``."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ON_TIME = timedelta(minutes=1)
_MOST_RETRIES = 20
"""So that the last pause, twice as long each time, is still a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a job's work is told of its run.

    Args:
        job: the name.
        due: the time it was to run at; ``None``: somebody runs it by hand.
        attempt: 1, and more when the runners before died.
        fence: greater than that of every run of the job before; whoever writes elsewhere can keep it there and refuse
            a writer whose number is smaller.
    """

    job: str
    due: datetime | None
    attempt: int
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something that is done by the clock.

    Args:
        name: 1 to 64 letters, digits, ``_``, ``.`` and ``-``, a letter or digit first; unique in a store.
        cron: five fields, as for ``Schedule``.
        work: an async function without arguments, or with one, the ``Run``. A text or mapping that it returns is kept
            in the history. It runs again when its runner died, so it must be safe to repeat.
        plan: an async function without arguments that returns what ``work`` would do now, and changes nothing.
        tz: the time zone of ``cron``; ``None``: the profile's ``jobs.time_zone``.
        summary: what it does, in a few words.
        catch_up: what is run of the due times that passed while nobody ran jobs: the ``latest``, ``all`` in their
            order (of more than a thousand the newest), or ``none`` that is over a minute late.
        max_late: a due time that passed longer ago is not run any more; ``None``: however late.
        overlap: a due time that passes while the job runs is left out (``skip``), or counts as late (``wait``). With
            ``catch_up="all"`` none is left out.
        deadline: a run is cancelled after this time, and a job whose last due time passed longer ago is overdue.
        attempts: a due time is given up after so many runners died over it.
        retries: so often a due time is run again after the work failed, unless the next one comes before.
        retry_after: how long after the first failure; each further pause is twice as long.
    """

    name: str
    cron: str
    work: Work
    plan: Work | None = None
    tz: str | None = None
    summary: str = ""
    catch_up: CatchUp = "latest"
    max_late: timedelta | None = None
    overlap: Overlap = "skip"
    deadline: timedelta = timedelta(hours=1)
    attempts: int = 3
    retries: int = 0
    retry_after: timedelta = timedelta(minutes=5)

    @property
    def latest_start(self) -> timedelta | None:
        """How late a run may begin; ``None``: however late."""
        if self.catch_up != "none":
            return self.max_late
        return _ON_TIME if self.max_late is None else min(_ON_TIME, self.max_late)

    @property
    def skips(self) -> bool:
        """Whether due times that pass while it runs are left out."""
        return self.overlap == "skip" and self.catch_up != "all"


@dataclass(frozen=True, slots=True)
class Planned:
    """A job with its schedule."""

    job: Job
    schedule: Schedule


def planned(job: Job, *, zone: str, cron: str | None = None) -> Planned:
    """The job with its schedule, everything checked.

    Args:
        zone: where the job names none.
        cron: instead of the job's own.

    Raises:
        ConfigError: a part of the declaration is wrong; says which.
    """
    if not isinstance(job.name, str) or not _NAME.fullmatch(job.name):
        raise ConfigError(
            f"A job's name is 1 to 64 letters, digits, '_', '.' and '-', a letter or digit first, not {job.name!r}.",
            path="jobs",
        )
    path = f"jobs.{job.name}"
    for name, value, choices in (("catch_up", job.catch_up, CatchUp), ("overlap", job.overlap, Overlap)):
        if value not in get_args(choices):
            raise ConfigError(f"{path}.{name}: expected one of {get_args(choices)}, not {value!r}.", path=path)
    _check_numbers(job, path)
    if not callable(job.work) or not _takes_run_or_nothing(job.work):
        raise ConfigError(f"{path}: the work is an async function without arguments, or of a Run.", path=path)
    if job.plan is not None and (not callable(job.plan) or takes_run(job.plan)):
        raise ConfigError(f"{path}: the plan is an async function without arguments.", path=path)
    wanted = job.cron if cron is None else cron
    if job.tz is None:
        return Planned(job, Schedule(wanted, zone, path=path, zone_path="jobs.time_zone"))
    return Planned(job, Schedule(wanted, job.tz, path=path))


def _check_numbers(job: Job, path: str) -> None:
    spans = ("max_late", job.max_late), ("deadline", job.deadline), ("retry_after", job.retry_after)
    for name, value in spans:
        is_absent = name == "max_late" and value is None
        if not is_absent and not (isinstance(value, timedelta) and value > timedelta()):
            raise ConfigError(f"{path}.{name}: expected a timedelta above zero, not {value!r}.", path=f"{path}.{name}")
    if isinstance(job.attempts, bool) or not isinstance(job.attempts, int) or job.attempts < 1:
        raise ConfigError(f"{path}.attempts: expected a number from 1 on, not {job.attempts!r}.", path=path)
    if isinstance(job.retries, bool) or not isinstance(job.retries, int) or not 0 <= job.retries <= _MOST_RETRIES:
        expected = f"a number from 0 to {_MOST_RETRIES}"
        raise ConfigError(f"{path}.retries: expected {expected}, not {job.retries!r}.", path=path)


def takes_run(work: Work) -> bool:
    """Whether the work has a parameter that must be given."""
    return bool(_demanded(work))


def _takes_run_or_nothing(work: Work) -> bool:
    """Whether the work can be called with a ``Run`` or with nothing."""
    return len(_demanded(work)) <= 1


def _demanded(work: Work) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(work).parameters.values()
    except (TypeError, ValueError):  # a callable without a signature takes nothing
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in parameters if each.default is inspect.Parameter.empty and each.kind not in variable]
