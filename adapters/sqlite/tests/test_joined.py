"""A store on the application's own connection: one transaction for both, and the contract of the port."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import aiosqlite
import pytest
import pytest_asyncio
from storycore_sqlite._layout import LAYOUT_VERSION
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import open_entities
from storycore_sqlite.joined import on_connection

from storycore.entities import Repository
from storycore.errors import NotProvisioned, PartialFailure, Retry, SchemaMismatch, Unavailable, VersionConflict
from storycore.layers.checks import checked
from storycore.layers.checks.forward import Forward
from storycore.plugins import Adapter
from storycore.ports.conditions import Matches, Version
from storycore.ports.entities import EntityStore, Key, Put, QueryPlan, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName, Provision
from storycore.story import STORY, Story
from storycore.testing.clock import ManualClock
from storycore.testing.entities import EntityStoreSuite

HERE, THERE = Key("p", "a"), Key("p", "b")


class OwnConnection(Forward[EntityStore]):
    """An application in small: it opens a connection, puts a store on it, and closes both."""

    def __init__(self, config: SqliteConfig, env: Environment) -> None:
        self._path = config.path
        self._env = env
        super().__init__(on_connection(None, env))

    async def _connect(self) -> aiosqlite.Connection:
        self._path.parent.mkdir(exist_ok=True)
        connection = await aiosqlite.connect(self._path, isolation_level=None)
        self.inner = on_connection(connection, self._env)
        return connection

    async def open(self) -> None:
        """Connect, once."""
        if not self.inner.info.place:
            self._connection = await self._connect()
            try:
                await self.inner.open()
            except BaseException:
                await self._connection.close()
                raise

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Make the tables, on a connection for the moment where none is open."""
        if self.inner.info.place:
            return await self.inner.ensure(dry_run=dry_run)
        connection = await self._connect()
        try:
            return await self.inner.ensure(dry_run=dry_run)
        finally:
            await connection.close()

    async def close(self) -> None:
        """Close the store, then the connection."""
        await self.inner.close()
        if self.inner.info.place:
            await self._connection.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


class OwnAdapter(Adapter):
    """An adapter that needs no module to be imported from."""

    def opener(self, port: PortName) -> object:
        """Makes the small application."""
        return OwnConnection


class TestJoinedEntities(EntityStoreSuite):
    """The EntityStore contract on an application's connection."""

    adapter: ClassVar[str | Adapter] = OwnAdapter(
        name="sqlite",
        ports={PortName.ENTITIES: "the test itself"},
        config=SqliteConfig,
        conformance={"path": "{path}/data/store.db"},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The application's database, with a table and a number of its own in the header."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 77")
        connection.execute("PRAGMA user_version = 9")
        connection.execute("CREATE TABLE items (name TEXT)")
        connection.commit()
    return path


@pytest_asyncio.fixture
async def db(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """The application's connection as aiosqlite opens it, with rows that are no tuples."""
    async with aiosqlite.connect(path) as connection:
        connection.row_factory = aiosqlite.Row
        connection.text_factory = bytes
        yield connection


@pytest_asyncio.fixture
async def store(db: aiosqlite.Connection) -> AsyncIterator[EntityStore]:
    """A store on it, behind the checks."""
    joined = checked(PortName.ENTITIES, on_connection(db, Environment(clock=ManualClock())))
    await joined.ensure()
    async with joined:
        yield joined


def seen_by_others(path: Path) -> tuple[int, int]:
    """How many of the application's rows and of storycore's records another connection sees."""
    with closing(sqlite3.connect(path)) as other:
        own = other.execute("SELECT count(*) FROM items").fetchone()[0]
        return int(own), int(other.execute("SELECT count(*) FROM storycore_items").fetchone()[0])


async def test_both_writes_are_committed_together(store: EntityStore, db: aiosqlite.Connection, path: Path) -> None:
    """Nobody sees one without the other, and until then the application reads both."""
    await db.execute("INSERT INTO items VALUES ('one')")
    await store.write([Put(key=HERE, kind="k", body=b"x")])
    assert (await store.get([HERE]))[0] is not None
    assert seen_by_others(path) == (0, 0)
    await db.commit()
    assert seen_by_others(path) == (1, 1)


async def test_both_writes_are_rolled_back_together(store: EntityStore, db: aiosqlite.Connection, path: Path) -> None:
    """The record, its index entries and its place in the feed go with the application's row."""
    start = (await store.changes()).next
    await store.write([Put(key=HERE, kind="k", index_keys={1: THERE})])
    await db.execute("INSERT INTO items VALUES ('one')")
    await db.rollback()
    assert await store.get([HERE]) == [None]
    assert (await store.query(QueryPlan(pk="p", slot=1))).records == ()
    assert (await store.changes(start)).changes == ()
    assert seen_by_others(path) == (0, 0)


async def test_the_first_write_begins_a_transaction_that_waits(
    store: EntityStore, db: aiosqlite.Connection, path: Path
) -> None:
    """As the application's own statements do; its commit ends it."""
    await store.write([Put(key=HERE, kind="k")])
    assert (db.in_transaction, seen_by_others(path)) == (True, (0, 0))
    await db.commit()
    assert seen_by_others(path) == (0, 1)


async def test_a_refused_write_leaves_the_transaction_as_it_was(
    store: EntityStore, db: aiosqlite.Connection, path: Path
) -> None:
    """Its own part is undone, what came before stays, and a transaction that it began is gone."""
    with pytest.raises(VersionConflict):
        await store.write([Put(key=HERE, kind="k", when=Matches(Version(1)))])
    assert db.in_transaction is False
    await db.execute("INSERT INTO items VALUES ('one')")
    await store.write([Put(key=HERE, kind="k")])
    with pytest.raises(PartialFailure):
        await store.write([Put(key=THERE, kind="k"), Put(key=HERE, kind="k", when=Matches(Version(99)))])
    await db.commit()
    assert seen_by_others(path) == (1, 2)


async def test_reads_leave_no_transaction_open(store: EntityStore, db: aiosqlite.Connection) -> None:
    """Reading does not begin what the application would have to end."""
    await store.get([HERE, THERE])
    await store.query(QueryPlan(pk="p"))
    await store.scan(Segment(1, 3))
    await store.changes()
    await store.explain(QueryPlan(pk="p", slot=1))
    assert (await store.health(deep=True)).ok
    assert db.in_transaction is False


async def test_the_applications_database_stays_its_own(store: EntityStore, db: aiosqlite.Connection) -> None:
    """Header, tables, row factory and text factory are as they were, and the connection outlives the store."""
    await store.write([Put(key=HERE, kind="k")])
    await store.close()
    rows = [
        tuple(await (await db.execute(f"PRAGMA {name}")).fetchone() or ())
        for name in ("application_id", "user_version")
    ]
    assert rows == [(77,), (9,)]
    assert (db.row_factory, db.text_factory) == (aiosqlite.Row, bytes)
    with pytest.raises(Unavailable, match="not open"):
        await store.get([HERE])


async def test_tables_may_be_made_inside_a_transaction(path: Path) -> None:
    """Then they come and go with it; ensure says what it makes, and makes it once."""
    async with aiosqlite.connect(path) as db:
        joined = on_connection(db)
        with pytest.raises(NotProvisioned, match="ensure"):
            await joined.open()
        await db.execute("INSERT INTO items VALUES ('one')")
        planned = await joined.ensure(dry_run=True)
        assert planned == await joined.ensure()
        assert len(planned.actions) == 1
        await db.rollback()
        with pytest.raises(NotProvisioned):
            await joined.open()
        await joined.ensure()
        assert (db.in_transaction, (await joined.ensure()).actions) == (False, ())
        async with joined:
            assert await joined.get([HERE]) == [None]


async def test_the_adapter_opens_an_applications_database_too(
    store: EntityStore, db: aiosqlite.Connection, path: Path
) -> None:
    """Another process, the command line say, finds the records by path; without the tables it is refused."""
    await store.write([Put(key=HERE, kind="k")])
    await db.commit()
    async with open_entities(SqliteConfig(path=path), Environment()) as other:
        assert (await other.get([HERE]))[0] is not None
        assert (await other.ensure()).actions == ()
    bare = path.with_name("bare.db")
    with closing(sqlite3.connect(bare)) as connection:
        connection.execute("CREATE TABLE items (name TEXT)")
    with pytest.raises(SchemaMismatch, match="another program"):
        await open_entities(SqliteConfig(path=bare), Environment()).open()


async def test_a_transaction_that_read_before_another_wrote_has_to_begin_again(
    store: EntityStore, db: aiosqlite.Connection, path: Path
) -> None:
    """No waiting helps it to write: it would write over what it has not seen."""
    await db.commit()
    await db.execute_fetchall("PRAGMA journal_mode = WAL")
    await db.execute("BEGIN")
    assert await store.get([HERE]) == [None]
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE another (n INTEGER)")
    with pytest.raises(Unavailable, match="roll it back and begin it again") as refusal:
        await store.write([Put(key=HERE, kind="k")])
    assert refusal.value.retry is Retry.NEVER
    await db.rollback()
    assert len(await store.write([Put(key=HERE, kind="k")])) == 1


async def test_a_newer_layout_is_refused_here_too(store: EntityStore, db: aiosqlite.Connection) -> None:
    """The mark lies in the tables, for the header is the application's."""
    await db.execute("UPDATE storycore_state SET layout = layout + 1")
    for call in (on_connection(db).open(), on_connection(db).ensure()):
        with pytest.raises(SchemaMismatch, match=f"layout {LAYOUT_VERSION + 1}"):
            await call


async def test_a_closed_connection_is_unavailable(path: Path) -> None:
    """The application closed it; the store says so."""
    db = await aiosqlite.connect(path)
    joined = on_connection(db)
    await joined.ensure()
    await joined.open()
    await db.close()
    with pytest.raises(Unavailable, match="closed"):
        await joined.get([HERE])
    assert (await joined.health()).ok is False


async def test_repositories_work_on_it(store: EntityStore, db: aiosqlite.Connection, path: Path) -> None:
    """Models, versions and indexes in the application's transaction."""
    stories = Repository(STORY, store, Environment(), cursor_key=b"k" * 32)
    made = await stories.create(Story(story_id="s1", user_id="u1", title="One", content="Once"))
    assert await stories.get(story_id="s1") == made
    await db.rollback()
    assert await stories.find(story_id="s1") is None
    assert isinstance(store.native(aiosqlite.Connection), aiosqlite.Connection)
