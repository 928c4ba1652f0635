"""The adapter keeps the contracts of the ports it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from storycore.testing.embeddings import EmbedderSuite
from storycore.testing.reranking import RerankerSuite


class TestTitan(EmbedderSuite):
    """The Embedder contract on Titan Text Embeddings V2."""

    adapter = "bedrock"
    options: ClassVar[Mapping[str, object]] = {"dimension": 256}


class TestCohere(EmbedderSuite):
    """The Embedder contract on Cohere Embed v3."""

    adapter = "bedrock"
    options: ClassVar[Mapping[str, object]] = {"model": "cohere.embed-multilingual-v3"}


class TestRerank(RerankerSuite):
    """The Reranker contract on Bedrock's Rerank."""

    adapter = "bedrock"
