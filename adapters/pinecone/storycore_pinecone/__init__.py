"""The vector index of storycore on Pinecone."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """The vector index."""
    return []
