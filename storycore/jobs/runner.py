"""Runner: the loop that sleeps until a job is due, and sees to it that it is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Self

from storycore.entities.leases import Held
from storycore.errors import Corrupt, InvalidArgument, Retry, StorycoreError
from storycore.jobs.board import Board
from storycore.jobs.decisions import decided
from storycore.jobs.declaration import Planned
from storycore.jobs.state import JobState, Outcome, RunRecord
from storycore.jobs.turns import Tell, Turn
from storycore.layers.acting import acting
from storycore.layers.deadline import timeless
from storycore.ports.environment import Environment

__all__ = ["Runner"]

_LEAST_PAUSE_SECONDS = 0.005


class Runner:
    """Runs jobs when they are due: ``await runner.serve()``, or ``async with runner`` while something else goes on.

    Any number of runners may serve the same jobs, in one process or in many; each due time is one runner's. Jobs run
    beside each other, and each alone.

    Args:
        board: where runners see each other.
        jobs: gives the jobs as they are now.
        env: tells the time.
        tell: hears of every line of history.
        poll: the longest pause between two looks at what other runners do.

    Raises:
        InvalidArgument: a poll of less than a second.
    """

    def __init__(
        self,
        board: Board,
        jobs: Callable[[], Mapping[str, Planned]],
        env: Environment,
        tell: Tell,
        *,
        poll: timedelta = timedelta(seconds=30),
    ) -> None:
        if not isinstance(poll, timedelta) or poll < timedelta(seconds=1):
            raise InvalidArgument(f"A runner looks around every second at most, not every {poll!r}.")
        self._board = board
        self._jobs = jobs
        self._env = env
        self._tell = tell
        self._poll = poll
        self._turns: dict[str, asyncio.Task[object]] = {}
        self._next: dict[str, tuple[datetime, datetime | None]] = {}
        self._unreadable: set[str] = set()
        self._woken = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    async def serve(self) -> None:
        """Run jobs until it is cancelled or closed; runs under way are cancelled then, and run again later.

        A store that fails is tried again at the next look; the first look must succeed.

        Raises:
            StorycoreError: the first look failed, or the failure is one that no pause can help.
            InvalidArgument: it serves already.
        """
        if self._serving is not None:
            raise InvalidArgument("This runner serves already; make another one.")
        self._serving = asyncio.get_running_loop().create_task(self._loop(), context=timeless())
        try:
            await asyncio.wait({self._serving})
        finally:
            serving = self._serving
            await self.close()
        if not serving.cancelled():
            serving.result()

    async def close(self) -> None:
        """End the loop and all runs under way; a second call does nothing."""
        tasks = [*self._turns.values(), *([] if self._serving is None else [self._serving])]
        self._serving = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def wake(self) -> None:
        """Look around at once."""
        self._woken.set()

    async def __aenter__(self) -> Self:
        if self._serving is None:
            self._serving = asyncio.get_running_loop().create_task(self._loop(), context=timeless())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        serving = self._serving
        await self.close()
        if serving is not None and not serving.cancelled():
            serving.result()

    async def _loop(self) -> None:
        pause = await self._look()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(pause, _LEAST_PAUSE_SECONDS)):  # wait_for swallows cancellations
                    await self._woken.wait()
            self._woken.clear()
            if self._failure is not None:
                raise self._failure
            try:
                pause = await self._look()
            except StorycoreError as exc:
                if exc.retry is Retry.NEVER:
                    raise
                pause = self._poll.total_seconds()

    async def _look(self) -> float:
        """Begin what is to be done; the seconds until something may be."""
        with acting("storycore:jobs"):
            return await self._looked()

    async def _looked(self) -> float:
        jobs = {name: planned for name, planned in self._jobs().items() if name not in self._turns}
        held = await self._board.read(list(jobs)) if jobs else []
        now = self._env.clock.now()
        pause = self._poll
        for planned, found in zip(jobs.values(), held, strict=True):
            if isinstance(found, Corrupt):
                await self._note(planned.job.name, found)
                continue
            self._unreadable.discard(planned.job.name)
            at = self._when(planned, found, now)
            if at is not None and at <= now:
                self._begin(planned)
            elif at is not None:
                pause = min(pause, at - now)
        return pause.total_seconds()

    async def _note(self, name: str, damage: Corrupt) -> None:
        """Write down, once, that a job cannot be run; the others go on."""
        if name in self._unreadable:
            return
        detail = f"{damage.code}: {damage.message}"
        record = RunRecord(job=name, outcome=Outcome.FAILED, at=self._env.clock.now(), detail=detail)
        await self._board.write(record)
        self._unreadable.add(name)
        with suppress(StorycoreError):  # it stands in the history, whether the event is kept or not
            await self._tell(record)

    def _when(self, planned: Planned, found: Held[JobState] | None, now: datetime) -> datetime | None:
        """When there may be something to do about a job."""
        if found is not None and found.owner and found.until > now:
            return found.until
        state = JobState() if found is None else found.state
        if state.settled is None or state.running is not None or state.settled > now:
            is_due = decided(planned, state, now) is not None
            return now if is_due else state.settled
        name = planned.job.name
        known = self._next.get(name)
        if known is None or known[0] != state.settled:
            known = self._next[name] = (state.settled, planned.schedule.next(state.settled))
        retry = [] if state.again is None else [state.again.at]
        return min([*retry, *([] if known[1] is None else [known[1]])], default=None)

    def _begin(self, planned: Planned) -> None:
        name = planned.job.name
        turn = Turn(planned, self._board, self._env, self._tell)
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(turn.take(decided), context=timeless())
        self._turns[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: asyncio.Task[object]) -> None:
        """Look around at once, unless the store fails; that gets a pause, and so does a damaged record."""
        self._turns.pop(name, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StorycoreError) and (error.retry is not Retry.NEVER or isinstance(error, Corrupt)):
            return
        self._failure = error
        self._woken.set()
