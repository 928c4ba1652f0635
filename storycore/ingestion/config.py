"""The settings of ingestion."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["IngestionConfig"]


class IngestionConfig(BaseModel):
    """How documents are found, cut and embedded.

    Args:
        chunk_chars: a chunk's text is at most this long. The default suits models that see 256 tokens.
        min_chars: a heading ends a chunk only when the chunk has at least this many characters.
        max_file_bytes: larger files are not read.
        concurrency: documents in work at the same time.
        batch_size: texts per call of the embedder at most; small documents share a call.
        include_hidden: also read files and folders whose name begins with a dot.
        follow_symlinks: also read what symbolic links point to, wherever that is.
        exclude: patterns of paths to leave out, below the root and with ``/``, for example ``"drafts/*"``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunk_chars: int = Field(default=900, ge=100, le=8000)
    min_chars: int = Field(default=200, ge=0)
    max_file_bytes: int = Field(default=10 * 1024 * 1024, ge=1)
    concurrency: int = Field(default=8, ge=1, le=64)
    batch_size: int = Field(default=64, ge=1, le=1000)
    include_hidden: bool = False
    follow_symlinks: bool = False
    exclude: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _min_below_limit(self) -> IngestionConfig:
        if self.min_chars >= self.chunk_chars:
            raise ValueError(f"min_chars ({self.min_chars}) must be below chunk_chars ({self.chunk_chars})")
        return self
