"""The hash embedder keeps the Embedder contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from storycore.memory.config import MemoryEmbedderConfig
from storycore.memory.embedder import MemoryEmbedder, open_embedder
from storycore.ports.environment import Environment
from storycore.testing.embedding_examples import closeness
from storycore.testing.embeddings import EmbedderSuite


class TestMemoryEmbedder(EmbedderSuite):
    adapter = "memory"


class TestSmallMemoryEmbedder(EmbedderSuite):
    adapter = "memory"
    options: ClassVar[Mapping[str, object]] = {"dimension": 8}


async def test_the_vectors_are_those_of_every_machine() -> None:
    """A vector that was written down once comes out again."""
    async with MemoryEmbedder(8) as embedder:
        (vector,) = await embedder.embed(["James River"], purpose="document")
    assert [round(value, 5) for value in vector] == [-0.55709, 0.0, -0.1857, 0.0, 0.1857, 0.74278, -0.1857, 0.1857]


async def test_opposite_features_still_give_a_vector() -> None:
    """Where all features meet their opposites in the buckets, a vector of length 1 is made all the same."""
    async with MemoryEmbedder(1) as embedder:
        vectors = await embedder.embed([f"{a}{b}" for a in "abcdefghijkl" for b in "mnopqrst"], purpose="query")
    assert {1.0} == {abs(vector[0]) for vector in vectors}


async def test_shared_words_are_near() -> None:
    """Texts that share words are nearer than texts that do not, which is what tests of search rely on."""
    async with open_embedder(MemoryEmbedderConfig(), Environment()) as embedder:
        query, near, far = await embedder.embed(
            ["tobacco warehouses", "The tobacco warehouses burned.", "Kayaks on whitewater."], purpose="query"
        )
    assert closeness(query, near) > closeness(query, far) + 0.2
