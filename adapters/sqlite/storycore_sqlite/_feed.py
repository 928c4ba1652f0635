"""Trimming: the feed and the tokens keep what is promised, not more."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from itertools import takewhile

from storycore.ports.instants import micros

__all__ = ["trim"]

_OLDEST = "SELECT seq, at FROM storycore_changes ORDER BY seq LIMIT ?"


def trim(connection: sqlite3.Connection, before: datetime, now: datetime, limit: int) -> int:
    """Forget up to ``limit`` changes told at or before ``before``, and all tokens past their window.

    Nothing behind a younger change is forgotten, so that a live token's results stay, also when the clock was set back.
    """
    connection.execute("DELETE FROM storycore_tokens WHERE until <= ?", (micros(now),))
    oldest = connection.execute(_OLDEST, (limit,)).fetchall()
    old = [seq for seq, _ in takewhile(lambda row: row[1] <= micros(before), oldest)]
    if old:
        connection.execute("DELETE FROM storycore_changes WHERE seq <= ?", (old[-1],))
        connection.execute("UPDATE storycore_state SET trimmed = ?", (old[-1],))
    return len(old)
