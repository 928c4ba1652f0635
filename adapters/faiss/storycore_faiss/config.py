"""The settings of the FAISS vector index."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from storycore.ports.vectors import VectorConfig

__all__ = ["FaissConfig"]


class FaissConfig(VectorConfig):
    """Settings of the vector index on SQLite and FAISS.

    Args:
        path: the file that holds everything; its ``-wal`` and ``-shm`` companions lie next to it while it is open.
        durability: ``"full"`` survives the loss of power after every acknowledged write; ``"normal"`` survives the
            end of the process, and may lose the last writes when the machine stops.
        search_threads: how many searches run at the same time.
    """

    path: Path
    durability: Literal["full", "normal"] = "full"
    search_threads: int = Field(default=2, ge=1, le=64)
