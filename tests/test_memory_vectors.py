"""The reference vector index keeps the VectorIndex contract."""

from __future__ import annotations

from storycore.testing.vectors import VectorIndexSuite


class TestMemoryVectors(VectorIndexSuite):
    """The VectorIndex contract in memory."""

    adapter = "memory"
