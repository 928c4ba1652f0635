"""The settings of the reference adapters."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from storycore.ports.vectors import VectorConfig

__all__ = ["MemoryBlobConfig", "MemoryCacheConfig", "MemoryConfig", "MemoryEmbedderConfig", "MemoryVectorConfig"]


class MemoryConfig(BaseModel):
    """Nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MemoryBlobConfig(BaseModel):
    """Settings of the blob store in memory.

    Args:
        versions: whether what is replaced or deleted stays readable.
        lock: whether blobs can be locked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    versions: bool = False
    lock: bool = False


class MemoryCacheConfig(BaseModel):
    """Settings of the cache in memory.

    Args:
        max_bytes: values are evicted beyond this many bytes of keys and values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=64 * 1024 * 1024, ge=1)


class MemoryVectorConfig(VectorConfig):
    """Settings of the vector index in memory."""


class MemoryEmbedderConfig(BaseModel):
    """Settings of the hash embedder, which is deterministic and not semantic.

    Args:
        dimension: length of the vectors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dimension: int = Field(default=256, ge=8, le=4096)
