"""The file: what is refused when it is opened, and what is said when it is damaged, read-only, locked or full."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from storycore_faiss.provision import provision

from storycore.errors import (
    AccessDenied,
    Corrupt,
    Effect,
    NotProvisioned,
    SchemaMismatch,
    StorageFull,
    Unavailable,
)
from storycore.ports.capabilities import Durability
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import IndexSpec
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import crowd, found, item, search


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(PortName.VECTORS, "faiss", {"dimension": 4}, tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


async def _filled(harness: Harness) -> None:
    async with await harness.started() as index:
        await index.upsert(crowd(50))


def _edit(file: Path, statement: str) -> None:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute(statement)
    connection.close()


async def test_a_missing_file_is_not_provisioned(harness: Harness, file: Path) -> None:
    """Opening makes no file; the error names the cure."""
    with pytest.raises(NotProvisioned, match="storycore init"):
        await harness.make().open()
    assert not file.exists()


async def test_a_half_made_file_is_completed(harness: Harness, file: Path) -> None:
    """A file without tables, as a crash while making it leaves, is not provisioned; ``ensure`` completes it."""
    file.touch()
    with pytest.raises(NotProvisioned):
        await harness.make().open()
    await _filled(harness)


async def test_ensure_makes_the_folders(tmp_path: Path) -> None:
    """Folders above the file are made with it."""
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": 4, "path": "{path}/a/b/v.db"}, tmp_path)
    await _filled(harness)
    assert (tmp_path / "a/b/v.db").exists()


@pytest.mark.skipif(os.name != "posix", reason="other systems have other rights")
async def test_the_file_is_its_owners_alone(harness: Harness, file: Path) -> None:
    """Passages lie in it, so that nobody else may read it or what SQLite puts beside it."""
    async with await harness.started() as index:
        await index.upsert(crowd(3))
        assert {stat.S_IMODE(each.stat().st_mode) for each in file.parent.glob("vectors.db*")} == {0o600}


def test_one_file_may_be_made_by_many_at_once(tmp_path: Path) -> None:
    """Whoever comes first makes it; the others wait, however SQLite locks them out meanwhile."""

    def make(path: Path, start: threading.Barrier) -> None:
        start.wait()
        provision(path, IndexSpec(4, "cosine"), durability="full", dry_run=False)

    with ThreadPoolExecutor(8) as threads:
        for number in range(30):
            path, start = tmp_path / f"{number}.db", threading.Barrier(8)
            for made in [threads.submit(make, path, start) for _ in range(8)]:
                made.result()
            with closing(sqlite3.connect(path)) as connection:
                assert connection.execute("SELECT lsn FROM state").fetchall() == [(0,)]


@pytest.mark.parametrize("name", ["a b.db", "a#b?c=d&e.db", "100%25.db", "é漢.db", "'\";--.db", "v"])
async def test_any_file_name_is_the_files_name(tmp_path: Path, name: str) -> None:
    """Characters that mean something in a URI or in SQL are part of the name, and no other file appears."""
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": 4, "path": str(tmp_path / name)}, tmp_path)
    await _filled(harness)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


async def test_a_folder_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    """What the system refuses comes as an error of storycore that names the path."""
    (tmp_path / "a").write_text("")
    harness = Harness(PortName.VECTORS, "faiss", {"dimension": 4, "path": "{path}/a/v.db"}, tmp_path)
    with pytest.raises(Unavailable, match=r"v\.db"):
        await harness.make().ensure()


async def test_another_applications_file_is_a_mismatch(harness: Harness, file: Path) -> None:
    """A file that is SQLite but not ours is never written to."""
    _edit(file, "CREATE TABLE theirs(x)")
    before = file.read_bytes()
    with pytest.raises(SchemaMismatch, match="another application"):
        await harness.started()
    [difference] = (await harness.make().ensure()).differences
    assert "another application" in difference
    assert file.read_bytes() == before


async def test_another_layout_is_a_mismatch(harness: Harness, file: Path) -> None:
    """A file of a later version is refused with both numbers."""
    await _filled(harness)
    _edit(file, "PRAGMA user_version=99")
    with pytest.raises(SchemaMismatch, match="99"):
        await harness.make().open()
    [difference] = (await harness.make().ensure()).differences
    assert "99" in difference


async def test_what_is_no_sqlite_file_is_corrupt(harness: Harness, file: Path) -> None:
    """Opening and making say so, and leave the file alone."""
    file.write_bytes(b"not a database, whatever its name says" * 100)
    for call in (harness.make().open(), harness.make().ensure()):
        with pytest.raises(Corrupt, match="not an SQLite file"):
            await call


async def test_damaged_pages_are_corrupt(harness: Harness, file: Path) -> None:
    """A file with overwritten pages is refused, and never gives wrong answers."""
    async with await harness.started() as index:
        await index.upsert(crowd(500))
    content = bytearray(file.read_bytes())
    content[4096 * 4 : 4096 * 12] = b"\xff" * 4096 * 8
    file.write_bytes(content)
    with pytest.raises(Corrupt):
        await harness.make().open()


async def test_damage_is_found_by_a_deep_look(harness: Harness, file: Path) -> None:
    """Damage that nothing has read yet shows in ``health(deep=True)``."""
    await _filled(harness)
    async with harness.make() as index:
        content = bytearray(file.read_bytes())
        content[4096 * 3 : 4096 * 5] = b"\xff" * 4096 * 2
        file.write_bytes(content)
        health = await index.health(deep=True)
        assert (health.ok, "damaged" in health.detail) == (False, True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE item SET vector = x'00' WHERE slot = 7",
        "UPDATE item SET metadata = '{' WHERE slot = 7",
        "UPDATE item SET metadata = '[]' WHERE slot = 7",
        "DELETE FROM state",
        "DELETE FROM spec",
        "DROP TABLE item",
    ],
)
async def test_contents_that_this_adapter_does_not_write_are_corrupt(
    harness: Harness, file: Path, statement: str
) -> None:
    """Rows that cannot be true are refused when the file is opened."""
    await _filled(harness)
    _edit(file, statement)
    with pytest.raises(Corrupt):
        await harness.make().open()


async def test_damage_behind_an_open_index_leaves_nothing_half_read(harness: Harness, file: Path) -> None:
    """A tail that cannot be read fails the query; once it is mended all of it is there, once."""
    await _filled(harness)
    async with harness.make() as index, harness.make() as other:
        await other.upsert([item("new-a"), item("new-b")])
        _edit(file, "UPDATE item SET metadata = '{' WHERE id = 'new-b'")
        for _ in range(2):
            with pytest.raises(Corrupt):
                await search(index)
        _edit(file, "UPDATE item SET metadata = '{}' WHERE id = 'new-b'")
        ids = await found(index)
        assert (len(ids), len(set(ids)), ids[-2:]) == (52, 52, ["new-a", "new-b"])


async def test_a_full_disk_is_storage_full_and_changes_nothing(harness: Harness) -> None:
    """A write that does not fit is refused whole; reads go on, and writes too once there is room."""
    async with await harness.started() as index:
        await index.upsert([item("a")])
        raw = index.native(sqlite3.Connection)
        raw.execute("PRAGMA max_page_count=12").fetchone()
        with pytest.raises(StorageFull):
            await index.upsert([item(f"b{n}", text="x" * 5000) for n in range(50)])
        assert await found(index) == ["a"]
        raw.execute("PRAGMA max_page_count=100000").fetchone()
        await index.upsert([item("b")])
        assert await found(index) == ["a", "b"]


async def test_a_file_locked_by_another_is_unavailable(harness: Harness, file: Path) -> None:
    """A writer that does not let go makes writes fail with ``Unavailable``; reads are not held up."""
    async with await harness.started() as index:
        await index.upsert([item("a")])
        index.native(sqlite3.Connection).execute("PRAGMA busy_timeout=20").fetchone()
        blocker = sqlite3.connect(file, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await index.upsert([item("b")])
        assert await found(index) == ["a"]
        blocker.close()
        await index.upsert([item("b")])
        assert await found(index) == ["a", "b"]


async def test_a_writer_waits_as_long_as_it_is_told_to(harness: Harness, file: Path) -> None:
    """Another process that writes for a while holds a write up and refuses it not, unless it is to wait no longer."""
    async with await harness.started() as patient, harness.make(busy_timeout_seconds=0) as hasty:
        blocker = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        blocker.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(patient.upsert([item("a")]))
        with pytest.raises(Unavailable, match="locked") as caught:
            await hasty.upsert([item("b")])
        assert caught.value.effect is Effect.NONE
        assert not writing.done()
        blocker.close()
        await writing
        assert await found(hasty) == ["a"]


async def test_a_read_only_connection_is_access_denied(harness: Harness) -> None:
    """SQLite's refusal to write comes as ``AccessDenied``."""
    async with await harness.started() as index:
        index.native(sqlite3.Connection).execute("PRAGMA query_only=ON")
        with pytest.raises(AccessDenied, match="read-only"):
            await index.upsert([item("a")])


READ_ONLY = """
import asyncio, os, sys, tempfile
from pathlib import Path
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import found, item
from storycore.errors import StorycoreError

async def use(harness):
    async with harness.make() as index:
        print(len(await found(index)))
        await index.upsert([item("b")])

async def main():
    with tempfile.TemporaryDirectory() as folder:
        own = Harness("vectors", "faiss", {"dimension": 4}, Path(folder))
        await own.make().ensure()
        await use(own)
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        await use(Harness("vectors", "faiss", {"dimension": 4}, Path(sys.argv[1])))
    except StorycoreError as error:
        print(type(error).__name__)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="the system has no users to switch to")
async def test_a_folder_without_rights_is_access_denied() -> None:
    """A user who may read the file and not write it never gets further than ``AccessDenied``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await _filled(Harness(PortName.VECTORS, "faiss", {"dimension": 4}, folder))
        (folder / "vectors.db").chmod(0o444)
        folder.chmod(0o555)
        run = subprocess.run([sys.executable, "-c", READ_ONLY, name], capture_output=True, text=True, check=True)
        folder.chmod(0o755)
    assert run.stdout.split()[-1] == "AccessDenied"


async def test_normal_durability_claims_less(harness: Harness) -> None:
    """With ``durability="normal"`` the index does not claim to survive the loss of power."""
    async with await harness.started(durability="normal") as index:
        assert index.capabilities.guarantees.durability is Durability.PROCESS
        [level] = index.native(sqlite3.Connection).execute("PRAGMA synchronous").fetchone()
        assert level == 1
    async with harness.make() as index:
        assert index.capabilities.guarantees.durability is Durability.DISK
        [level] = index.native(sqlite3.Connection).execute("PRAGMA synchronous").fetchone()
        assert level == 2


async def test_optimize_gives_space_back(harness: Harness, file: Path) -> None:
    """After most items are gone ``optimize`` makes the file smaller and drops the dead rows from memory."""
    async with await harness.started() as index:
        await index.upsert([item(f"i{n:03d}", n + 1, 1, text="x" * 2000) for n in range(300)])
        assert len(await found(index)) == 300
        await index.delete(ids=[f"i{n:03d}" for n in range(290)])
        assert len(await found(index)) == 10
        full = (await index.stats()).size_bytes
        assert (await index.optimize()).dropped == 290
        stats = await index.stats()
        assert (stats.total, stats.detail["dead_rows"]) == (10, 0)
        assert stats.size_bytes is not None
        assert stats.size_bytes < full / 4
        assert file.stat().st_size == stats.size_bytes
