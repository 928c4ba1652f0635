"""Units of work: each with its own outcome, and a group of them in one transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Outcome", "Unit", "attempt", "attempt_alone", "commit_together", "settle"]

Unit: TypeAlias = Callable[[sqlite3.Connection], Any]  # each unit's result goes to its own caller
"""Work on a connection. It may run more than once; what it did before is undone then."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a unit: its result, or the error it failed with."""

    result: object = None
    error: Exception | None = None


def attempt(unit: Unit, connection: sqlite3.Connection) -> Outcome:
    """Run a unit for itself."""
    try:
        return Outcome(result=unit(connection))
    except Exception as exc:  # belongs to the unit's caller, who raises it
        return Outcome(error=exc)


def settle(future: asyncio.Future[Any], outcome: Outcome) -> None:
    """Tell the caller, unless it was cancelled."""
    if future.done():
        return
    if outcome.error is None:
        future.set_result(outcome.result)
    else:
        future.set_exception(outcome.error)


def commit_together(connection: sqlite3.Connection, units: Sequence[Unit]) -> list[Outcome]:
    """Run all units in one transaction and commit it; a unit that fails is undone alone.

    Units run without savepoints first, for these cost CPU in every put. Only when one fails halfway, they all run
    again behind savepoints; so a unit may run more than once, and what it did before is undone.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = _attempt_all(connection, units)
        if outcomes is None:
            _roll_back(connection)
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [attempt_alone(unit, connection) for unit in units]
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
        outcome = attempt(unit, connection)
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


def attempt_alone(unit: Unit, connection: sqlite3.Connection) -> Outcome:
    """Run a unit in the open transaction; one that fails is undone, and nothing else."""
    connection.execute("SAVEPOINT unit")
    outcome = attempt(unit, connection)
    if outcome.error is not None:
        if not connection.in_transaction and isinstance(outcome.error, sqlite3.Error):
            raise outcome.error  # SQLite has undone the whole transaction, as it does when the disk is full
        connection.execute("ROLLBACK TO unit")
    connection.execute("RELEASE unit")
    return outcome


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
