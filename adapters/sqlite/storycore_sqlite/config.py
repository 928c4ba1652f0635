"""The settings of the adapter ``sqlite``."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from storycore.ports.places import FilePath

__all__ = ["DurabilityMode", "SqliteConfig"]


class DurabilityMode(StrEnum):
    """What a returned write survives."""

    FULL = "full"
    """A power failure: the write-ahead log is flushed with every commit."""
    NORMAL = "normal"
    """The end of the process; a power failure may undo the last commits, and never damages the file."""


class SqliteConfig(BaseModel):
    """Where the file is and how it is used.

    Args:
        path: the database file; ``ensure()`` makes missing folders.
        durability: ``"full"`` or ``"normal"``.
        busy_timeout_ms: how long to wait for another process's write before ``Unavailable``, in milliseconds.
        feed_retention: how long the change feed is kept at least; at least 10 minutes.
        inline_reads: read single records on the event loop's own thread, which takes microseconds on a local disk;
            turn it off for files on a network disk.
        readers: how many queries, scans and other longer reads may run at the same time, each in a thread; 1 to 16.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: FilePath
    durability: DurabilityMode = DurabilityMode.FULL
    busy_timeout_ms: int = Field(default=5000, ge=0, le=600_000)
    feed_retention: timedelta = Field(default=timedelta(hours=24), ge=timedelta(minutes=10))
    inline_reads: bool = True
    readers: int = Field(default=2, ge=1, le=16)
