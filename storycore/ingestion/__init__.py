"""Ingestion: documents from folders, cut into chunks, embedded, and kept up to date in a vector index."""

from __future__ import annotations

from storycore.ingestion.config import IngestionConfig
from storycore.ingestion.documents import Chunk, Chunked, Chunker, ChunkSink, Document, Piece
from storycore.ingestion.pipeline import Pipeline
from storycore.ingestion.reports import Failure, Plan, Progress, Report, Skipped

__all__ = [
    "Chunk",
    "ChunkSink",
    "Chunked",
    "Chunker",
    "Document",
    "Failure",
    "IngestionConfig",
    "Piece",
    "Pipeline",
    "Plan",
    "Progress",
    "Report",
    "Skipped",
]
