"""Turns: one run of one job, from the claim to what is written down of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

import orjson

from storycore.entities.leases import Held, Kept, Lease, LeaseLostError
from storycore.errors import Retry, StorycoreError
from storycore.jobs.board import Board
from storycore.jobs.decisions import Decision, ended
from storycore.jobs.declaration import Planned, Run, takes_run
from storycore.jobs.state import JobState, Outcome, RunRecord
from storycore.layers.acting import acting
from storycore.layers.deadline import timeless
from storycore.ports.environment import Environment

__all__ = ["Decide", "Tell", "Turn", "shown"]

T = TypeVar("T")

Decide = Callable[[Planned, JobState, datetime], Decision | None]
Tell = Callable[[RunRecord], Awaitable[None]]

_GRACE_SECONDS = 10.0
_DETAIL_CHARS = 1000
_SAVES = 8


class Turn:
    """One try to have a job's turn and to do its work.

    Args:
        planned: the job.
        board: where it is written down.
        env: tells the time.
        tell: hears of every line of history.
    """

    def __init__(self, planned: Planned, board: Board, env: Environment, tell: Tell) -> None:
        self._planned = planned
        self._board = board
        self._env = env
        self._tell = tell
        self._lease: Lease[JobState] = board.lease(planned.job.name)
        self.is_taken = False
        """Whether the turn was this one's at all."""

    async def take(self, decide: Decide) -> RunRecord | None:
        """Take the turn where ``decide`` finds something to do, and do it.

        Returns:
            how the run ended; ``None``: there was none, or somebody else has the turn by now.
        """
        decision: list[Decision] = []

        async def begin(found: Held[JobState] | None) -> Kept[JobState] | None:
            state = JobState() if found is None else found.state
            made = decide(self._planned, state, self._env.clock.now())
            if made is None:
                return None
            decision.append(made)
            return Kept(made.state, [self._board.put(record) for record in made.records])

        self.is_taken = await self._lease.take(begin)
        if not self.is_taken:
            return None
        try:
            await self._told(decision[-1].records)
            return await self._run() if self._lease.state.running is not None else None
        finally:
            await self._lease.release()

    async def _run(self) -> RunRecord | None:
        work = asyncio.get_running_loop().create_task(self._work(), context=timeless())
        lost = asyncio.create_task(self._lease.until_lost())
        try:
            is_late = await self._watch(work, lost)
            record = await _to_the_end(self._written(*self._outcome(work, is_late=is_late)))
            if not work.done() and record is not None:  # while it will not end nobody begins it anew
                await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
            return record
        finally:
            lost.cancel()
            await _end(work)

    async def _work(self) -> object:
        running, fence = self._lease.state.running, self._lease.fence
        assert running is not None
        job = self._planned.job
        run = Run(job=job.name, due=running.due, attempt=running.attempt, fence=fence or 0)
        with acting(f"job:{job.name}"):
            given = job.work(run) if takes_run(job.work) else job.work()
            if not inspect.isawaitable(given):
                raise TypeError(f"The work of a job is an async function, and that of {job.name!r} is none.")
            return await given

    async def _watch(self, work: asyncio.Task[object], lost: asyncio.Task[None]) -> bool:
        """Until the work is done, its deadline has passed, or the turn is lost; it is cancelled then.

        Returns:
            whether the deadline has passed. Where the runner is closed, that is written down, and the turn ends.
        """
        seconds = self._planned.job.deadline.total_seconds()
        try:
            done, _ = await asyncio.wait({work, lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            await _end(work)
        except asyncio.CancelledError:
            is_done = work.done()
            await _end(work)
            closed = Outcome.CANCELLED, "The runner was closed."
            await _to_the_end(self._written(*(self._outcome(work, is_late=False) if is_done else closed)))
            raise
        return not done

    async def _written(self, outcome: Outcome, detail: str) -> RunRecord | None:
        """Write down how the run ended; ``None`` where another has the turn, or the store cannot be reached."""
        detail = detail[:_DETAIL_CHARS].encode(errors="replace").decode()
        decision = ended(self._planned, self._lease.state, outcome, detail, self._env.clock.now())
        puts = [self._board.put(record) for record in decision.records]
        for attempt in range(_SAVES):
            try:
                await self._lease.keep(decision.state, puts)
            except LeaseLostError:
                return None
            except StorycoreError as exc:
                if exc.retry is Retry.NEVER:
                    raise
                await asyncio.sleep(min(0.1 * 2**attempt, 5.0))
            else:
                await self._told(decision.records)
                return decision.records[0]
        return None

    def _outcome(self, work: asyncio.Task[object], *, is_late: bool) -> tuple[Outcome, str]:
        """How the work ended, in words for people."""
        deadline = self._planned.job.deadline
        if not work.done():
            return Outcome.TIMED_OUT, f"It did not end within {deadline}, nor when it was cancelled."
        if is_late:
            return Outcome.TIMED_OUT, f"It did not end within {deadline}, and was cancelled."
        if work.cancelled():
            return Outcome.FAILED, "It was cancelled from within."
        error = work.exception()
        if error is None:
            return Outcome.DONE, shown(work.result())
        name = error.code if isinstance(error, StorycoreError) else type(error).__name__
        return Outcome.FAILED, f"{name}: {error}"

    async def _told(self, records: Sequence[RunRecord]) -> None:
        for record in records:
            with suppress(StorycoreError):  # it stands in the history, whether the event is kept or not
                await self._tell(record)


async def _end(work: asyncio.Task[object]) -> None:
    """Cancel what still runs; what will not end is left alone."""
    if not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=_GRACE_SECONDS)


async def _to_the_end(writing: Coroutine[None, None, T]) -> T:
    """Await it to its end, also where this task is cancelled meanwhile."""
    task = asyncio.create_task(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def shown(result: object) -> str:
    """What a job's work or plan returned, as a text; empty where that is neither a text nor a mapping."""
    if isinstance(result, str):
        return result
    if isinstance(result, Mapping):
        try:
            return orjson.dumps(dict(result), default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # an integer of more than 64 bits, say
            return str(dict(result))
    return ""
