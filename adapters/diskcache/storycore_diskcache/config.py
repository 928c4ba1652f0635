"""The settings of the cache on disk."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from storycore.ports.places import FolderPath

__all__ = ["DiskcacheConfig"]


class DiskcacheConfig(BaseModel):
    """Settings of the cache on disk.

    Args:
        path: its directory, which holds nothing else; it is created readable by its owner alone.
        size_limit_bytes: beyond it, the values that were stored longest ago are evicted. At least 1 MiB.
        busy_timeout_seconds: how long to wait for another process that is writing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: FolderPath
    size_limit_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)
    busy_timeout_seconds: int = Field(default=5, ge=1, le=60)
