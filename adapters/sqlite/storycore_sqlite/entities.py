"""Entities in SQLite: writes share commits, point reads run on the loop's own thread, longer reads in a lane."""

from __future__ import annotations

import sqlite3
from asyncio import get_running_loop
from collections.abc import Sequence

from storycore.ports.capabilities import Capabilities
from storycore.ports.entities import Key, Record
from storycore.ports.environment import Environment
from storycore_sqlite._errors import is_waiting, translated
from storycore_sqlite._reads import find, find_all
from storycore_sqlite._records import FEATURES, RecordOperations
from storycore_sqlite._store import SqliteStore
from storycore_sqlite.config import SqliteConfig

__all__ = ["SqliteEntityStore", "open_entities"]

_MOST_INLINE_KEYS = 16


def open_entities(config: SqliteConfig, env: Environment) -> SqliteEntityStore:
    """The entity store of the adapter ``sqlite``."""
    return SqliteEntityStore(config, env)


class SqliteEntityStore(SqliteStore, RecordOperations):
    """An entity store in one SQLite file, which other processes may have open and write to."""

    def __init__(self, config: SqliteConfig, env: Environment) -> None:
        super().__init__(config, env)
        self._feed_retention = config.feed_retention
        self._most_inline_keys = _MOST_INLINE_KEYS if config.inline_reads else -1

    @property
    def capabilities(self) -> Capabilities:
        """A change feed and query plans; durability as configured."""
        limits = {"entities.changes_kept_seconds": int(self._feed_retention.total_seconds())}
        return Capabilities(features=FEATURES, limits=limits, guarantees=self._guarantees)

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under ``keys``; always consistent."""
        if len(keys) <= self._most_inline_keys:
            if not self._opened or self._process.pid != self._owner or get_running_loop() is not self._loop:
                self._refuse()
            try:
                if len(keys) == 1:
                    return [find(self._cursor, keys[0], self._env.clock)]
                return find_all(self._inline, keys, self._env.clock)
            except sqlite3.Error as exc:
                if not is_waiting(exc):
                    raise translated(exc, self._config.path) from exc
        return await super().get(keys, consistent=consistent)
