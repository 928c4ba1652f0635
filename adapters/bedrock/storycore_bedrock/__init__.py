"""The embedder and the reranker of storycore on Amazon Bedrock."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore_bedrock.config import BedrockEmbedderConfig, BedrockRerankerConfig

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """One adapter for the embedder and the reranker."""
    return [
        Adapter(
            name="bedrock",
            ports={
                PortName.EMBEDDER: "storycore_bedrock.embedder:open_embedder",
                PortName.RERANKER: "storycore_bedrock.reranker:open_reranker",
            },
            config={
                PortName.EMBEDDER: BedrockEmbedderConfig,
                PortName.RERANKER: BedrockRerankerConfig,
            },
            url_path="model",
            distribution="storycore-bedrock",
            summary="Embeddings (Titan, Cohere) and reranking on Amazon Bedrock, paid by use.",
            server="storycore_bedrock.testing:server",
        )
    ]
