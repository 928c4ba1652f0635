"""Entities and events of storycore in one SQLite file."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore_sqlite.config import SqliteConfig

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """One adapter for entities and events."""
    return [
        Adapter(
            name="sqlite",
            ports={
                PortName.ENTITIES: "storycore_sqlite.entities:open_entities",
                PortName.EVENTS: "storycore_sqlite.events:open_events",
            },
            config=SqliteConfig,
            distribution="storycore-sqlite",
            summary="Entities and events in one SQLite file, durable, for one machine.",
            conformance={"path": "{path}/data/store.db"},
        )
    ]
