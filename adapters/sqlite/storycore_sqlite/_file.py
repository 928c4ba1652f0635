"""The database file: making it, recognising it, connecting to it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from zlib import crc32

from storycore.errors import AccessDenied, NotProvisioned, SchemaMismatch, Unavailable
from storycore_sqlite._checkpoints import LARGEST_LOG_BYTES
from storycore_sqlite._errors import is_waiting, translating
from storycore_sqlite._layout import LAYOUT_VERSION, create, is_older, recognise
from storycore_sqlite.config import DurabilityMode, SqliteConfig

__all__ = ["DatabaseFile", "segment_hash"]

_CACHE_KIB = 32 * 1024
_MAPPED_BYTES = 256 * 1024 * 1024
_WRITER_CACHE_KIB = 16 * 1024
_LANE_CACHE_KIB = 4 * 1024
_LANE_MAPPED_BYTES = 8 * 1024 * 1024
"""Less for connections that walk or write: neither a scan nor a restore of a whole file may fill the memory with it."""
_LARGEST_SMOOTH_LOG = 4000
"""Pages after which a commit moves the log into the database by itself; mostly the writer does so when it is idle."""
_OWNER_ALONE = 0o600
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """One file of entities and events. Every method blocks, and raises storycore errors."""

    path: Path
    durability: DurabilityMode
    busy_timeout_ms: int

    @classmethod
    def of(cls, config: SqliteConfig) -> DatabaseFile:
        """The file that the settings name."""
        return cls(config.path, config.durability, config.busy_timeout_ms)

    def writer(self) -> sqlite3.Connection:
        """A connection that writes; transactions are begun by hand.

        Raises:
            NotProvisioned: there is no file, or an empty one.
            SchemaMismatch: the file is another program's, or of a newer layout.
            Corrupt, AccessDenied, Unavailable: it cannot be used.
        """
        return self._open(self._tune_writer)

    def reader(self) -> sqlite3.Connection:
        """A connection for walks, which never writes."""

        def tune(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA cache_size = -{_LANE_CACHE_KIB}")
            connection.execute(f"PRAGMA mmap_size = {_LANE_MAPPED_BYTES}")
            connection.create_function("storycore_segment", 2, segment_hash, deterministic=True)

        return self._open(tune)

    def finder(self) -> sqlite3.Connection:
        """A connection for point reads, which never writes, and fails at once where it would have to wait."""

        def tune(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA busy_timeout = 0")

        return self._open(tune)

    def provision(self, feed_id: str, *, dry_run: bool) -> list[str]:
        """Create the folder and the file where they are missing; says what was, or would be, done."""
        actions = self._missing()
        if actions and not dry_run:
            with translating(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.touch(mode=_OWNER_ALONE, exist_ok=True)
                with closing(self._connect("rwc")) as connection:
                    self._patiently(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
                    self._create(connection, feed_id)
        return actions

    def identity(self) -> int | None:
        """The number of the file on its disk; ``None`` when it is gone."""
        try:
            return self.path.stat().st_ino
        except OSError:
            return None

    def size_bytes(self) -> int:
        """The size of the file and its write-ahead log."""
        wal = self.path.with_name(f"{self.path.name}-wal")
        with translating(self.path):
            return self.path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)

    def _missing(self) -> list[str]:
        with translating(self.path):
            actions = [] if self.path.parent.is_dir() else [f"create the folder {self.path.parent}"]
            if not self.path.exists():
                return [*actions, f"create the database {self.path}"]
        try:
            self.reader().close()
        except NotProvisioned:
            return [*actions, f"create the tables in {self.path}"]
        except SchemaMismatch:
            if not self._is_older():
                raise
            return [f"move the tables in {self.path} to layout {LAYOUT_VERSION}"]
        return actions

    def _is_older(self) -> bool:
        with translating(self.path), closing(self._connect("rw")) as connection:
            return is_older(connection)

    def _open(self, tune: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        with translating(self.path):
            if not self.path.exists():
                raise NotProvisioned(f"The database {self.path} does not exist; run `storycore init` or ensure().")
            self._require_writable()
            connection = self._connect("rw")
            try:
                recognise(connection, str(self.path))
                tune(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _require_writable(self) -> None:
        """SQLite would open a file that it may not write, and say so with the first write."""
        if not os.access(self.path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise AccessDenied(f"The database {self.path} cannot be written; check its permissions.")

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute(f"PRAGMA busy_timeout = {self.busy_timeout_ms}")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _tune_writer(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA mmap_size = {_LANE_MAPPED_BYTES}")
        connection.execute(f"PRAGMA synchronous = {self.durability.value}")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute(f"PRAGMA journal_size_limit = {LARGEST_LOG_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LARGEST_SMOOTH_LOG}")

    def _create(self, connection: sqlite3.Connection, feed_id: str) -> None:
        self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            create(connection, feed_id, is_guest=False)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _patiently(self, step: Callable[[], object]) -> None:
        """Repeat a step that another process's provisioning locks out; switching to WAL ignores busy_timeout."""
        for _ in range(1 + int(self.busy_timeout_ms / 1000 / _PAUSE_SECONDS)):
            try:
                step()
                return
            except sqlite3.OperationalError as exc:
                if not is_waiting(exc):
                    raise
                time.sleep(_PAUSE_SECONDS)
        raise Unavailable(f"The database {self.path} stays locked by another process; try again.")


def segment_hash(pk: str, sk: str) -> int:
    """A number by which a scan divides the records into segments."""
    return crc32(f"{pk}\0{sk}".encode())
