"""Entities in SQLite: writes share commits, point reads run on the loop's own thread, longer reads in a lane."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from storycore.errors import Unsupported
from storycore.ports.capabilities import Capabilities, Support
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
from storycore_sqlite._errors import is_waiting, translated
from storycore_sqlite._feed import trim
from storycore_sqlite._reads import find, find_all, read_changes, read_query, read_segment
from storycore_sqlite._store import SqliteStore
from storycore_sqlite._writes import remove_expired, write_all, write_each, write_once
from storycore_sqlite.config import SqliteConfig

__all__ = ["SqliteEntityStore", "open_entities"]

_MOST_INLINE_KEYS = 16
_EXPIRY_STEP = 500
"""Records removed in one transaction, so that a sweep never keeps other writers waiting long."""


def open_entities(config: SqliteConfig, env: Environment) -> SqliteEntityStore:
    """The entity store of the adapter ``sqlite``."""
    return SqliteEntityStore(config, env)


class SqliteEntityStore(SqliteStore):
    """An entity store in one SQLite file, which other processes may have open and write to."""

    def __init__(self, config: SqliteConfig, env: Environment) -> None:
        super().__init__(config, env)
        self._most_inline_keys = _MOST_INLINE_KEYS if config.inline_reads else -1

    @property
    def capabilities(self) -> Capabilities:
        """A change feed; durability as configured."""
        return Capabilities(features={"entities.changes": Support.NATIVE}, guarantees=self._guarantees)

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under ``keys``; always consistent."""
        if len(keys) <= self._most_inline_keys:
            self._require_here()
            try:
                if len(keys) == 1:
                    return [find(self._cursor, keys[0], self._env.clock)]
                return find_all(self._inline, keys, self._env.clock)
            except sqlite3.Error as exc:
                if not is_waiting(exc):
                    raise translated(exc, self._config.path) from exc
        return await self._find_in_lane(keys)

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

    async def explain(self, plan: QueryPlan) -> Mapping[str, object]:
        """Not yet told."""
        raise Unsupported("The SQLite adapter does not tell its query plans.", feature="entities.explain")

    async def expire(self, now: datetime, *, budget: int = 1000) -> int:
        """Remove expired records; then trim the feed and the tokens."""
        present = self._env.clock.now()
        removed = 0
        while removed < budget:
            step = min(_EXPIRY_STEP, budget - removed)
            count = await self._write(partial(remove_expired, at=min(now, present), now=present, limit=step))
            removed += count
            if count < step:
                break
        await self._trim(present)
        return removed

    async def _find_in_lane(self, keys: Sequence[Key]) -> list[Record | None]:
        return await self._read(lambda connection: find_all(connection, keys, self._env.clock))

    async def _trim(self, now: datetime) -> None:
        unit = partial(trim, before=now - self._config.feed_retention, now=now, limit=_EXPIRY_STEP)
        while await self._write(unit) == _EXPIRY_STEP:
            pass
