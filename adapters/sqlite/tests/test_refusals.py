"""Files that cannot be used: each its own error, before anything is written."""

from __future__ import annotations

import asyncio
import os
import pickle
import sqlite3
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from shutil import rmtree

import pytest
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import SqliteEntityStore, open_entities

from storycore.errors import AccessDenied, Corrupt, Effect, StorageFull, Unavailable
from storycore.ports.entities import Key, Put, QueryPlan
from storycore.ports.environment import Environment

HERE = Key("p", "a")
_NOBODY = 65534


def store_at(path: Path) -> SqliteEntityStore:
    """A store on that file with a short patience, not yet open."""
    return open_entities(SqliteConfig(path=path, busy_timeout_ms=30), Environment())


async def filled(path: Path) -> None:
    """A closed file with records of 1 KB."""
    store = store_at(path)
    await store.ensure()
    async with store:
        await store.write([Put(key=Key("p", f"{i:04}"), kind="k", body=b"x" * 1000) for i in range(200)])


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and write to."""
    folder = Path(tempfile.mkdtemp(prefix="storycore-sqlite-"))
    folder.chmod(0o777)
    yield folder
    rmtree(folder)


def as_nobody(call: Callable[[], Awaitable[object]]) -> object:
    """The outcome's type and message as a user without rights finds it, in a child process."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setegid(_NOBODY)
            os.seteuid(_NOBODY)
        os.write(write, pickle.dumps(_outcome(call)))
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as answer:
        os.close(write)
        return pickle.load(answer)  # written by this very test


def _outcome(call: Callable[[], Awaitable[object]]) -> tuple[str, str]:
    loop = asyncio.new_event_loop()
    try:
        return "returned", repr(loop.run_until_complete(_awaited(call)))
    except Exception as exc:  # what it is, the test wants to know
        return type(exc).__name__, str(exc)


async def _awaited(call: Callable[[], Awaitable[object]]) -> object:
    return await call()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, byte for byte."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
async def test_a_truncated_file_is_corrupt(tmp_path: Path, share: float) -> None:
    """At the latest when what is missing is read; writing to it does not make it look whole."""
    path = tmp_path / "x.db"
    await filled(path)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(Corrupt, match="backup"):
        async with store_at(path) as store:
            await store.query(QueryPlan(pk="p", limit=1000))
            await store.write([Put(key=Key("p", f"{i:04}"), kind="k", body=b"y" * 1000) for i in range(200)])


async def test_a_file_cut_off_in_its_header_is_refused_by_open(tmp_path: Path) -> None:
    """What is too short to be a database is refused before anything is written."""
    path = tmp_path / "x.db"
    await filled(path)
    os.truncate(path, 60)
    before = contents(tmp_path)
    for call in (store_at(path).open, store_at(path).ensure):
        with pytest.raises(Corrupt):
            await call()
    assert before == contents(tmp_path)


async def test_a_readonly_file_is_access_denied(open_folder: Path) -> None:
    """Who may only read the file is refused when the store opens, and the file is as it was."""
    path = open_folder / "x.db"
    await filled(path)
    path.chmod(0o444)
    before = contents(open_folder)
    kind, text = await asyncio.to_thread(as_nobody, store_at(path).open)  # type: ignore[misc]  # a pair
    assert (kind, str(path) in text) == (AccessDenied.__name__, True), text
    assert before == contents(open_folder)


async def test_a_file_of_another_user_is_access_denied(open_folder: Path) -> None:
    """Who may not even read it is told so, by open and by ensure."""
    path = open_folder / "x.db"
    await filled(path)
    path.chmod(0o000)
    for call in (store_at(path).open, store_at(path).ensure):
        kind, text = await asyncio.to_thread(as_nobody, call)  # type: ignore[misc]  # a pair
        assert (kind, "permissions" in text) == (AccessDenied.__name__, True), text


async def test_a_readonly_folder_is_access_denied(open_folder: Path) -> None:
    """Neither the file nor a folder for it can be made, and nothing is."""
    open_folder.chmod(0o555)
    for path in (open_folder / "x.db", open_folder / "deeper" / "x.db"):
        kind, text = await asyncio.to_thread(as_nobody, store_at(path).ensure)  # type: ignore[misc]  # a pair
        assert (kind, "permissions" in text) == (AccessDenied.__name__, True), text
    assert list(open_folder.iterdir()) == []


async def test_a_locked_file_is_unavailable(tmp_path: Path) -> None:
    """Somebody holds it for himself: open waits as long as configured, then says that a retry can help."""
    path = tmp_path / "x.db"
    await filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE more (a)")
        for call in (store_at(path).open, store_at(path).ensure):
            with pytest.raises(Unavailable, match="locked"):
                await call()
    async with store_at(path) as store:
        assert len((await store.query(QueryPlan(pk="p", limit=1000))).records) == 200


async def test_a_full_disk_is_storage_full_and_leaves_no_trace(tmp_path: Path) -> None:
    """What does not fit is refused whole, what fits is done, and with room again everything works."""
    path = tmp_path / "x.db"
    await filled(path)
    async with store_at(path) as store:
        await _limit(store, 20)
        large = [Put(key=Key("q", f"{i}"), kind="k", body=b"z" * 100_000) for i in range(5)]
        small = [Put(key=Key("s", "1"), kind="k")]
        head = (await store.changes(limit=1000)).next
        outcomes = await asyncio.gather(
            store.write(large), store.write(small), store.write(large, atomic=True), return_exceptions=True
        )
        assert [type(outcomes[0]), type(outcomes[2])] == [StorageFull, StorageFull]
        assert isinstance(outcomes[1], list)
        assert isinstance(outcomes[0], StorageFull)
        assert outcomes[0].effect is Effect.NONE
        assert [change.key for change in (await store.changes(head)).changes] == [Key("s", "1")]
        assert (await store.query(QueryPlan(pk="q"))).records == ()
        assert len((await store.query(QueryPlan(pk="p", limit=1000))).records) == 200
        await _limit(store, 100_000)
        assert len(await store.write(large, atomic=True)) == 5


async def _limit(store: SqliteEntityStore, more_pages: int) -> None:
    """Let the file grow by so many pages, as a disk with so much room does."""
    pages = await store._read(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    limit = f"PRAGMA max_page_count = {pages + more_pages}"
    await store._write(lambda connection: connection.execute(limit).fetchone())
