"""One thread that does all the work of a cache on disk, in batches.

What has queued up shares one transaction, and requests of one kind that stand side by side are answered together.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias, TypeVar

from storycore.errors import Corrupt, Unavailable
from storycore_diskcache._store import Store

__all__ = ["Lane"]

Q = TypeVar("Q")
R = TypeVar("R")

Work: TypeAlias = Callable[[Store, Sequence[Q]], Sequence[R]]
"""Answers requests of one kind, in their order, as if it were one after the other."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    work: Work[Any, Any]
    request: Any
    writes: bool
    answer: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Lane:
    """Jobs in the order in which they were given.

    Args:
        store: used on the lane's thread only.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._queue: deque[_Job] = deque()
        self._is_draining = False
        self._thread: ThreadPoolExecutor | None = None

    async def alone(self, act: Callable[[Store], R]) -> R:
        """Do what is no part of the protocol: make, open, close, measure."""
        return await asyncio.get_running_loop().run_in_executor(self._executor(), act, self._store)

    async def read(self, work: Work[Q, R], request: Q) -> R:
        """Answer a request that needs no transaction."""
        answer: R = await self._do(_Job(work, request, False, *_answer()))
        return answer

    async def write(self, work: Work[Q, R], request: Q) -> R:
        """Answer a request in a transaction, which it may share with those queued beside it."""
        answer: R = await self._do(_Job(work, request, True, *_answer()))
        return answer

    def close(self) -> None:
        """Let the thread end once it has nothing to do."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)

    async def _do(self, job: _Job) -> Any:  # whatever the work gives
        with self._lock:
            self._queue.append(job)
            start, self._is_draining = not self._is_draining, True
        if start:
            self._executor().submit(self._drain)
        return await job.answer

    def _executor(self) -> ThreadPoolExecutor:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="storycore-diskcache")
        return self._thread

    def _drain(self) -> None:
        while True:
            with self._lock:
                jobs = list(self._queue)
                self._queue.clear()
                self._is_draining = bool(jobs)
            if not jobs:
                return
            outcomes = [outcome for group in _runs(jobs) for outcome in self._healed(group)]
            _deliver(jobs, outcomes)

    def _healed(self, jobs: Sequence[_Job]) -> list[Any]:
        """The jobs' outcomes; on a damaged cache, those of a second try on an empty one."""
        outcomes = self._outcomes(jobs)
        if not any(isinstance(outcome, Corrupt) for outcome in outcomes):
            return outcomes
        try:
            self._store.begin_anew()
        except Exception as exc:  # the jobs' own errors are less than what hinders the new beginning
            return [exc] * len(jobs)
        return self._outcomes(jobs)

    def _outcomes(self, jobs: Sequence[_Job]) -> list[Any]:
        try:
            self._store.refresh()
        except Exception as exc:  # every job needs the store
            return [exc] * len(jobs)
        return self._together(jobs)

    def _together(self, jobs: Sequence[_Job]) -> list[Any]:
        """All at once, writes in one transaction; when a job spoils it, each has its own."""
        try:
            with self._store.transaction() if jobs[0].writes else nullcontext():
                return _answers(jobs, self._store)
        except Exception as exc:  # delivered to the callers
            if len(jobs) == 1 or isinstance(exc, Unavailable | Corrupt):
                return [exc] * len(jobs)
        return [outcome for job in jobs for outcome in self._together([job])]


def _answer() -> tuple[asyncio.Future[Any], asyncio.AbstractEventLoop]:
    loop = asyncio.get_running_loop()
    return loop.create_future(), loop


def _runs(jobs: Sequence[_Job]) -> list[list[_Job]]:
    return [list(run) for _, run in groupby(jobs, key=lambda job: job.writes)]


def _answers(jobs: Sequence[_Job], store: Store) -> list[Any]:
    found: list[Any] = []
    for work, run in groupby(jobs, key=lambda job: job.work):
        found += work(store, [job.request for job in run])
    return found


def _deliver(jobs: Sequence[_Job], outcomes: Sequence[Any]) -> None:
    pairs = list(zip(jobs, outcomes, strict=True))
    for loop in dict.fromkeys(job.loop for job in jobs):
        mine = [(job, outcome) for job, outcome in pairs if job.loop is loop]
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:
            continue  # the loop has ended, nobody waits


def _settle(pairs: Sequence[tuple[_Job, Any]]) -> None:
    for job, outcome in pairs:
        if job.answer.done():
            continue
        if isinstance(outcome, Exception):
            job.answer.set_exception(outcome)
        else:
            job.answer.set_result(outcome)
