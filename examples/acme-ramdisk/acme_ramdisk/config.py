"""The settings of the adapter."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RamdiskConfig"]


class RamdiskConfig(BaseModel):
    """How much is kept.

    Args:
        max_entries: beyond so many values the oldest is dropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_entries: int = Field(default=10_000, ge=1)
