"""A namespace: its log of writes, what is committed, and what reads can see of it yet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from .knobs import Knobs
from .records import Record

__all__ = ["Changes", "Namespace"]

Changes = Mapping[str, Record | None]
"""What a write leaves under an id; ``None``: nothing."""


@dataclass(slots=True)
class _Write:
    """A write that reads do not see yet."""

    lsn: int
    changes: Changes
    reads_left: int
    due: float


class Namespace:
    """The records of one namespace. Writes become visible in the order of their positions in the log.

    Attributes:
        committed: what is stored, by id.
        visible: what reads see, by id.
        lsn: of the last write. The page "Check data freshness": each namespace counts for itself.
        indexed_lsn: of the last write that reads see.
        version: another one after each change of what is visible.
        schema: which fields were declared filterable, as it was sent.
    """

    def __init__(self, lsn: int = 0, schema: object = None) -> None:
        self.committed: dict[str, Record] = {}
        self.visible: dict[str, Record] = {}
        self.lsn = self.indexed_lsn = lsn
        self.version = 0
        self.schema = schema
        self._pending: deque[_Write] = deque()

    def write(self, changes: Changes, knobs: Knobs) -> int:
        """Commit, and give the position in the log."""
        self.lsn += 1
        _apply(self.committed, changes)
        due = time.monotonic() + knobs.visible_after_ms / 1000
        self._pending.append(_Write(self.lsn, changes, knobs.visible_after_reads, due))
        if not knobs.visible_after_reads:
            self._catch_up()
        return self.lsn

    def read(self) -> Mapping[str, Record]:
        """What one read sees."""
        self._catch_up()
        for write in self._pending:
            write.reads_left -= 1
        return self.visible

    def settle(self) -> None:
        """Let reads see everything."""
        for write in self._pending:
            write.reads_left, write.due = 0, 0.0
        self._catch_up()

    def _catch_up(self) -> None:
        now = time.monotonic()
        while self._pending and self._pending[0].reads_left <= 0 and self._pending[0].due <= now:
            write = self._pending.popleft()
            _apply(self.visible, write.changes)
            self.indexed_lsn = write.lsn
            self.version += 1


def _apply(records: dict[str, Record], changes: Changes) -> None:
    for key, record in changes.items():
        if record is None:
            records.pop(key, None)
        else:
            records[key] = record
