"""The settings of the MiniLM embedder."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["MiniLMConfig"]


class MiniLMConfig(BaseModel):
    """How much of the machine the model may use; the vectors do not depend on it.

    Args:
        threads: batches that are computed at the same time, one processor core each; ``None``: one per core that the
            process may use, at most 4.
        batch_size: texts per batch at most; long texts make smaller batches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int | None = Field(default=None, ge=1, le=64)
    batch_size: int = Field(default=16, ge=1, le=256)
