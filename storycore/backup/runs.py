"""Runs: rows under marks of keys, sorted piece by piece in a temporary file, and merged when they are read.

A row is 36 bytes: the mark of a key, and what is noted under it. Memory holds the rows since the last run, a block of
each run while they are merged, and for searches the first key of each block.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import BufferedRandom
from operator import lt
from pathlib import Path

from storycore.backup.entries import KEY_MARK_BYTES
from storycore.errors import StorageFull

__all__ = ["KEY_BYTES", "ROW_BYTES", "TAIL_BYTES", "Run", "Runs", "merged"]

KEY_BYTES = KEY_MARK_BYTES
TAIL_BYTES = 24
ROW_BYTES = KEY_BYTES + TAIL_BYTES
_RUN_ROWS = 16_384
"""Rows that are gathered in memory, which take 3 MiB, before they become a run."""
_MERGED_ROWS = 65_536
"""Rows in memory, of all runs together, while they are merged."""
_BLOCK_ROWS = 128
"""Rows that a search reads."""
_MOST_SEARCHED = 8
"""Runs that a search looks into; where there are more they are made one."""
_HIGHEST = b"\xff" * TAIL_BYTES


class Run:
    """Rows in the order of their keys, on disk or in memory; each key once."""

    def __init__(self, rows: Sequence[bytes] = (), *, file: BufferedRandom | None = None, start: int = 0) -> None:
        self._rows = rows
        self._file = file
        self._start = start
        self._fences: list[bytes] | None = None
        self.count = len(rows)

    def read(self, begin: int, count: int) -> Sequence[bytes]:
        """So many rows from a place on, fewer at the end."""
        if self._file is None:
            return self._rows[begin : begin + count]
        count = min(count, self.count - begin)
        data = os.pread(self._file.fileno(), count * ROW_BYTES, (self._start + begin) * ROW_BYTES)
        return [data[at : at + ROW_BYTES] for at in range(0, len(data), ROW_BYTES)]

    def find(self, key: bytes) -> bytes | None:
        """What is noted under a key."""
        if self._fences is None:
            self._fences = [self.read(begin, 1)[0][:KEY_BYTES] for begin in range(0, self.count, _BLOCK_ROWS)]
        block = bisect_right(self._fences, key) - 1
        if block < 0:
            return None
        rows = self.read(block * _BLOCK_ROWS, _BLOCK_ROWS)
        row = rows[bisect_right(rows, key + _HIGHEST) - 1]
        return row[KEY_BYTES:] if row[:KEY_BYTES] == key else None

    def extend(self, count: int) -> None:
        """Count rows as its own that were written behind it."""
        self.count += count
        self._fences = None


class Runs:
    """What was noted under keys, the later over the earlier. Blocks; for one thread at a time.

    Args:
        path: a file that does not exist yet; it comes to be when memory no longer holds everything.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BufferedRandom | None = None
        self._fresh: dict[bytes, bytes] = {}
        self._runs: list[Run] = []
        self._written = 0
        self._last_loaded: bytes | None = None

    def put(self, rows: Mapping[bytes, bytes]) -> None:
        """Note what is under keys."""
        self._fresh.update(rows)
        self._last_loaded = None
        if len(self._fresh) >= _RUN_ROWS:
            self._spill()

    def append(self, rows: Sequence[bytes]) -> None:
        """Note rows, which cost least where they come in the order of their keys."""
        if not rows:
            return
        keys = [row[:KEY_BYTES] for row in rows]
        if not all(map(lt, keys, keys[1:])):
            self.put({row[:KEY_BYTES]: row[KEY_BYTES:] for row in rows})
            return
        self._spill()
        goes_on = self._last_loaded is not None and self._last_loaded < keys[0]
        self._write(rows, goes_on=goes_on)
        self._last_loaded = keys[-1]

    def find(self, key: bytes) -> bytes | None:
        """What is noted under a key."""
        if (held := self._fresh.get(key)) is not None:
            return held
        if len(self._runs) > _MOST_SEARCHED:
            self.settle()
        return next((held for run in reversed(self._runs) if (held := run.find(key)) is not None), None)

    def runs(self) -> list[Run]:
        """All runs, the oldest first; they stay as they are."""
        fresh = self._fresh
        return [*self._runs, Run([key + fresh[key] for key in sorted(fresh)])] if fresh else list(self._runs)

    def settle(self) -> None:
        """Make one run of all, so that it is read more than once at little cost."""
        runs = self.runs()
        if len(runs) < 2:
            return
        file = self._file
        self._file, self._runs, self._fresh, self._written, self._last_loaded = None, [], {}, 0, None
        self._path = self._path.with_name(self._path.name + "+")
        for rows in merged(runs):
            self._write(rows, goes_on=bool(self._runs))
        _remove(file)

    def close(self) -> None:
        """Let go of the file."""
        _remove(self._file)
        self._file = None

    def _spill(self) -> None:
        """Make a run of what was noted last."""
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            self._write([key + fresh[key] for key in sorted(fresh)], goes_on=False)

    def _write(self, rows: Sequence[bytes], *, goes_on: bool) -> None:
        try:
            if self._file is None:
                self._file = self._path.open("w+b")
            self._file.write(b"".join(rows))
            self._file.flush()
        except OSError as exc:
            raise StorageFull(
                f"The temporary folder has no room for the index of a backup ({exc}); set TMPDIR to a larger one."
            ) from exc
        if not goes_on:
            self._runs.append(Run(file=self._file, start=self._written))
        self._runs[-1].extend(len(rows))
        self._written += len(rows)


class _Cursor:
    """How far a merge has read in a run."""

    def __init__(self, run: Run, size: int) -> None:
        self._run = run
        self._size = size
        self._next = 0
        self.rows: Sequence[bytes] = ()

    def fill(self) -> bool:
        """Read on where everything was taken; whether there is anything."""
        if not self.rows:
            self.rows = self._run.read(self._next, self._size)
            self._next += len(self.rows)
        return bool(self.rows)

    def take(self, key: bytes) -> Sequence[bytes]:
        """The rows up to a key, and with it."""
        end = bisect_right(self.rows, key + _HIGHEST)
        taken, self.rows = self.rows[:end], self.rows[end:]
        return taken


def merged(runs: Sequence[Run]) -> Iterator[list[bytes]]:
    """The rows of all runs in the order of their keys, in lists; each key once, from the last run that has it."""
    cursors = [_Cursor(run, max(_BLOCK_ROWS, _MERGED_ROWS // (4 * len(runs)))) for run in runs]
    while cursors := [cursor for cursor in cursors if cursor.fill()]:
        key = min(cursor.rows[-1] for cursor in cursors)[:KEY_BYTES]
        parts = [taken for cursor in cursors if (taken := cursor.take(key))]
        yield list(parts[0]) if len(parts) == 1 else _latest(parts)


def _latest(parts: Sequence[Sequence[bytes]]) -> list[bytes]:
    rows = {row[:KEY_BYTES]: row for part in parts for row in part}
    return [rows[key] for key in sorted(rows)]


def _remove(file: BufferedRandom | None) -> None:
    if file is not None:
        with suppress(OSError):  # what could not be written is not wanted any more
            file.close()
        Path(file.name).unlink(missing_ok=True)
