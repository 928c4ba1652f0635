"""Sentence embeddings for storycore without any service: MiniLM through onnxruntime."""

from __future__ import annotations

from storycore.hooks import hookimpl
from storycore.plugins import Adapter
from storycore.ports.lifecycle import PortName
from storycore_minilm.config import MiniLMConfig

__all__ = ["storycore_adapters"]


@hookimpl
def storycore_adapters() -> list[Adapter]:
    """The adapter for the embedder port."""
    return [
        Adapter(
            name="minilm",
            ports={PortName.EMBEDDER: "storycore_minilm.embedder:open_embedder"},
            config=MiniLMConfig,
            url_path="",
            distribution="storycore-minilm",
            summary="Sentence embeddings on this machine: all-MiniLM-L6-v2, 384 dimensions, no network.",
        )
    ]
