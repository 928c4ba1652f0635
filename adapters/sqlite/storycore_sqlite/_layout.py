"""The tables in a database, and the mark by which they are recognised.

A rowid table with UNIQUE(pk, sk) and index-key columns in partial indexes: measured 4.6 times faster for index queries
with 1.6 KB records than WITHOUT ROWID, and half its size. A record's index keys are also kept as one text, for reading
sixteen columns that are mostly NULL costs a fifth of a point read. Nothing here is newer than SQLite 3.35.

Every name begins with ``storycore_``, for the tables may lie in an application's own database. The mark is a row of
``storycore_state``; a file of storycore's own also says so in its header.
"""

from __future__ import annotations

import sqlite3

from storycore.errors import NotProvisioned, SchemaMismatch
from storycore_sqlite._sql import INDEX_COLUMNS, SLOTS

__all__ = ["LAYOUT_VERSION", "create", "is_older", "is_provisioned", "recognise"]

LAYOUT_VERSION = 3

_APPLICATION_ID = 0x53544352
"""``STCR``: marks a file as storycore's own (SQLite: PRAGMA application_id)."""

_FIRST_TABLES = ("items", "feed", "tokens", "state", "events")
"""Layout 1 had these names, without the prefix."""

_FORMER_INDEX = "CREATE INDEX storycore_changes_former ON storycore_changes (version) WHERE former IS NOT NULL"

_TABLES = (
    f"""CREATE TABLE storycore_items (
        id INTEGER PRIMARY KEY, pk TEXT NOT NULL, sk TEXT NOT NULL,
        kind TEXT NOT NULL, version INTEGER NOT NULL, expires_at INTEGER, index_keys TEXT, fields TEXT,
        body BLOB NOT NULL, {", ".join(f"{column} TEXT" for column in INDEX_COLUMNS)},
        UNIQUE (pk, sk))""",
    *(
        f"""CREATE INDEX storycore_items_g{slot} ON storycore_items (g{slot}pk, g{slot}sk, pk, sk)
        WHERE g{slot}pk IS NOT NULL"""
        for slot in SLOTS
    ),
    "CREATE INDEX storycore_items_expiry ON storycore_items (expires_at) WHERE expires_at IS NOT NULL",
    """CREATE TABLE storycore_changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, action TEXT NOT NULL,
        pk TEXT NOT NULL, sk TEXT NOT NULL, kind TEXT NOT NULL, version INTEGER,
        expires_at INTEGER, index_keys TEXT, fields TEXT, body BLOB, former BLOB)""",
    _FORMER_INDEX,
    """CREATE TABLE storycore_tokens (
        token TEXT PRIMARY KEY, digest BLOB NOT NULL, results TEXT NOT NULL, until INTEGER NOT NULL)""",
    "CREATE TABLE storycore_state (feed TEXT NOT NULL, trimmed INTEGER NOT NULL DEFAULT 0, layout INTEGER)",
    """CREATE TABLE storycore_events (
        log_offset INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
        at INTEGER NOT NULL, subject TEXT NOT NULL, data TEXT NOT NULL)""",
    "CREATE INDEX storycore_events_type ON storycore_events (type)",
    "CREATE INDEX storycore_events_subject ON storycore_events (subject)",
    "CREATE INDEX storycore_events_at ON storycore_events (at)",
)
"""``seq`` of the feed is the one sequence of the file: a put's place in the feed is the record's version, so versions
grow also across delete and re-create; AUTOINCREMENT keeps it growing after old changes are trimmed.

A body is kept once. While a record is as a change stored it, the change has no body; the change that replaces or
removes the record takes over, as ``version`` and ``former``, the version and the body that it had. So rows are only
ever added behind the last: moving the body back into the row of the first change would write three times the pages.
Only rows of layout 2 have a ``body``.
"""


def recognise(connection: sqlite3.Connection, name: str) -> None:
    """Raise unless the database holds the tables of this layout.

    Raises:
        NotProvisioned: it is empty.
        SchemaMismatch: it holds only another program's tables, or storycore's in another layout.
    """
    layout = _stored_layout(connection)
    if layout == LAYOUT_VERSION:
        return
    if layout is not None and layout < LAYOUT_VERSION:
        raise SchemaMismatch(
            f"The database {name} has layout {layout}, this version of storycore-sqlite reads layout "
            f"{LAYOUT_VERSION}; `storycore init` or ensure() moves it there."
        )
    if layout is not None:
        raise SchemaMismatch(
            f"The database {name} has layout {layout}, this version of storycore-sqlite reads layout "
            f"{LAYOUT_VERSION}; install the version that wrote it."
        )
    if _is_empty(connection):
        raise NotProvisioned(f"The database {name} is empty; run `storycore init` or ensure().")
    if is_provisioned(connection):  # somebody made the tables between the two looks
        recognise(connection, name)
        return
    raise SchemaMismatch(f"The database {name} belongs to another program; choose another path.")


def is_provisioned(connection: sqlite3.Connection) -> bool:
    """Whether the database holds storycore's tables, of whatever layout."""
    return _stored_layout(connection) is not None


def is_older(connection: sqlite3.Connection) -> bool:
    """Whether the tables are those of an earlier layout, which ``create`` moves."""
    layout = _stored_layout(connection)
    return layout is not None and layout < LAYOUT_VERSION


def create(connection: sqlite3.Connection, feed_id: str, *, is_guest: bool) -> None:
    """Make the tables where they are missing, or move them from an earlier layout, in the open transaction.

    Args:
        feed_id: the name of a new feed.
        is_guest: the database is an application's own, whose header is left alone.
    """
    layout = _stored_layout(connection)
    if layout is None:
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute("INSERT INTO storycore_state (feed, layout) VALUES (?, ?)", (feed_id, LAYOUT_VERSION))
    elif layout < LAYOUT_VERSION:
        _move(connection, layout)
    if not is_guest:
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {LAYOUT_VERSION}")


def _move(connection: sqlite3.Connection, layout: int) -> None:
    """Rename and extend the tables of an earlier layout; no row is written again.

    A new name of the feed keeps out programs of the earlier version that have the database open: they would lose
    bodies. Indexes keep their names, which nothing reads.
    """
    if layout == 1:
        for table in _FIRST_TABLES:
            connection.execute(f"ALTER TABLE {table} RENAME TO storycore_{table}")
        connection.execute("ALTER TABLE storycore_state ADD COLUMN layout INTEGER")
    connection.execute("ALTER TABLE storycore_feed RENAME TO storycore_changes")
    connection.execute("ALTER TABLE storycore_changes ADD COLUMN former BLOB")
    connection.execute(_FORMER_INDEX)
    connection.execute("UPDATE storycore_state SET layout = ?", (LAYOUT_VERSION,))


def _stored_layout(connection: sqlite3.Connection) -> int | None:
    """The layout of storycore's tables; ``None`` where there are none."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner == _APPLICATION_ID:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'storycore_state'").fetchone() is None:
        return None
    return int(connection.execute("SELECT layout FROM storycore_state").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])
