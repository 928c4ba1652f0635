"""The second look: a reranker reads the best candidates together with the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from storycore.ports.reranking import Reranker
from storycore.ports.words import text_of
from storycore.search.candidates import Candidate

__all__ = ["reread"]


async def reread(
    reranker: Reranker, query: str, candidates: Sequence[Candidate], fields: Sequence[str]
) -> list[Candidate]:
    """The candidates in the reranker's order, with its scores; of equal scores, as they were.

    Candidates without text cannot be read and are left out.

    Args:
        fields: the metadata fields that hold the text.
    """
    texts = [text_of(candidate.match.metadata, fields) for candidate in candidates]
    readable = [(candidate, text) for candidate, text in zip(candidates, texts, strict=True) if text.strip()]
    scores = await reranker.rerank(query, [text for _, text in readable])
    reranked = [
        replace(candidate, score=score, parts=replace(candidate.parts, reranked=score))
        for (candidate, _), score in zip(readable, scores, strict=True)
    ]
    return sorted(reranked, key=lambda candidate: -candidate.score)
