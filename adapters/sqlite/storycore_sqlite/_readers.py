"""Readers: some threads with one connection each, which take reads in the order in which they came."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from storycore.errors import Unavailable
from storycore_sqlite._units import Outcome, Unit, attempt, settle

__all__ = ["Readers"]

T = TypeVar("T")


class Readers:
    """Threads that share one queue of reads.

    A caller that is cancelled frees its place at once: a read that still waits is never begun, one that runs is
    interrupted.

    Args:
        name: of the threads.
        count: how many, at least 1.
        connect: opens a thread's connection; runs in the thread.
    """

    def __init__(self, name: str, count: int, connect: Callable[[], sqlite3.Connection]) -> None:
        self._name = name
        self._count = count
        self._connect = connect
        self._queue: SimpleQueue[_Read | None] = SimpleQueue()
        self._threads: list[tuple[threading.Thread, asyncio.Future[None]]] = []
        self._is_closing = False

    async def start(self) -> None:
        """Start the threads and wait until their connections are open; raises what ``connect`` raises."""
        self._loop = asyncio.get_running_loop()
        ready = [self._begin(number) for number in range(1, self._count + 1)]
        try:
            await asyncio.gather(*ready)
        except BaseException:
            await self.close()
            raise

    async def run(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        """Run a unit that reads, and return its result."""
        if self._is_closing:
            raise Unavailable(f"The {self._name} is closed; open the store again.")
        if asyncio.get_running_loop() is not self._loop:
            raise Unavailable("The store was opened by another event loop; open one store in each loop.")
        future: asyncio.Future[T] = self._loop.create_future()
        read = _Read(future, unit)
        self._queue.put(read)
        try:
            return await future
        except asyncio.CancelledError:
            read.abandon()
            raise

    def end(self) -> None:
        """Take nothing more; the threads finish what was handed in, close their connections and end by themselves."""
        if not self._is_closing:
            self._is_closing = True
            for _ in self._threads:
                self._queue.put(None)

    async def close(self) -> None:
        """End the threads and wait until they have ended."""
        self.end()
        for thread, stopped in self._threads:
            await asyncio.shield(stopped)
            thread.join()

    def _begin(self, number: int) -> asyncio.Future[None]:
        ready: asyncio.Future[None] = self._loop.create_future()
        stopped: asyncio.Future[None] = self._loop.create_future()
        name = f"{self._name} {number}"
        thread = threading.Thread(target=self._work, args=(ready, stopped), name=name, daemon=True)
        self._threads.append((thread, stopped))
        thread.start()
        return ready

    def _work(self, ready: asyncio.Future[None], stopped: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except Exception as exc:  # whatever it is, the opener of the readers must hear of it
            self._tell(ready, Outcome(error=exc))
            self._tell(stopped, Outcome())
            return
        self._tell(ready, Outcome())
        try:
            while (read := self._queue.get()) is not None:
                outcome = read.done_on(connection)
                if outcome is not None:
                    self._tell(read.future, outcome)
        finally:
            connection.close()
            self._tell(stopped, Outcome())

    def _tell(self, future: asyncio.Future[Any], outcome: Outcome) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it everyone who waited
            self._loop.call_soon_threadsafe(settle, future, outcome)


class _Read:
    """One read on its way through a thread. The lock keeps an interrupt from hitting the thread's next read."""

    def __init__(self, future: asyncio.Future[Any], unit: Unit) -> None:
        self.future = future
        self._unit = unit
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._connection: sqlite3.Connection | None = None

    def done_on(self, connection: sqlite3.Connection) -> Outcome | None:
        """Run the read; ``None`` when nobody waits for it any more."""
        with self._lock:
            if self._is_abandoned:
                return None
            self._connection = connection
        outcome = attempt(self._unit, connection)
        with self._lock:
            self._connection = None
        if connection.in_transaction:  # the interrupt hit the end of a snapshot
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        return outcome

    def abandon(self) -> None:
        """Begin it no more, or stop it where it is."""
        with self._lock:
            self._is_abandoned = True
            if self._connection is not None:
                self._connection.interrupt()
