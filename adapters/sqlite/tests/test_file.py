"""The file: made by ensure, recognised by open, and refused with the right error when it is not ours or not whole."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError
from storycore_sqlite._layout import LAYOUT_VERSION
from storycore_sqlite.config import DurabilityMode, SqliteConfig
from storycore_sqlite.entities import SqliteEntityStore, open_entities
from storycore_sqlite.events import open_events

from storycore.errors import AccessDenied, Corrupt, NotProvisioned, SchemaMismatch, Unavailable
from storycore.ports.capabilities import Durability
from storycore.ports.entities import Key, Put, QueryPlan
from storycore.ports.environment import Environment
from storycore.ports.events import Event

HERE = Key("p", "a")


def store_at(path: Path, **settings: object) -> SqliteEntityStore:
    """A store on that file, not yet open."""
    return open_entities(SqliteConfig.model_validate({"path": path, **settings}), Environment())


async def filled(path: Path, count: int = 200) -> None:
    """A closed file with records of 1 KB."""
    store = store_at(path)
    await store.ensure()
    async with store:
        await store.write([Put(key=Key("p", f"{i:04}"), kind="k", body=b"x" * 1000) for i in range(count)])


def lanes() -> int:
    return sum(thread.name.startswith(("storycore-sqlite r", "storycore-sqlite w")) for thread in threading.enumerate())


async def test_a_missing_file_is_not_provisioned_and_not_made(tmp_path: Path) -> None:
    """Opening creates nothing, neither file nor folder."""
    with pytest.raises(NotProvisioned, match="ensure"):
        await store_at(tmp_path / "folder" / "x.db").open()
    assert list(tmp_path.iterdir()) == []


async def test_an_empty_file_is_not_provisioned(tmp_path: Path) -> None:
    """What a crash in the very first moment leaves behind is completed by ensure."""
    path = tmp_path / "x.db"
    path.touch()
    with pytest.raises(NotProvisioned):
        await store_at(path).open()
    assert (await store_at(path).ensure()).actions == (f"create the tables in {path}",)
    async with store_at(path) as store:
        assert await store.get([HERE]) == [None]


async def test_ensure_says_what_it_makes(tmp_path: Path) -> None:
    """One sentence for the folder, one for the file."""
    path = tmp_path / "deep" / "folder" / "x.db"
    planned = await store_at(path).ensure(dry_run=True)
    assert planned.actions == (f"create the folder {path.parent}", f"create the database {path}")
    assert list(tmp_path.iterdir()) == []
    assert planned == await store_at(path).ensure()
    assert path.exists()


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Neither the file nor its log can be read by other users of the machine."""
    path = tmp_path / "x.db"
    store = store_at(path)
    await store.ensure()
    async with store:
        await store.write([Put(key=HERE, kind="k")])
        assert {0o600} == {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}


async def test_opening_twice_at_once_opens_once(tmp_path: Path) -> None:
    """Tasks that open one store at the same moment share what the first one opened."""
    store = store_at(tmp_path / "x.db")
    await store.ensure()
    before = lanes()
    await asyncio.gather(*(store.open() for _ in range(5)))
    assert lanes() == before + 3
    await store.close()
    assert lanes() == before


async def test_many_may_ensure_at_once(tmp_path: Path) -> None:
    """Stores that provision one file at the same moment all succeed, and there is one feed."""
    path = tmp_path / "x.db"
    await asyncio.gather(*(store_at(path).ensure() for _ in range(8)))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM storycore_state").fetchone() == (1,)


@pytest.mark.parametrize("name", ["a b.db", "a?mode=memory.db", "a#b.db", "100%25.db", "é漢.db", "a'b.db", "a;b.db"])
async def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    """Characters with a meaning in URIs or SQL are part of the name."""
    store = store_at(tmp_path / name)
    await store.ensure()
    async with store:
        await store.write([Put(key=HERE, kind="k")])
    assert (tmp_path / name).stat().st_size > 0


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """Open and ensure leave a database alone that storycore did not make."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE items (a)")
    before = path.read_bytes()
    with pytest.raises(SchemaMismatch, match="another program"):
        await store_at(path).open()
    with pytest.raises(SchemaMismatch):
        await store_at(path).ensure()
    assert before == path.read_bytes()


async def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    """A file of a later version is not touched by this one."""
    path = tmp_path / "x.db"
    await filled(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {LAYOUT_VERSION + 1}")
    before = path.read_bytes()
    for refused in (store_at(path).open(), store_at(path).ensure()):
        with pytest.raises(SchemaMismatch, match=rf"layout {LAYOUT_VERSION + 1}.*install"):
            await refused
    assert before == path.read_bytes()


async def test_what_is_no_database_is_corrupt(tmp_path: Path) -> None:
    """A text file is refused and kept."""
    path = tmp_path / "x.db"
    path.write_text("hello " * 1000)
    for refused in (store_at(path).open(), store_at(path).ensure()):
        with pytest.raises(Corrupt, match="not an SQLite database"):
            await refused
    assert path.read_text() == "hello " * 1000


async def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """The error names the path."""
    with pytest.raises((AccessDenied, Unavailable), match=tmp_path.name):
        await store_at(tmp_path).open()


async def test_damaged_pages_are_corrupt(tmp_path: Path) -> None:
    """Reads raise ``Corrupt``, and deep health finds the damage without being asked for a record."""
    path = tmp_path / "x.db"
    await filled(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(30, size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 512)
    async with store_at(path) as store:
        with pytest.raises(Corrupt, match="backup"):
            await store.query(QueryPlan(pk="p", limit=1000))
        health = await store.health(deep=True)
        assert (health.ok, "damaged" in health.detail) == (False, True)


@pytest.mark.parametrize("column", ["fields", "index_keys"])
async def test_damaged_values_are_corrupt(tmp_path: Path, column: str) -> None:
    """A value that this adapter does not write is not handed on."""
    path = tmp_path / "x.db"
    await filled(path, 1)
    for damage in ("nonsense", "[1]", '{"1": {"set": 1}}', "7"):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"UPDATE storycore_items SET {column} = ?", (damage,))
        async with store_at(path) as store:
            with pytest.raises(Corrupt):
                await store.get([Key("p", "0000")])


async def test_a_lost_table_is_not_provisioned(tmp_path: Path) -> None:
    """Somebody else's DROP TABLE is told as what it is."""
    path = tmp_path / "x.db"
    await filled(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE storycore_items")
    async with store_at(path) as store:
        with pytest.raises(NotProvisioned, match="items"):
            await store.get([HERE])


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_file_that_was_taken_away_takes_no_more_writes(tmp_path: Path, is_replaced: bool) -> None:
    """SQLite would write on into a file that nobody can find; the store refuses instead."""
    path = tmp_path / "x.db"
    await filled(path, 1)
    if is_replaced:
        await filled(tmp_path / "other.db", 1)
    async with store_at(path) as store:
        for file in tmp_path.glob("x.db*"):
            file.unlink()
        if is_replaced:
            (tmp_path / "other.db").rename(path)
        with pytest.raises(Unavailable, match="removed or replaced"):
            await store.write([Put(key=HERE, kind="k")])
        assert (await store.health()).ok is False


async def test_a_closed_file_is_whole_by_itself(tmp_path: Path) -> None:
    """Nothing of it is left in a log: connections that close at the same moment would each leave that to the other."""
    path = tmp_path / "x.db"
    await store_at(path).ensure()
    for _ in range(60):
        async with store_at(path, readers=4) as store:
            await store.write([Put(key=HERE, kind="k", body=b"x" * 10_000)])
        assert list(tmp_path.iterdir()) == [path]


async def test_entities_and_events_share_a_file(tmp_path: Path) -> None:
    """Both ports are provisioned by either, and write side by side."""
    path = tmp_path / "x.db"
    config, env = SqliteConfig(path=path), Environment()
    await open_events(config, env).ensure()
    async with open_entities(config, env) as entities, open_events(config, env) as events:
        writes = [entities.write([Put(key=Key("p", f"{i}"), kind="k")]) for i in range(20)]
        emits = [events.emit([Event(id=f"{i}", type="t", at=env.clock.now())]) for i in range(20)]
        await asyncio.gather(*writes, *emits)
        assert len((await entities.query(QueryPlan(pk="p"))).records) == 20
        assert len((await events.read()).events) == 20


async def test_the_raw_connection_reads_and_does_not_write(tmp_path: Path) -> None:
    """``native`` shows SQLite's own connection, which cannot go behind the store's back."""
    path = tmp_path / "x.db"
    await filled(path, 3)
    async with store_at(path) as store:
        connection = store.native(sqlite3.Connection)
        assert connection.execute("SELECT count(*) FROM storycore_items").fetchone() == (3,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM storycore_items")


async def test_durability_is_what_was_configured(tmp_path: Path) -> None:
    """``full`` claims the disk; ``normal`` does not, and works all the same."""
    path = tmp_path / "x.db"
    assert store_at(path).capabilities.guarantees.durability is Durability.DISK
    relaxed = store_at(path, durability=DurabilityMode.NORMAL)
    assert relaxed.capabilities.guarantees.durability is Durability.PROCESS
    await relaxed.ensure()
    async with relaxed:
        await relaxed.write([Put(key=HERE, kind="k")])
    async with store_at(path) as store:
        assert (await store.get([HERE]))[0] is not None


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"path": ":memory:"},
        {"path": ""},
        {"path": "x", "durability": "most"},
        {"path": "x", "busy_timeout_ms": -1},
        {"path": "x", "readers": 0},
        {"path": "x", "feed_retention": "PT1M"},
        {"path": "x", "colour": "red"},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    """Missing, unknown and impossible settings are errors before any file is touched."""
    with pytest.raises(ValidationError):
        SqliteConfig.model_validate(settings)


def test_the_plugin_door_imports_no_database() -> None:
    """Discovery must be cheap: sqlite3 is imported when a store is made."""
    code = "import sys, storycore_sqlite; storycore_sqlite.storycore_adapters(); print('sqlite3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
