"""The vector index of storycore on Pinecone."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore_pinecone.config import PineconeConfig

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """One adapter for the vector index."""
    return [
        Adapter(
            name="pinecone",
            ports={PortName.VECTORS: "storycore_pinecone.vectors:open_vectors"},
            config=PineconeConfig,
            url_path="index",
            distribution="storycore-pinecone",
            summary="A vector index on Pinecone: serverless, for any number of machines; reads lag by a moment.",
            conformance={"index": "kit-{name}"},
            server="storycore_pinecone.testing:server",
        )
    ]
