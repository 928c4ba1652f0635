"""The embedder and the reranker of storycore on Amazon Bedrock."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """The embedder and the reranker."""
    return []
