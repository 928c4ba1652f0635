"""The settings of the FAISS vector index."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from storycore.ports.places import FilePath
from storycore.ports.vectors import VectorConfig

__all__ = ["FaissConfig"]


class FaissConfig(VectorConfig):
    """Settings of the vector index on SQLite and FAISS.

    Args:
        path: the file that holds everything; its ``-wal`` and ``-shm`` companions lie next to it while it is open.
        durability: ``"full"`` survives the loss of power after every acknowledged write; ``"normal"`` survives the
            end of the process, and may lose the last writes when the machine stops.
        busy_timeout_seconds: how long a write waits for one of another process before ``Unavailable``. A call is one
            transaction: one that changes 100 000 items with their words holds the others up for some 20 seconds.
        search_threads: how many searches run at the same time.
        vectors: ``"memory"``, or ``"disk"``: they stay in the file, and memory holds their codes alone.
        storage: numbers in memory are whole (``"float32"``) or their upper halves (``"bfloat16"``); scores are the
            same, because the best are scored by what the file holds.
        kept_metadata: metadata of up to so many bytes as JSON is held in memory too, and then no match has to be
            completed from the file, which takes a query of ten matches 50 microseconds. 0 holds none.
        search: ``"auto"`` takes the cheapest way to an answer; ``"exact"`` never approximates; ``"codes"`` does
            wherever there are codes, for tests and measurements.
        codes_from: a namespace with at least so many items gets codes, by which searches without a selective filter
            are approximate and many times as fast.
    """

    path: FilePath
    durability: Literal["full", "normal"] = "full"
    busy_timeout_seconds: float = Field(default=60.0, ge=0, le=600)
    search_threads: int = Field(default=2, ge=1, le=64)
    vectors: Literal["memory", "disk"] = "memory"
    storage: Literal["float32", "bfloat16"] = "float32"
    kept_metadata: int = Field(default=128, ge=0)
    search: Literal["auto", "exact", "codes"] = "auto"
    codes_from: int = Field(default=10_000, ge=1024)
