"""The VectorIndex contract on Pinecone's local server."""

from __future__ import annotations

from storycore.testing.vectors import VectorIndexSuite


class TestPineconeVectorIndex(VectorIndexSuite):
    """The VectorIndex contract through the SDK."""

    adapter = "pinecone"
