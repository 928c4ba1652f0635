"""The write-ahead log: moved into the database while nobody waits, and bounded under steady reading."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from storycore_sqlite._checkpoints import Checkpoints
from storycore_sqlite.config import SqliteConfig
from storycore_sqlite.entities import open_entities

from storycore.ports.entities import Key, Put
from storycore.ports.environment import Environment

STEP = "INSERT INTO t VALUES (zeroblob(20000))"
STEPS = 200
HALF_BYTES = STEPS * 20_000 // 2
"""Below this, the log was started anew: a busy machine may stop a reader longer than the writer waits, now and then."""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose commits move nothing by themselves."""
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (b BLOB)")
        yield connection


def log_bytes(folder: Path) -> int:
    """The size of the log."""
    return (folder / "x.db-wal").stat().st_size


def read_again_and_again(path: Path, stop: threading.Event, pause: float) -> None:
    """Take one short snapshot after the other."""
    stop.wait(pause)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        while not stop.is_set():
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM t").fetchone()
            stop.wait(0.006)
            reader.execute("COMMIT")


@pytest.mark.parametrize(("largest_bytes", "is_bounded"), [(200_000, True), (10**9, False)])
def test_the_log_is_bounded_under_overlapping_readers(
    writer: sqlite3.Connection, tmp_path: Path, largest_bytes: int, is_bounded: bool
) -> None:
    """Some reader always stands in the log, each for a moment: without waiting for them it never starts anew."""
    checkpoints = Checkpoints(tmp_path / "x.db", 5000, largest_bytes)
    stop = threading.Event()
    readers = [
        threading.Thread(target=read_again_and_again, args=(tmp_path / "x.db", stop, number * 0.002))
        for number in range(3)
    ]
    for reader in readers:
        reader.start()
    largest = 0
    for step in range(STEPS):
        writer.execute(STEP)
        checkpoints.after_commit(writer, step % 2 == 0)
        largest = max(largest, log_bytes(tmp_path))
        time.sleep(0.001)
    stop.set()
    for reader in readers:
        reader.join()
    assert (largest < HALF_BYTES) == is_bounded
    assert writer.execute("PRAGMA busy_timeout").fetchone() == (5000,)


def test_a_reader_that_stays_does_not_stop_the_writer(writer: sqlite3.Connection, tmp_path: Path) -> None:
    """Somebody else's open transaction lets the log grow; the writer asks less and less often, then starts anew."""
    checkpoints = Checkpoints(tmp_path / "x.db", 1, largest_bytes=100_000)
    writer.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()
        for _ in range(40):
            writer.execute(STEP)
            checkpoints.after_commit(writer, False)
        assert log_bytes(tmp_path) > 800_000
        reader.execute("COMMIT")
    for _ in range(40):
        writer.execute(STEP)
        checkpoints.after_commit(writer, False)
    assert log_bytes(tmp_path) < 300_000
    assert writer.execute("SELECT count(*) FROM t").fetchone() == (80,)


async def test_an_idle_writer_moves_the_log_into_the_database(tmp_path: Path) -> None:
    """After a burst the database file alone holds it, though the store is still open."""
    store = open_entities(SqliteConfig(path=tmp_path / "x.db"), Environment())
    await store.ensure()
    async with store:
        await store.write([Put(key=Key("p", f"{n:04}"), kind="k") for n in range(1000)])
        count = 0
        for _ in range(100):
            await asyncio.sleep(0.02)
            if (count := _records_in_copy(tmp_path)) == 1000:
                break
    assert count == 1000


def _records_in_copy(folder: Path) -> int:
    shutil.copy(folder / "x.db", folder / "copy.db")
    with closing(sqlite3.connect(folder / "copy.db")) as copy:
        try:
            return int(copy.execute("SELECT count(*) FROM storycore_items").fetchone()[0])
        except sqlite3.Error:
            return -1
