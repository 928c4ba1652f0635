"""The operations on records, over a way to read and a way to write: on a file of the store's own, or inside the
transactions of an application."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from storycore.ports.capabilities import Support
from storycore.ports.entities import (
    ChangePage,
    FeedPosition,
    Key,
    Position,
    QueryPlan,
    Record,
    RecordPage,
    Segment,
    Write,
    Written,
)
from storycore.ports.environment import Environment
from storycore.ports.records import settled
from storycore_sqlite._feed import trim
from storycore_sqlite._reads import explain_query, find_all, read_changes, read_end, read_query, read_segment
from storycore_sqlite._writes import count_expired, remove_expired, write_all, write_each, write_once

__all__ = ["FEATURES", "RecordOperations"]

T = TypeVar("T")

FEATURES: Mapping[str, Support] = {"entities.changes": Support.NATIVE, "entities.explain": Support.NATIVE}
"""What SQLite does beyond what every store does."""

_EXPIRY_STEP = 500
"""Records removed in one transaction, so that a sweep never keeps other writers waiting long."""


class RecordOperations(ABC):
    """What an entity store does, each operation as units of work on a connection."""

    _env: Environment
    _feed_retention: timedelta

    @abstractmethod
    async def _read(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        """Run a unit that reads."""

    @abstractmethod
    async def _write(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        """Run a unit that writes, wholly or not at all."""

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under ``keys``, as one snapshot; always consistent."""
        return await self._read(lambda connection: find_all(connection, keys, self._env.clock))

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """Apply writes; returns after the commit."""
        now = self._env.clock.now
        if not atomic:
            return settled(await self._write(lambda connection: write_each(connection, writes, now())))
        if token is None:
            return await self._write(lambda connection: write_all(connection, writes, now()))
        return await self._write(lambda connection: write_once(connection, writes, token, now()))

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Live records of one partition, in order; an index never lags."""
        return await self._read(partial(read_query, plan=plan, now=self._env.clock.now()))

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        """Live records of one segment."""
        now = self._env.clock.now()
        return await self._read(partial(read_segment, segment=segment, after=after, limit=limit, now=now))

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        """The change feed behind ``after``, in the order of commits."""
        return await self._read(partial(read_changes, after=after, limit=limit))

    async def changes_end(self) -> FeedPosition:
        """Behind the last commit."""
        return await self._read(read_end)

    async def explain(self, plan: QueryPlan) -> Mapping[str, object]:
        """The statement, its arguments, and the steps of SQLite's query planner."""
        return await self._read(partial(explain_query, plan=plan, now=self._env.clock.now()))

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        """Remove expired records; then trim the feed and the tokens."""
        present = self._env.clock.now()
        if dry_run:
            return await self._read(partial(count_expired, at=min(now, present), limit=budget))
        removed = 0
        while removed < budget:
            step = min(_EXPIRY_STEP, budget - removed)
            count = await self._write(partial(remove_expired, at=min(now, present), now=present, limit=step))
            removed += count
            if count < step:
                break
        await self._trim(present)
        return removed

    async def _trim(self, now: datetime) -> None:
        unit = partial(trim, before=now - self._feed_retention, now=now, limit=_EXPIRY_STEP)
        while await self._write(unit) == _EXPIRY_STEP:
            pass
