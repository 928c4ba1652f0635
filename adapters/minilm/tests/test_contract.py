"""The adapter keeps the contract of the port it serves."""

from __future__ import annotations

from storycore.testing.embeddings import EmbedderSuite


class TestMiniLM(EmbedderSuite):
    """The Embedder contract on MiniLM."""

    adapter = "minilm"
