"""A crew: threads that take work from one queue. Handing work over costs two thirds of what an executor takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

__all__ = ["Crew"]

T = TypeVar("T")


class _Job(NamedTuple):
    """Work, and who waits for it; of any type, for threads do not care."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    work: Callable[[], object]


class Crew:
    """Some threads, from the first work on until ``close()``.

    Args:
        count: how many, at least 1.
        name: of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` in one of the threads. Who is cancelled does not wait any more; work that has begun goes on."""
        if not self._threads:
            self._begin()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Job(loop, future, work))
        return await future

    def close(self) -> None:
        """Wait until all work that was handed in is done, and end; nothing may be handed in any more."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _begin(self) -> None:
        names = [f"{self._name}_{number}" for number in range(self._count)]
        self._threads = [threading.Thread(target=_serve, args=(self._queue,), name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()


def _serve(queue: SimpleQueue[_Job | None]) -> None:
    while (job := queue.get()) is not None:
        _do(job)
        del job  # what it refers to must not live until the next one comes


def _do(job: _Job) -> None:
    if job.future.cancelled():
        return
    error, result = None, None
    try:
        result = job.work()
    except BaseException as exc:  # it is raised where it is waited for
        error = exc
    with suppress(RuntimeError):  # the loop is closed: nobody waits
        job.loop.call_soon_threadsafe(_settle, job.future, result, error)
    error = None  # its traceback refers to this frame


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
