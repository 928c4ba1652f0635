"""Entities on a connection of the application's own, so that its writes and storycore's share a transaction.

The tables lie in the application's database, behind their prefix. Everything runs in the connection's own thread, a
call in one go; nothing here opens, closes, commits or rolls back what the application opened or began.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from storycore.errors import NotProvisioned, StorycoreError, Unavailable
from storycore.ports.capabilities import Capabilities, Durability, Guarantees
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle, Provision
from storycore_sqlite._errors import translated
from storycore_sqlite._file import segment_hash
from storycore_sqlite._layout import LAYOUT_VERSION, create, is_older, is_provisioned, recognise
from storycore_sqlite._records import FEATURES, RecordOperations
from storycore_sqlite._units import Outcome, Unit, attempt, attempt_alone, commit_together

__all__ = ["JoinedEntityStore", "on_connection"]

T = TypeVar("T")


class _Connection(Protocol):
    """What is used of an ``aiosqlite.Connection``: its way of running a function in its thread (0.20 to 0.22)."""

    @property
    def _conn(self) -> sqlite3.Connection: ...

    async def _execute(self, fn: Callable[..., T], *args: object) -> T: ...


def on_connection(
    connection: object, env: Environment | None = None, *, feed_retention: timedelta = timedelta(hours=24)
) -> JoinedEntityStore:
    """An entity store on an open ``aiosqlite.Connection``, without limits checked: put it behind ``checked``.

    Args:
        connection: borrowed; it stays open when the store closes.
        env: clock and ids; ``None``: the machine's own.
        feed_retention: how long ``expire()`` keeps the change feed at least.
    """
    return JoinedEntityStore(cast(_Connection, connection), env or Environment(), feed_retention)


class JoinedEntityStore(Lifecycle, RecordOperations):
    """An entity store inside the transactions of an application.

    A write joins the transaction that is open and is committed or rolled back with it. Where none is open, the
    connection's ``isolation_level`` decides, as it does for the application's own statements: a transaction begins and
    waits for the application's ``commit()``, or, with ``None``, the write is committed when it returns. A write that
    fails is undone alone. Reads see what the connection sees, uncommitted writes included.

    What was written and then rolled back never was: versions and places in the feed that it had are issued again.
    """

    def __init__(self, connection: _Connection, env: Environment, feed_retention: timedelta) -> None:
        self._connection = connection
        self._env = env
        self._feed_retention = feed_retention
        self._info = AdapterInfo("sqlite", version("storycore-sqlite"))
        self._natives = (connection,)

    @property
    def info(self) -> AdapterInfo:
        """The adapter's name and version; once open, the file."""
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        """As the adapter's own; how durable a write is, the application's transaction decides."""
        return Capabilities(features=FEATURES, guarantees=Guarantees(Durability.PROCESS))

    async def open(self) -> None:
        """Recognise the tables; ``ensure`` makes them."""
        path = await self._run(_prepared)
        self._info = AdapterInfo("sqlite", version("storycore-sqlite"), path)
        self._opened = True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Make the tables where they are missing, in the open transaction or one of their own."""
        unit = _missing if dry_run else (lambda connection: _provided(connection, self._env.new_id()))
        return Provision(tuple(await self._run(unit)))

    async def health(self, *, deep: bool = False) -> Health:
        """Read from the tables; ``deep`` also has SQLite check the whole database."""
        question = "PRAGMA quick_check(1)" if deep else "SELECT 'ok' FROM storycore_state"
        try:
            found = str(await self._read(lambda connection: connection.execute(question).fetchone()[0]))
        except StorycoreError as exc:
            return Health(ok=False, detail=exc.message)
        detail = "" if found == "ok" else f"The database is damaged ({found}); restore it from a backup."
        return Health(ok=found == "ok", detail=detail)

    async def _read(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        self._require_open()
        return await self._run(unit)

    async def _write(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        self._require_open()
        return await self._run(lambda connection: _written(connection, unit))

    async def _run(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        outcome = await self._attempt(unit)
        if isinstance(outcome.error, sqlite3.Error):
            raise translated(outcome.error, Path(self._info.place or "of the connection")) from outcome.error
        if outcome.error is not None:
            raise outcome.error
        return cast(T, outcome.result)

    async def _attempt(self, unit: Unit) -> Outcome:
        """Run a unit in the connection's thread, whatever rows and texts the application has it return."""
        try:
            return await self._connection._execute(_attempt_plainly, self._connection, unit)
        except ValueError as exc:
            raise Unavailable("The connection is closed; open another, and a store on it.") from exc


def _attempt_plainly(owner: _Connection, unit: Unit) -> Outcome:
    connection = owner._conn
    with _plain(connection):
        return attempt(unit, connection)


@contextmanager
def _plain(connection: sqlite3.Connection) -> Iterator[None]:
    rows, texts = connection.row_factory, connection.text_factory
    connection.row_factory, connection.text_factory = None, str
    try:
        yield
    finally:
        connection.row_factory, connection.text_factory = rows, texts


def _written(connection: sqlite3.Connection, unit: Unit) -> Any:  # the unit's own result
    """Run a unit wholly or not at all: in the transaction that is open, in one that it begins, or in its own."""
    begins = not connection.in_transaction and _waits_for_commit(connection)
    before = connection.total_changes
    if begins:
        connection.execute("BEGIN IMMEDIATE")
    outcome = _alone_or_joined(connection, unit)
    if begins and connection.in_transaction and (outcome.error is not None or connection.total_changes == before):
        connection.execute("ROLLBACK")  # nothing was written that the application would have to commit
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def _waits_for_commit(connection: sqlite3.Connection) -> bool:
    """Whether the application's own statements would begin a transaction (Python 3.12: ``autocommit``)."""
    autocommit = getattr(connection, "autocommit", None)
    if autocommit is True:
        return False
    return autocommit is False or connection.isolation_level is not None


def _prepared(connection: sqlite3.Connection) -> str:
    path = str(connection.execute("PRAGMA database_list").fetchone()[2])
    if not is_provisioned(connection):
        raise NotProvisioned(f"The database {path} has no tables of storycore yet; call ensure().")
    recognise(connection, path)
    connection.create_function("storycore_segment", 2, segment_hash, deterministic=True)
    return path


def _missing(connection: sqlite3.Connection) -> list[str]:
    if not is_provisioned(connection):
        return ["create storycore's tables in the database of the connection"]
    if is_older(connection):
        return [f"move storycore's tables in the database of the connection to layout {LAYOUT_VERSION}"]
    recognise(connection, "of the connection")
    return []


def _provided(connection: sqlite3.Connection, feed_id: str) -> list[str]:
    actions = _missing(connection)
    if actions:
        outcome = _alone_or_joined(connection, lambda own: create(own, feed_id, is_guest=True))
        if outcome.error is not None:
            raise outcome.error
    return actions


def _alone_or_joined(connection: sqlite3.Connection, unit: Unit) -> Outcome:
    if connection.in_transaction:
        return attempt_alone(unit, connection)
    (outcome,) = commit_together(connection, [unit])
    return outcome
