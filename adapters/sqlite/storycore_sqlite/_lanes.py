"""Lanes: one thread with one connection each, fed by the event loop.

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
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from storycore.errors import Unavailable

__all__ = ["Lane", "Outcome", "Unit", "commit_together", "run_each"]

T = TypeVar("T")

Unit: TypeAlias = Callable[[sqlite3.Connection], Any]  # each unit's result goes to its own caller
"""Work for a lane's thread."""

_MOST_UNITS = 512


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a unit: its result, or the error it failed with."""

    result: object = None
    error: Exception | None = None


Executor: TypeAlias = Callable[[sqlite3.Connection, Sequence[Unit]], list[Outcome]]
_Task: TypeAlias = "tuple[asyncio.Future[Any], Unit]"


class Lane:
    """A thread that runs units in the order in which they were handed in.

    Args:
        name: of the thread.
        connect: opens the thread's connection; runs in the thread.
        execute: runs a batch of units; never raises.
    """

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection], execute: Executor) -> None:
        self._name = name
        self._connect = connect
        self._execute = execute
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
            self._tell(_settle, self._ready, Outcome(error=exc))
            return
        self._tell(_settle, self._ready, Outcome())
        try:
            while tasks := self._next_tasks():
                outcomes = self._execute(connection, [unit for _, unit in tasks])
                self._tell(_deliver, tasks, outcomes)
        finally:
            connection.close()
            self._tell(_settle, self._stopped, Outcome())

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


def run_each(connection: sqlite3.Connection, units: Sequence[Unit]) -> list[Outcome]:
    """Run each unit for itself."""
    return [_attempt(unit, connection) for unit in units]


def commit_together(connection: sqlite3.Connection, units: Sequence[Unit]) -> list[Outcome]:
    """Run all units in one transaction and commit it; a unit that fails is undone alone.

    Units run without savepoints first, for these cost an eighth of a put. Only when one fails halfway, they all run
    again behind savepoints; so a unit may run more than once, and what it did before is undone.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = _attempt_all(connection, units)
        if outcomes is None:
            _roll_back(connection)
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [_attempt_alone(unit, connection) for unit in units]
        connection.execute("COMMIT")
    except sqlite3.Error as exc:
        _roll_back(connection)
        return _recover(connection, units, exc)
    return outcomes


def _attempt_all(connection: sqlite3.Connection, units: Sequence[Unit]) -> list[Outcome] | None:
    """Run the units; ``None`` when one left something to undo."""
    outcomes: list[Outcome] = []
    for unit in units:
        before = connection.total_changes
        outcome = _attempt(unit, connection)
        if outcome.error is not None and (
            isinstance(outcome.error, sqlite3.Error) or connection.total_changes != before
        ):
            return None
        outcomes.append(outcome)
    return outcomes


def _recover(connection: sqlite3.Connection, units: Sequence[Unit], exc: sqlite3.Error) -> list[Outcome]:
    """The whole transaction is undone. Where space ran out, units that fit must not fail with the one that did not."""
    if len(units) > 1 and getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return [outcome for unit in units for outcome in commit_together(connection, [unit])]
    return [Outcome(error=exc)] * len(units)


def _attempt_alone(unit: Unit, connection: sqlite3.Connection) -> Outcome:
    connection.execute("SAVEPOINT unit")
    outcome = _attempt(unit, connection)
    if outcome.error is not None:
        if not connection.in_transaction and isinstance(outcome.error, sqlite3.Error):
            raise outcome.error  # SQLite has undone the whole transaction, as it does when the disk is full
        connection.execute("ROLLBACK TO unit")
    connection.execute("RELEASE unit")
    return outcome


def _attempt(unit: Unit, connection: sqlite3.Connection) -> Outcome:
    try:
        return Outcome(result=unit(connection))
    except Exception as exc:  # belongs to the unit's caller, who raises it
        return Outcome(error=exc)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _settle(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.done():
        return
    if outcome.error is None:
        future.set_result(outcome.result)
    else:
        future.set_exception(outcome.error)


def _deliver(tasks: Sequence[_Task], outcomes: Sequence[Outcome]) -> None:
    for (future, _), outcome in zip(tasks, outcomes, strict=True):
        _settle(future, outcome)
