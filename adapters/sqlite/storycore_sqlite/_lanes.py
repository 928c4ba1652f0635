"""A lane: one thread with one connection, fed by the event loop.

The loop gathers the units of one tick into one hand-over; the writer runs everything that has queued in one
transaction, so that many durable writes share one flush to disk (`benchmarks/entities_sqlite.py` shows what it saves).
A unit's caller hears of it only after the commit.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

from storycore.errors import Unavailable
from storycore_sqlite._units import Outcome, Unit, settle

__all__ = ["Lane"]

T = TypeVar("T")

_MOST_UNITS = 512

Executor: TypeAlias = Callable[[sqlite3.Connection, Sequence[Unit]], list[Outcome]]
Rest: TypeAlias = Callable[[sqlite3.Connection, bool], None]
_Task: TypeAlias = "tuple[asyncio.Future[Any], Unit]"


class Lane:
    """A thread that runs units in the order in which they were handed in.

    Args:
        name: of the thread.
        connect: opens the thread's connection; runs in the thread.
        execute: runs a batch of units; never raises.
        rest: called after each batch, when its callers have been told; the flag says whether nothing waits.
    """

    def __init__(
        self, name: str, connect: Callable[[], sqlite3.Connection], execute: Executor, rest: Rest | None = None
    ) -> None:
        self._name = name
        self._connect = connect
        self._execute = execute
        self._rest = rest
        self._queue: queue.SimpleQueue[list[_Task] | None] = queue.SimpleQueue()
        self._gathered: list[_Task] = []
        self._is_closing = False

    async def start(self) -> None:
        """Start the thread and wait until its connection is open; raises what ``connect`` raises."""
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self._stopped = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()
        try:
            await self._ready
        except BaseException:
            self._queue.put(None)
            raise

    async def run(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        """Run a unit and return its result. A cancelled caller does not stop a unit that was handed in."""
        if self._is_closing:
            raise Unavailable(f"The {self._name} is closed; open the store again.")
        self.require_own_loop()
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append((future, unit))
        return await future

    def require_own_loop(self) -> None:
        """Raise ``Unavailable`` unless the running event loop is the one that started the lane."""
        if asyncio.get_running_loop() is not self._loop:
            raise Unavailable("The store was opened by another event loop; open one store in each loop.")

    def end(self) -> None:
        """Take nothing more; the thread finishes what was handed in, closes its connection and ends by itself."""
        if not self._is_closing:
            self._is_closing = True
            self._hand_over()
            self._queue.put(None)

    async def close(self) -> None:
        """End the lane and wait until its thread has ended."""
        self.end()
        await asyncio.shield(self._stopped)
        self._thread.join()

    def _hand_over(self) -> None:
        if self._gathered:
            tasks, self._gathered = self._gathered, []
            self._queue.put(tasks)

    def _work(self) -> None:
        try:
            connection = self._connect()
        except Exception as exc:  # whatever it is, the opener of the lane must hear of it
            self._tell(settle, self._ready, Outcome(error=exc))
            return
        self._tell(settle, self._ready, Outcome())
        try:
            while tasks := self._next_tasks():
                outcomes = self._execute(connection, [unit for _, unit in tasks])
                self._tell(_deliver, tasks, outcomes)
                if self._rest is not None:
                    self._rest(connection, self._queue.empty())
        finally:
            connection.close()
            self._tell(settle, self._stopped, Outcome())

    def _next_tasks(self) -> list[_Task]:
        """Wait for tasks, and take all that have queued; empty when the lane closes."""
        tasks = list(self._queue.get() or ())
        with suppress(queue.Empty):
            while tasks and len(tasks) < _MOST_UNITS:
                more = self._queue.get_nowait()
                if more is None:
                    self._queue.put(None)
                    break
                tasks += more
        return tasks

    def _tell(self, function: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it everyone who waited
            self._loop.call_soon_threadsafe(function, *args)


def _deliver(tasks: Sequence[_Task], outcomes: Sequence[Outcome]) -> None:
    for (future, _), outcome in zip(tasks, outcomes, strict=True):
        settle(future, outcome)
