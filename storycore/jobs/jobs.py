"""Jobs: a store's own list of them, and everything that can be done with it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar
from weakref import WeakSet

from storycore.entities.leases import Held
from storycore.errors import ConditionFailed, ConfigError, Corrupt, InvalidArgument, StorycoreError
from storycore.jobs.board import Board
from storycore.jobs.decisions import begun_by_hand
from storycore.jobs.declaration import CatchUp, Job, Overlap, Planned, Work, planned
from storycore.jobs.runner import Runner
from storycore.jobs.schedule import can_schedule
from storycore.jobs.standing import Standing, Status, status_of
from storycore.jobs.state import JobState, RunRecord
from storycore.jobs.turns import Tell, Turn
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import Health
from storycore.suggestions import did_you_mean

__all__ = ["Jobs", "Status"]

W = TypeVar("W", bound=Work)

_MOST_HISTORY = 1000
_PAUSES_SECONDS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Before each attempt to run a job by hand: a runner takes its turn also to write down what is due, which is over at
once."""


class Jobs:
    """The jobs of one store, which all stores of its namespace over the same entities share.

    Nothing runs by itself: ``storycore jobs run``, ``serve`` or a ``runner`` in the application do it.

    Args:
        store: keeps what is remembered of jobs; borrowed.
        env: tells the time.
        namespace: keeps the jobs of several applications in one store apart.
        tell: hears of every line of history.
        given: finds the jobs that the store brings itself, when the list is first looked at.
        zone: the time zone of jobs that name none.
        off: names of jobs that are not run by the clock.
        crons: name to the cron expression that counts instead of the job's own.
        lease: a runner that gives no sign of life for so long is taken for dead.
        history: how long the history is kept.
    """

    def __init__(
        self,
        store: EntityStore,
        env: Environment,
        *,
        namespace: str,
        tell: Tell,
        given: Callable[[], Iterable[Job]] = tuple,
        zone: str = "UTC",
        off: Iterable[str] = (),
        crons: Mapping[str, str] | None = None,
        lease: timedelta = timedelta(seconds=60),
        history: timedelta = timedelta(days=90),
    ) -> None:
        self._board = Board(store, env, namespace=namespace, lease=lease, history=history)
        self._env = env
        self._tell = tell
        self._given: Callable[[], Iterable[Job]] | None = given
        self._zone = zone
        self._off = frozenset(off)
        self._crons = dict(crons or {})
        self._planned: dict[str, Planned] = {}
        self._runners: WeakSet[Runner] = WeakSet()

    def job(
        self,
        name: str,
        *,
        cron: str,
        plan: Work | None = None,
        tz: str | None = None,
        summary: str = "",
        catch_up: CatchUp = "latest",
        max_late: timedelta | None = None,
        overlap: Overlap = "skip",
        deadline: timedelta = timedelta(hours=1),
        attempts: int = 3,
        retries: int = 0,
        retry_after: timedelta = timedelta(minutes=5),
    ) -> Callable[[W], W]:
        """Declare an async function a job: ``@store.jobs.job("report", cron="0 6 * * MON")``; arguments as for ``Job``.

        Raises:
            ConfigError: a part of the declaration is wrong, or the name is taken.
        """

        def declare(work: W) -> W:
            self.add(
                Job(
                    name=name,
                    cron=cron,
                    work=work,
                    plan=plan,
                    tz=tz,
                    summary=summary,
                    catch_up=catch_up,
                    max_late=max_late,
                    overlap=overlap,
                    deadline=deadline,
                    attempts=attempts,
                    retries=retries,
                    retry_after=retry_after,
                )
            )
            return work

        return declare

    def add(self, job: Job) -> None:
        """Add a job; runners that serve already do so with it too.

        Raises:
            ConfigError: a part of the declaration is wrong, or the name is taken.
        """
        self._add(self._all(), job)
        for runner in self._runners:
            runner.wake()

    def names(self) -> Sequence[str]:
        """The jobs there are."""
        return sorted(self._all())

    def unknown(self) -> Sequence[str]:
        """One sentence for each name in the profile's ``jobs`` that no job has, with the one that was perhaps meant."""
        names = {"off": self._off, "cron": self._crons.keys()}
        return [
            f"jobs.{setting} names {name!r}, but there is no such job here. {did_you_mean(name, self._all())}"
            for setting, given in names.items()
            for name in sorted(given)
            if name not in self._all()
        ]

    def runner(
        self, *, poll: timedelta = timedelta(seconds=30), heard: Callable[[RunRecord], None] | None = None
    ) -> Runner:
        """What runs the jobs by the clock: ``async with store.jobs.runner(): …``.

        Args:
            poll: the longest pause between two looks at what other runners do; a second or longer.
            heard: is told every line that this runner adds to the history.
        """

        async def tell(record: RunRecord) -> None:
            if heard is not None:
                heard(record)
            await self._tell(record)

        self._all()
        runner = Runner(self._board, self._served, self._env, tell, poll=poll)
        self._runners.add(runner)
        return runner

    async def serve(
        self, *, poll: timedelta = timedelta(seconds=30), heard: Callable[[RunRecord], None] | None = None
    ) -> None:
        """Run the jobs by the clock until this is cancelled or the store is closed; arguments as for ``runner``."""
        await self.runner(poll=poll, heard=heard).serve()

    async def run(self, name: str) -> RunRecord:
        """Run a job once, now; that settles no due time, and works for a job that is switched off too.

        Returns:
            how it ended; a failure is an answer, not an error.

        Raises:
            InvalidArgument: there is no such job.
            ConditionFailed: it is running, or another process took it over because this one stood still.
            Corrupt: what is remembered of it is damaged; ``reset`` helps.
        """
        known = self._known(name)
        for pause in _PAUSES_SECONDS:
            await asyncio.sleep(pause)
            if await self._is_running(name):
                break
            turn = Turn(known, self._board, self._env, self._tell)
            record = await turn.take(begun_by_hand)
            if record is not None:
                return record
            if turn.is_taken:
                break
        raise ConditionFailed(
            f"The job {name!r} is run by another process; `storycore jobs list` shows since when. Try again later."
        )

    async def plan(self, name: str) -> object:
        """What a job would do now, as a text or a mapping; nothing is changed, and no run is written down.

        Raises:
            InvalidArgument: there is no such job, or it cannot say.
            ConfigError: its plan is no async function.
        """
        job = self._known(name).job
        if job.plan is None:
            raise InvalidArgument(f"The job {name!r} cannot say beforehand what it would do; it was declared no plan.")
        given = job.plan()
        if not inspect.isawaitable(given):
            raise ConfigError(f"The plan of a job is an async function, and that of {name!r} is none.", path="jobs")
        return await given

    async def reset(self, name: str) -> None:
        """Forget what is remembered of a job: it begins anew and owes nothing. Whoever runs it now loses its turn.

        The history stays.

        Raises:
            InvalidArgument: there is no such job.
        """
        await self._board.lease(self._known(name).job.name).reset(JobState())
        for runner in self._runners:
            runner.wake()

    async def list(self) -> Sequence[Status]:
        """How every job does, by name."""
        names = self.names()
        return self._statuses(zip(names, await self._board.read(names), strict=True))

    def seen(self) -> Sequence[Status]:
        """How jobs did when they were last looked at, by a runner or ``list``; at once, and from any thread."""
        return self._statuses(sorted(self._board.seen.items()))

    async def history(self, name: str | None = None, *, limit: int = 50) -> Sequence[RunRecord]:
        """The last runs, misses and skips, newest first; of one job, or of all.

        Raises:
            InvalidArgument: there is no such job, or the limit is not 1 to 1000.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST_HISTORY:
            raise InvalidArgument(f"limit is {limit!r}, expected 1 to {_MOST_HISTORY}.")
        names = self.names() if name is None else [self._known(name).job.name]
        found = [record for each in names for record in await self._board.history(each, limit)]
        return sorted(found, key=lambda record: record.at, reverse=True)[:limit]

    async def health(self) -> Health | None:
        """Whether all jobs do well; ``None`` where nobody has ever served or run any, or none can be scheduled."""
        if not can_schedule():
            return None
        try:
            listed = await self.list()
        except ConfigError as exc:
            return Health(ok=False, detail=exc.message)
        except StorycoreError:  # the line of the entities says what is the matter
            return None
        if all(status.last is None and status.standing in (Standing.NEW, Standing.OFF) for status in listed):
            return None
        bad = [status.detail for status in listed if not status.standing.is_well]
        counts = {name: sum(status.counts.get(name, 0) for status in listed) for name in ("done", "failed", "missed")}
        return Health(ok=not bad, detail="; ".join(bad), facts={"jobs": len(listed), "degraded": bool(bad), **counts})

    async def close(self) -> None:
        """End all runners; what they were running is run again by others."""
        for runner in list(self._runners):
            await runner.close()

    async def _is_running(self, name: str) -> bool:
        [held] = await self._board.read([name])
        if isinstance(held, Corrupt):
            raise held
        if held is None or held.state.running is None:
            return False
        return bool(held.owner) and held.until > self._env.clock.now()

    def _statuses(self, held: Iterable[tuple[str, Held[JobState] | Corrupt | None]]) -> Sequence[Status]:
        jobs, now = self._all(), self._env.clock.now()
        return [status_of(jobs[name], each, now, is_on=name not in self._off) for name, each in held]

    def _served(self) -> Mapping[str, Planned]:
        return {name: each for name, each in self._all().items() if name not in self._off}

    def _known(self, name: str) -> Planned:
        if name not in self._all():
            raise InvalidArgument(f"There is no job {name!r}. {did_you_mean(str(name), self._all())}")
        return self._all()[name]

    def _all(self) -> dict[str, Planned]:
        """The jobs, with those that the store brings itself, which are found now."""
        if self._given is not None:
            found: dict[str, Planned] = {}
            for job in self._given():
                self._add(found, job)
            self._planned, self._given = found, None
        return self._planned

    def _add(self, to: dict[str, Planned], job: Job) -> None:
        if not isinstance(job, Job):
            raise ConfigError(f"A job is a storycore.jobs.Job, not {job!r:.100}.", path="jobs")
        made = planned(job, zone=self._zone, cron=self._crons.get(job.name))
        if job.name in to:
            raise ConfigError(f"There are two jobs of the name {job.name!r}; rename one.", path=f"jobs.{job.name}")
        to[job.name] = made
