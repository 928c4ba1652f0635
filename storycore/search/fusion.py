"""Reciprocal rank fusion: several rankings become one by places alone, for their scores do not compare.

Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods", 2009.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

from storycore.ports.vectors import Match
from storycore.search.candidates import Candidate, Key, Parts, key

__all__ = ["CONSTANT", "fused", "reciprocal_ranks"]

H = TypeVar("H", bound=Hashable)

CONSTANT = 60
"""How many places the first of a ranking stands away from an endless score; the paper's own."""


def reciprocal_ranks(rankings: Sequence[Sequence[H]], weights: Sequence[float]) -> dict[H, float]:
    """For each thing that is ranked anywhere the sum of ``weight / (60 + rank)`` over the rankings that have it.

    Args:
        rankings: best first, nothing twice in one of them.
        weights: as many as rankings.
    """
    parts: dict[H, list[float]] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, thing in enumerate(ranking, 1):
            parts.setdefault(thing, []).append(weight / (CONSTANT + rank))
    return {thing: math.fsum(found) for thing, found in parts.items()}


def fused(dense: Sequence[Match], words: Sequence[Match], weights: tuple[float, float]) -> list[Candidate]:
    """Both legs as one ranking, best first; equal sums by id, then by namespace.

    What both legs found is taken from the dense one, which may carry vectors.
    """
    legs = ([key(match) for match in dense], [key(match) for match in words])
    scores = reciprocal_ranks(legs, weights)
    by_meaning, by_words = ({each: rank for rank, each in enumerate(leg, 1)} for leg in legs)
    found = {key(match): match for match in (*words, *dense)}
    texts = {key(match): match.score for match in words}
    vectors = {key(match): match.score for match in dense}

    def parts(each: Key) -> Parts:
        return Parts(
            dense=vectors.get(each),
            dense_rank=by_meaning.get(each),
            words=texts.get(each),
            words_rank=by_words.get(each),
            fused=scores[each],
        )

    order = sorted(scores, key=lambda each: (-scores[each], each))
    return [Candidate(found[each], scores[each], parts(each)) for each in order]
