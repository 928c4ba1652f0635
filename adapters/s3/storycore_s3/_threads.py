"""The adapter's own threads: requests never run on the event loop, and none is left behind by a cancellation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """A pool that starts when it is first used and may be used again after ``close``."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    async def run(self, call: Callable[[], T], *, undo: Callable[[T], None] | None = None) -> T:
        """The result of a blocking call, in its caller's context. A cancellation waits until the call has ended.

        Args:
            undo: takes the result that nobody will see.
        """
        if self._pool is None or self._pid != os.getpid():  # threads do not follow a process into its fork
            self._pool, self._pid = ThreadPoolExecutor(self._count, "storycore-s3"), os.getpid()
        future = asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _ended(future)
            if undo is not None and future.exception() is None:
                undo(future.result())
            raise

    async def close(self) -> None:
        """Wait for what is running, then release the threads."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)


async def _ended(future: asyncio.Future[T]) -> None:
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:  # the one that is being handled is enough
            continue
    future.exception()
