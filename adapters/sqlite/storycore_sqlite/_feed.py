"""Trimming: the feed and the tokens keep what is promised, not more."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from storycore_sqlite._rows import micros

__all__ = ["trim"]

_NEWEST_OLD = "SELECT max(seq), count(*) FROM (SELECT seq FROM feed WHERE at <= ? ORDER BY seq LIMIT ?)"


def trim(connection: sqlite3.Connection, before: datetime, now: datetime, limit: int) -> int:
    """Forget up to ``limit`` changes told at or before ``before``, and all tokens past their window."""
    connection.execute("DELETE FROM tokens WHERE until <= ?", (micros(now),))
    last, count = connection.execute(_NEWEST_OLD, (micros(before), limit)).fetchone()
    if count:
        connection.execute("DELETE FROM feed WHERE seq <= ?", (last,))
        connection.execute("UPDATE state SET trimmed = ?", (last,))
    return int(count)
