"""A candidate: a match on its way to become a hit, with what each step has found out about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from storycore.ports.vectors import Match

__all__ = ["Candidate", "Key", "Parts", "best_first", "key", "ranked_by_meaning", "ranked_by_words"]

Key = tuple[str, str]
"""Id and namespace: what tells items apart, and orders those of equal score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a score was made of; ``None`` where a step had no part in it.

    Args:
        dense: how near in meaning, see ``Match.score``.
        dense_rank: its place by meaning, from 1.
        words: BM25, see ``TextQuery``.
        words_rank: its place by words, from 1.
        fused: the sum of reciprocal ranks.
        reranked: the reranker's score.
    """

    dense: float | None = None
    dense_rank: int | None = None
    words: float | None = None
    words_rank: int | None = None
    fused: float | None = None
    reranked: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A match with the score that orders it now, and the parts of that score."""

    match: Match
    score: float
    parts: Parts = field(default_factory=Parts)


def key(match: Match) -> Key:
    """What tells this item from all others."""
    return match.id, match.namespace


def best_first(matches: Iterable[Match]) -> list[Match]:
    """By score, equal scores by id, then by namespace."""
    return sorted(matches, key=lambda match: (-match.score, match.id, match.namespace))


def ranked_by_meaning(matches: Sequence[Match]) -> list[Candidate]:
    """The matches of the dense leg, in their order."""
    return [
        Candidate(match, match.score, Parts(dense=match.score, dense_rank=rank))
        for rank, match in enumerate(matches, 1)
    ]


def ranked_by_words(matches: Sequence[Match]) -> list[Candidate]:
    """The matches of the words leg, in their order."""
    return [
        Candidate(match, match.score, Parts(words=match.score, words_rank=rank))
        for rank, match in enumerate(matches, 1)
    ]
