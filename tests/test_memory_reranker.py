"""The word reranker keeps the Reranker contract."""

from __future__ import annotations

import pytest

from storycore.memory.reranker import MemoryReranker
from storycore.testing.reranking import RerankerSuite


class TestMemoryReranker(RerankerSuite):
    adapter = "memory"


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Freight boats sailed the canal.", 1.0),
        ("CANAL, Boats", 2 / 3),
        ("The freighter left.", 0.0),
        ("boats boats boats", 1 / 3),
    ],
)
async def test_a_score_is_the_share_of_the_querys_words(text: str, share: float) -> None:
    """Each word of the query counts once, whole, in any case; how often the text has it does not matter."""
    async with MemoryReranker() as reranker:
        assert await reranker.rerank("freight boats, boats; CANAL?", [text]) == [pytest.approx(share)]


async def test_a_query_without_words_prefers_nothing() -> None:
    """There is no word that a text could have."""
    async with MemoryReranker() as reranker:
        assert await reranker.rerank("?!", ["?!", "river"]) == [0.0, 0.0]


def test_its_name_says_that_it_knows_no_meaning() -> None:
    """Nobody takes it for a model."""
    assert MemoryReranker().model == "storycore-words-not-semantic"
