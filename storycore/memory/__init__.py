"""The reference adapters: every port in plain Python, the oracle of the conformance kit. Nothing is kept on disk."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.memory.config import (
    MemoryBlobConfig,
    MemoryCacheConfig,
    MemoryConfig,
    MemoryEmbedderConfig,
    MemoryVectorConfig,
)
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """One adapter for all seven ports."""
    return [
        Adapter(
            name="memory",
            ports={
                PortName.ENTITIES: "storycore.memory.entities:open_entities",
                PortName.CACHE: "storycore.memory.cache:open_cache",
                PortName.VECTORS: "storycore.memory.vectors:open_vectors",
                PortName.BLOBS: "storycore.memory.blobs:open_blobs",
                PortName.EVENTS: "storycore.memory.events:open_events",
                PortName.EMBEDDER: "storycore.memory.embedder:open_embedder",
                PortName.RERANKER: "storycore.memory.reranker:open_reranker",
            },
            config={
                PortName.ENTITIES: MemoryConfig,
                PortName.CACHE: MemoryCacheConfig,
                PortName.VECTORS: MemoryVectorConfig,
                PortName.BLOBS: MemoryBlobConfig,
                PortName.EVENTS: MemoryConfig,
                PortName.EMBEDDER: MemoryEmbedderConfig,
                PortName.RERANKER: MemoryConfig,
            },
            url_path="",
            distribution="storycore",
            summary="Every port in memory, for tests and as the reference; nothing is kept.",
        )
    ]
