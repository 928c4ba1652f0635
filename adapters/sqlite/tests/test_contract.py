"""The adapter keeps the contract of the ports it serves."""

from __future__ import annotations

from storycore.testing.entities import EntityStoreSuite
from storycore.testing.events import EventSinkSuite


class TestSqliteEvents(EventSinkSuite):
    """The EventSink contract on an SQLite file."""

    adapter = "sqlite"


class TestSqliteEntities(EntityStoreSuite):
    """The EntityStore contract on an SQLite file."""

    adapter = "sqlite"
