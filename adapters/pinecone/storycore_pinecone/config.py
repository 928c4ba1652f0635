"""The settings of the Pinecone vector index."""

from __future__ import annotations

from storycore.ports.vectors import VectorConfig

__all__ = ["PineconeConfig"]


class PineconeConfig(VectorConfig):
    """Settings of the vector index on Pinecone."""
