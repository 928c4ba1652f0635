"""Checkpoints: the write-ahead log goes into the database while nobody waits, and does not grow for ever."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

__all__ = ["LARGEST_LOG_BYTES", "Checkpoints"]

LARGEST_LOG_BYTES = 64 * 1024 * 1024

_WORTHWHILE_CHANGES = 500
_SHORT_WAIT_MS = 50
_LONGEST_PAUSE = 4096


class Checkpoints:
    """Decides after each commit of the writer whether to move the log into the database.

    When nobody waits, it does so without waiting itself. SQLite's own checkpoints, which come with a commit, then have
    little to do. But neither kind can start the log anew while some reader stands in it, and under steady reading some
    reader always does. So when the log is too large, the writer waits a moment for the readers of old snapshots.

    Args:
        path: of the database.
        busy_timeout_ms: the connection's own, which a short wait replaces for a moment.
        largest_bytes: how large the log may become before the writer waits for readers.
    """

    def __init__(self, path: Path, busy_timeout_ms: int, largest_bytes: int = LARGEST_LOG_BYTES) -> None:
        self._log = path.with_name(f"{path.name}-wal")
        self._busy_timeout_ms = busy_timeout_ms
        self._largest_bytes = largest_bytes
        self._changes = 0
        self._pause = 1
        self._commits = 0

    def after_commit(self, connection: sqlite3.Connection, is_idle: bool) -> None:
        """Checkpoint where it is time to; a checkpoint that fails is tried again later."""
        self._commits += 1
        with suppress(sqlite3.Error):  # a full or failing disk is told by the next commit, to its caller
            if self._is_large():
                self._start_anew(connection)
            elif is_idle and connection.total_changes - self._changes >= _WORTHWHILE_CHANGES:
                self._changes = connection.total_changes
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _is_large(self) -> bool:
        try:
            return self._log.stat().st_size > self._largest_bytes
        except OSError:
            return False

    def _start_anew(self, connection: sqlite3.Connection) -> None:
        """Empty the log. Where a reader will not go, the next attempts are further and further apart."""
        if self._commits < self._pause:
            return
        self._commits = 0
        connection.execute(f"PRAGMA busy_timeout = {min(_SHORT_WAIT_MS, self._busy_timeout_ms)}")
        try:
            is_blocked = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            connection.execute(f"PRAGMA busy_timeout = {self._busy_timeout_ms}")
        self._pause = min(self._pause * 2, _LONGEST_PAUSE) if is_blocked else 1
