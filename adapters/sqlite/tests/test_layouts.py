"""Files of earlier layouts: refused by open, moved by ensure, and nothing of them is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import aiosqlite
import pytest
from storycore_sqlite._layout import LAYOUT_VERSION
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import SqliteEntityStore, open_entities
from storycore_sqlite.joined import JoinedEntityStore, on_connection

from storycore.errors import NotProvisioned, SchemaMismatch
from storycore.ports.entities import Delete, Key, Patch, Put, QueryPlan
from storycore.ports.environment import Environment
from storycore.testing.clock import ManualClock

DATA = Path(__file__).parent / "data"
TOLD = [
    ("put", "over", b"over"),
    ("put", "deleted", b"deleted"),
    ("put", "kept", b"kept"),
    ("put", "expired", b"expired"),
    ("put", "over", b"over 2"),
    ("delete", "deleted", None),
    ("put", "once", b"once"),
]
"""The feed of ``layout_2.sql``, which the last version with that layout has written."""


def at(sk: str) -> Key:
    """A key of the files."""
    return Key("p", sk)


def store_at(path: Path, clock: ManualClock | None = None) -> SqliteEntityStore:
    """A store on that file, not yet open."""
    return open_entities(SqliteConfig(path=path), Environment(clock=clock or ManualClock()))


def make(path: Path, layout: int, *, is_guest: bool = False) -> None:
    """Write the file of an earlier layout; as a guest it has no mark in the file's header."""
    script = (DATA / f"layout_{layout}.sql").read_text(encoding="utf-8")
    if is_guest:
        script = "".join(line for line in script.splitlines(keepends=True) if not line.startswith("PRAGMA"))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


async def told(store: SqliteEntityStore | JoinedEntityStore) -> list[tuple[str, str, bytes | None]]:
    """Action, sort key and body of all changes."""
    page = await store.changes(limit=1000)
    bodies = [None if each.record is None else each.record.body for each in page.changes]
    return [(each.action.value, each.key.sk, body) for each, body in zip(page.changes, bodies, strict=True)]


async def write_over(store: SqliteEntityStore | JoinedEntityStore) -> list[tuple[str, str, bytes | None]]:
    """Replace or remove everything of ``layout_2.sql``; gives what the feed tells of it."""
    await store.write([Put(key=at("over"), kind="k", body=b"over 3")])
    await store.write([Patch(key=at("kept"), body=b"kept 2")])
    await store.write([Patch(key=at("kept"), body=b"kept 3")])
    await store.write([Delete(key=at("over")), Put(key=at("deleted"), kind="k", body=b"deleted 2")])
    return [
        ("put", "over", b"over 3"),
        ("put", "kept", b"kept 2"),
        ("put", "kept", b"kept 3"),
        ("delete", "over", None),
        ("put", "deleted", b"deleted 2"),
    ]


async def test_the_first_layout_is_moved_by_ensure(tmp_path: Path) -> None:
    """Open refuses it and says what to do; ensure moves it in one step, and records, feed and versions go on."""
    path = tmp_path / "x.db"
    make(path, 1)
    with pytest.raises(SchemaMismatch, match=r"layout 1.*ensure"):
        await store_at(path).open()
    planned = await store_at(path).ensure(dry_run=True)
    assert planned == await store_at(path).ensure()
    assert planned.actions == (f"move the tables in {path} to layout {LAYOUT_VERSION}",)
    assert (await store_at(path).ensure()).actions == ()
    async with store_at(path) as store:
        (found,) = await store.get([at("a")])
        assert found is not None
        assert [found] == list((await store.query(QueryPlan(pk="i", slot=1))).records)
        (written,) = await store.write([Put(key=at("a"), kind="k", body=b"2")])
        assert (written.version, written.created) == (42, False)
        assert await told(store) == [("put", "a", b"\1"), ("put", "a", b"2")]


async def test_the_second_layout_is_moved_by_ensure(tmp_path: Path) -> None:
    """Its feed tells the same as before, and goes on doing so whatever becomes of its records."""
    path, clock = tmp_path / "x.db", ManualClock()
    make(path, 2)
    with pytest.raises(SchemaMismatch, match=r"layout 2.*ensure"):
        await store_at(path).open()
    assert (await store_at(path).ensure()).actions == (f"move the tables in {path} to layout {LAYOUT_VERSION}",)
    async with store_at(path, clock) as store:
        assert await told(store) == TOLD
        (again,) = await store.write([Put(key=at("once"), kind="k", body=b"once")], atomic=True, token="t")
        assert (again.version, again.record and again.record.body) == (7, b"once")
        later = await write_over(store)
        clock.advance(timedelta(minutes=2))
        assert await store.expire(clock.now()) == 1
        assert await told(store) == [*TOLD, *later, ("expire", "expired", None)]


async def test_the_second_layout_is_moved_in_an_applications_database(tmp_path: Path) -> None:
    """There it is one step of the transaction that is open, and undone with it."""
    path = tmp_path / "x.db"
    make(path, 2, is_guest=True)
    async with aiosqlite.connect(path) as db:
        joined = on_connection(db, Environment(clock=ManualClock()))
        with pytest.raises(SchemaMismatch, match=r"layout 2.*ensure"):
            await joined.open()
        planned = await joined.ensure(dry_run=True)
        await db.execute("BEGIN")
        assert planned == await joined.ensure()
        await db.rollback()
        assert planned == await joined.ensure()
        assert (await joined.ensure()).actions == ()
        async with joined:
            later = await write_over(joined)
            assert await told(joined) == [*TOLD, *later]


async def test_a_program_of_the_second_layout_finds_no_feed_any_more(tmp_path: Path) -> None:
    """One that had the file open when it was moved fails at its next call, for it would lose bodies."""
    path = tmp_path / "x.db"
    make(path, 2)
    with closing(sqlite3.connect(path)) as earlier:
        assert earlier.execute("SELECT count(*) FROM storycore_feed").fetchone() == (7,)
        await store_at(path).ensure()
        with pytest.raises(sqlite3.OperationalError, match="no such table: storycore_feed"):
            earlier.execute("SELECT count(*) FROM storycore_feed")


async def test_a_file_of_this_layout_is_like_a_moved_one(tmp_path: Path) -> None:
    """New and moved files have the same columns and indexes."""
    new, moved = tmp_path / "new.db", tmp_path / "moved.db"
    make(moved, 2)
    found = []
    for path in (new, moved):
        with pytest.raises((NotProvisioned, SchemaMismatch)):
            await store_at(path).open()
        await store_at(path).ensure()
        with closing(sqlite3.connect(path)) as connection:
            names = sorted(row[0] for row in connection.execute("SELECT name FROM sqlite_master"))
            tables = [name for name in names if "_g" not in name]
            found.append((names, [connection.execute(f"PRAGMA table_info({name})").fetchall() for name in tables]))
    assert found[0] == found[1]
