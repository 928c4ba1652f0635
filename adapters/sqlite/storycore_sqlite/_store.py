"""What both ports share: the file, its lanes, and the way through them."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from asyncio import get_running_loop
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from storycore.errors import StorycoreError, Unavailable
from storycore.ports.capabilities import Durability, Guarantees
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle, Provision
from storycore_sqlite._backup import copy_to
from storycore_sqlite._checkpoints import Checkpoints
from storycore_sqlite._errors import translated
from storycore_sqlite._file import DatabaseFile
from storycore_sqlite._lanes import Lane
from storycore_sqlite._process import this_process
from storycore_sqlite._readers import Readers
from storycore_sqlite._units import Outcome, Unit, commit_together
from storycore_sqlite.config import DurabilityMode, SqliteConfig

__all__ = ["SqliteStore"]

T = TypeVar("T")


class SqliteStore(Lifecycle):
    """A store in one SQLite file: opening, provisioning, health, closing, and running units in the right place."""

    def __init__(self, config: SqliteConfig, env: Environment) -> None:
        self._config = config
        self._env = env
        self._file = DatabaseFile.of(config)
        self._opening = asyncio.Lock()
        self._info = AdapterInfo("sqlite", version("storycore-sqlite"), str(config.path))
        is_durable = config.durability is DurabilityMode.FULL
        self._guarantees = Guarantees(Durability.DISK if is_durable else Durability.PROCESS, multi_process=True)

    @property
    def info(self) -> AdapterInfo:
        """The adapter's name and version, and the file."""
        return self._info

    async def open(self) -> None:
        """Connect; the file must exist."""
        async with self._opening:
            if not self._opened:
                await self._connect()
                self._opened = True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Make the folder, the file and its tables where they are missing."""
        threads = ThreadPoolExecutor(1, "storycore-sqlite ensure")
        try:
            actions = await get_running_loop().run_in_executor(
                threads, lambda: self._file.provision(self._env.new_id(), dry_run=dry_run)
            )
        finally:
            threads.shutdown(wait=False)
        return Provision(tuple(actions))

    async def health(self, *, deep: bool = False) -> Health:
        """Read from the file; ``deep`` also has SQLite check the whole file."""
        began = time.perf_counter()
        try:
            finding, size = await self._read(partial(self._examined, deep=deep))
        except StorycoreError as exc:
            return Health(ok=False, detail=exc.message)
        latency_ms = (time.perf_counter() - began) * 1000
        if finding != "ok":
            detail = f"The database {self._config.path} is damaged ({finding}); restore it from a backup."
            return Health(ok=False, detail=detail, latency_ms=latency_ms)
        return Health(ok=True, latency_ms=latency_ms, facts={"size_bytes": size})

    async def backup_to(self, path: Path) -> None:
        """Write the whole database, as it is when this begins, to one new file; readers and writers go on meanwhile.

        Reached through ``port.native(SqliteEntityStore)``. The file is a database like the store's own: whole, flushed
        to the disk, and readable by its owner alone. A call that fails leaves nothing behind; one that
        is cancelled leaves nothing or, when it was just done, the whole file.

        Raises:
            AlreadyExists: there is a file at ``path``.
            InvalidArgument: its folder does not exist.
            StorageFull, AccessDenied, Unavailable: it cannot be written.
        """
        self._require_open()
        copier = Readers("storycore-sqlite backup", 1, self._file.writer)
        await copier.start()
        try:
            copy = partial(copy_to, source=self._config.path, target=path, mark=self._env.new_id())
            await self._through(copier, copy)
        finally:
            await copier.close()

    async def close(self) -> None:
        """Finish what was handed in and close the file."""
        if not self._opened:
            return
        self._opened = False
        if self._process.pid == self._owner:
            self._inline.close()
            try:
                await self._readers.close()
            except BaseException:  # a cancelled close leaves nothing behind
                self._writer.end()
                raise
            await self._writer.close()  # the last connection moves the log into the database

    async def _connect(self) -> None:
        self._process = this_process()
        self._owner = self._process.pid
        checkpoints = Checkpoints(self._config.path, self._config.busy_timeout_ms)
        self._writer = Lane("storycore-sqlite writer", self._open_writer, self._commit, checkpoints.after_commit)
        self._readers = Readers("storycore-sqlite reader", self._config.readers, self._file.reader)
        async with AsyncExitStack() as undo:
            await self._readers.start()
            undo.push_async_callback(self._readers.close)
            self._inline = await self._readers.run(lambda _: self._file.finder())
            undo.callback(self._inline.close)
            await self._writer.start()
            undo.pop_all()
        self._cursor = self._inline.cursor()
        self._loop = get_running_loop()
        self._natives = (self._inline, self)

    def _open_writer(self) -> sqlite3.Connection:
        connection = self._file.writer()
        self._identity = self._file.identity()
        return connection

    def _commit(self, connection: sqlite3.Connection, units: Sequence[Unit]) -> list[Outcome]:
        """Commit units, but not into a file that nobody will find again: SQLite would not notice."""
        if self._file.identity() == self._identity:
            return commit_together(connection, units)
        return [Outcome(error=self._lost()) for _ in units]

    def _examined(self, connection: sqlite3.Connection, *, deep: bool) -> tuple[str, int]:
        if self._file.identity() != self._identity:
            raise self._lost()
        return _probe(connection, deep=deep), self._file.size_bytes()

    def _lost(self) -> Unavailable:
        return Unavailable(
            f"The database {self._config.path} was removed or replaced while it was open; open the store again."
        )

    async def _write(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        """Run a unit in the writer's next transaction; returns after its commit."""
        self._require_open()
        return await self._through(self._writer, unit)

    async def _read(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        """Run a unit that reads, in the thread of a reader."""
        self._require_open()
        return await self._through(self._readers, unit)

    def _refuse(self) -> None:
        """Raise ``Unavailable``: the store is not open, or this is another process or event loop than its own.

        Two threads on one connection would get each other's rows.
        """
        self._require_open()
        self._writer.require_own_loop()

    async def _through(self, lane: Lane | Readers, unit: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await lane.run(unit)
        except sqlite3.Error as exc:
            raise translated(exc, self._config.path) from exc

    def _require_open(self) -> None:
        if not self._opened:
            super()._require_open()
        if self._process.pid != self._owner:
            raise Unavailable(
                f"The database {self._config.path} was opened before this process was forked; "
                "open a store of its own in each process."
            )


def _probe(connection: sqlite3.Connection, *, deep: bool) -> str:
    question = "PRAGMA quick_check(1)" if deep else "SELECT 'ok' FROM storycore_state"
    return str(connection.execute(question).fetchone()[0])
