"""The adapter keeps the contract of the port it serves."""

from __future__ import annotations

from storycore.testing.vectors import VectorIndexSuite


class TestFaissVectors(VectorIndexSuite):
    """The VectorIndex contract on one SQLite file with FAISS in memory."""

    adapter = "faiss"
