"""A backup while writers go on: one file that opens, consistent, and never over another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import SqliteEntityStore, open_entities

from storycore.errors import AlreadyExists, Corrupt, InvalidArgument, Unavailable
from storycore.layers.checks import checked
from storycore.ports.entities import Key, Put, Segment, Write
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName

HERE = Key("p", "a")


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteEntityStore]:
    """An open store."""
    opened = open_entities(SqliteConfig(path=tmp_path / "x.db"), Environment())
    await opened.ensure()
    async with opened:
        yield opened


def pair(number: int) -> list[Write]:
    """Two records that are always written together."""
    return [Put(key=Key("p", name), kind="k", fields={"n": number}, body=b"x" * 2000) for name in ("left", "right")]


async def test_a_backup_under_writers_is_consistent(store: SqliteEntityStore, tmp_path: Path) -> None:
    """Each backup holds every write that had returned and no half of an atomic one, and is a store of its own."""
    done, stop = 0, asyncio.Event()
    await store.write([Put(key=Key("q", f"{i}"), kind="k", body=b"y" * 3000) for i in range(300)])

    async def write_on() -> None:
        nonlocal done
        while not stop.is_set():
            await store.write(pair(done + 1), atomic=True)
            done += 1

    await store.write(pair(0), atomic=True)
    writing = asyncio.create_task(write_on())
    for number in range(3):
        before = done
        await store.backup_to(tmp_path / f"backup{number}.db")
        async with open_entities(SqliteConfig(path=tmp_path / f"backup{number}.db"), Environment()) as copy:
            left, right = await copy.get([Key("p", "left"), Key("p", "right")])
            assert left is not None
            assert right is not None
            assert left.fields["n"] == right.fields["n"]
            assert before <= int(str(left.fields["n"])) <= done + 1
            assert (await copy.health(deep=True)).ok
            (written,) = await copy.write([Put(key=HERE, kind="k")])
            assert (written.version or 0) > right.version
    stop.set()
    await writing
    assert sorted(path.name for path in tmp_path.glob("*unfinished*")) == []
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("backup?.db")} == {0o600}


async def test_a_backup_holds_records_feed_and_expiry(store: SqliteEntityStore, tmp_path: Path) -> None:
    """What a scan and the feed give is the same in both."""
    soon = Environment().clock.now() + timedelta(hours=1)
    await store.write([Put(key=Key("p", f"{i}"), kind="k", index_keys={2: HERE}, expires_at=soon) for i in range(30)])
    await store.backup_to(tmp_path / "backup.db")
    async with open_entities(SqliteConfig(path=tmp_path / "backup.db"), Environment()) as copy:
        assert await store.scan(Segment()) == await copy.scan(Segment())
        assert await store.changes() == await copy.changes()
        assert (await copy.ensure()).actions == ()


async def test_a_backup_overwrites_nothing(store: SqliteEntityStore, tmp_path: Path) -> None:
    """An existing file, the database itself and a missing folder are refused, and nothing is left behind."""
    (tmp_path / "precious").write_text("kept")
    wrong = {"precious": AlreadyExists, "x.db": AlreadyExists, "nowhere/backup.db": InvalidArgument}
    for name, kind in wrong.items():
        with pytest.raises(kind):
            await store.backup_to(tmp_path / name)
    assert (tmp_path / "precious").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"precious", "x.db", "x.db-shm", "x.db-wal"}


async def test_of_two_backups_to_one_name_one_is_made(store: SqliteEntityStore, tmp_path: Path) -> None:
    """Whoever comes second is refused, at the latest when the file gets its name."""
    target = tmp_path / "backup.db"
    outcomes = await asyncio.gather(*(store.backup_to(target) for _ in range(2)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AlreadyExists", "NoneType"]


async def test_a_cancelled_backup_leaves_nothing(store: SqliteEntityStore, tmp_path: Path) -> None:
    """Wherever it is stopped there is no half of a file, and the store goes on."""
    await store.write([Put(key=Key("p", f"{i}"), kind="k", body=b"z" * 300_000) for i in range(60)])
    for step in range(4):
        task = asyncio.create_task(store.backup_to(tmp_path / "backup.db"))
        await asyncio.sleep(0.004 * step)
        task.cancel()
        await asyncio.wait([task])
        found = sorted(path.name for path in tmp_path.glob("*backup*"))
        assert found in ([], ["backup.db"])
        assert found or task.cancelled()
        for name in found:
            async with open_entities(SqliteConfig(path=tmp_path / name), Environment()) as copy:
                assert (await copy.health(deep=True)).ok
            (tmp_path / name).unlink()
    assert (await store.get([Key("p", "1")]))[0] is not None


async def test_the_backup_is_reached_through_the_port(store: SqliteEntityStore, tmp_path: Path) -> None:
    """``native`` gives the adapter itself, also behind the layers; a closed store makes no backup."""
    port = checked(PortName.ENTITIES, store)
    await port.native(SqliteEntityStore).backup_to(tmp_path / "backup.db")
    await store.close()
    with pytest.raises(Unavailable):
        await store.backup_to(tmp_path / "late.db")
    assert not (tmp_path / "late.db").exists()


async def test_a_damaged_database_gives_no_backup(tmp_path: Path) -> None:
    """Better none than one that cannot be read."""
    path = tmp_path / "x.db"
    store = open_entities(SqliteConfig(path=path), Environment())
    await store.ensure()
    async with store:
        await store.write([Put(key=Key("p", f"{i}"), kind="k", body=b"x" * 1000) for i in range(200)])
    with path.open("r+b") as file:
        file.seek(30 * 4096)
        file.write(b"\xff" * 4096 * 10)
    async with store:
        with pytest.raises(Corrupt, match=r"x\.db is damaged"):
            await store.backup_to(tmp_path / "backup.db")
    assert list(tmp_path.glob("*backup*")) == []
