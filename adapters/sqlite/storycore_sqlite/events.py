"""Events in SQLite: an append-only table in the same kind of file, through the same lanes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from storycore.errors import Corrupt
from storycore.ports.capabilities import Capabilities
from storycore.ports.environment import Environment
from storycore.ports.events import Emitted, Event, EventPage, Offset, StoredEvent
from storycore.ports.instants import micros, moment
from storycore_sqlite._reads import snapshot
from storycore_sqlite._rows import Row
from storycore_sqlite._store import SqliteStore
from storycore_sqlite.config import SqliteConfig

__all__ = ["SqliteEventSink", "open_events"]

_COLUMNS = "log_offset, id, type, at, subject, data"
_FIND = "SELECT log_offset FROM storycore_events WHERE id = ?"
_ADD = "INSERT INTO storycore_events (id, type, at, subject, data) VALUES (?, ?, ?, ?, ?)"
_TRIM = (
    "DELETE FROM storycore_events WHERE log_offset IN (SELECT log_offset FROM storycore_events WHERE at < ? LIMIT ?)"
)
_TRIM_STEP = 2000
"""Events removed in one transaction, so that trimming never keeps emitters waiting long."""


def open_events(config: SqliteConfig, env: Environment) -> SqliteEventSink:
    """The event sink of the adapter ``sqlite``."""
    return SqliteEventSink(config, env)


class SqliteEventSink(SqliteStore):
    """An append-only log in one SQLite file, which other processes may have open and write to."""

    @property
    def capabilities(self) -> Capabilities:
        """Durability as configured."""
        return Capabilities(guarantees=self._guarantees)

    async def emit(self, events: Sequence[Event]) -> list[Emitted]:
        """Append events in one transaction; returns after its commit."""
        return await self._write(partial(_append, events=events)) if events else []

    async def read(
        self,
        after: Offset | None = None,
        *,
        types: Sequence[str] = (),
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 1000,
    ) -> EventPage:
        """Events behind ``after``, filtered in the database."""
        start = Offset(0) if after is None else after
        where, arguments = _conditions(start, types, subject, since, until)
        return await self._read(partial(_page, where=where, arguments=arguments, start=start, limit=limit))

    async def trim(self, before: datetime) -> int:
        """Remove events with ``at < before``, in steps."""
        removed = 0
        while count := await self._write(partial(_remove, before=before)):
            removed += count
            if count < _TRIM_STEP:
                break
        return removed


def _append(connection: sqlite3.Connection, events: Sequence[Event]) -> list[Emitted]:
    return [_append_one(connection, event) for event in events]


def _append_one(connection: sqlite3.Connection, event: Event) -> Emitted:
    known = connection.execute(_FIND, (event.id,)).fetchone()
    if known is not None:
        return Emitted(event.id, known[0], duplicate=True)
    data = json.dumps(dict(event.data), separators=(",", ":"), allow_nan=False)
    row = connection.execute(_ADD, (event.id, event.type, micros(event.at), event.subject, data)).lastrowid
    return Emitted(event.id, Offset(row or 0))


def _conditions(
    start: Offset, types: Sequence[str], subject: str | None, since: datetime | None, until: datetime | None
) -> tuple[str, list[object]]:
    where = ["log_offset > ?"]
    given: list[object] = [start]
    if types:
        where.append(f"type IN ({', '.join('?' * len(types))})")
        given += types
    if subject is not None:
        where.append("subject = ?")
        given.append(subject)
    if since is not None:
        where.append("at >= ?")
        given.append(micros(since))
    if until is not None:
        where.append("at < ?")
        given.append(micros(until))
    return " AND ".join(where), given


def _page(
    connection: sqlite3.Connection, where: str, arguments: Sequence[object], start: Offset, limit: int
) -> EventPage:
    with snapshot(connection):
        sql = f"SELECT {_COLUMNS} FROM storycore_events WHERE {where} ORDER BY log_offset LIMIT ?"  # noqa: S608
        rows = connection.execute(sql, (*arguments, limit)).fetchall()
        head = connection.execute("SELECT max(log_offset) FROM storycore_events").fetchone()[0]
    events = [StoredEvent(Offset(row[0]), _event(row)) for row in rows]
    end = rows[-1][0] if len(rows) == limit else max(head or 0, start)
    return EventPage(events, Offset(end))


def _event(row: Row) -> Event:
    try:
        data = json.loads(row[5])
    except ValueError as exc:
        raise Corrupt(f"The data of the event at offset {row[0]} cannot be read; restore it from a backup.") from exc
    return Event(id=row[1], type=row[2], at=moment(row[3]), subject=row[4], data=data)


def _remove(connection: sqlite3.Connection, before: datetime) -> int:
    return connection.execute(_TRIM, (micros(before), _TRIM_STEP)).rowcount
