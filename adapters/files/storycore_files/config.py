"""The settings of blobs as plain files."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from storycore.ports.places import FolderPath

__all__ = ["FilesConfig"]


class FilesConfig(BaseModel):
    """Where the blobs are.

    Args:
        path: the root folder; ``ensure()`` makes it, readable by its owner alone.
        threads: how many file operations may run at the same time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: FolderPath
    threads: int = Field(default=8, ge=1, le=64)
