"""Maximal marginal relevance: results that answer the query without repeating each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

from storycore.errors import InvalidArgument
from storycore.ports.vectors import Match, Vector

__all__ = ["diversify"]


def diversify(matches: Sequence[Match], *, count: int, diversity: float) -> list[Match]:
    """Choose ``count`` matches one by one: each is the nearest to the query that is least like those before it.

    The value of a candidate is ``(1 - diversity) * relevance - diversity * likeness``, where relevance is its place
    between the worst (0) and the best (1) score and likeness is the greatest cosine to a chosen match.

    Args:
        matches: candidates, best first, with their vectors.
        count: how many to choose; fewer when there are fewer candidates.
        diversity: 0 keeps the order of scores, 1 looks at likeness alone.

    Raises:
        InvalidArgument: ``diversity`` is not between 0 and 1, or a match carries no vector.
    """
    if not 0 <= diversity <= 1:
        raise InvalidArgument(f"diversity is a number from 0 to 1, not {diversity!r}.")
    units = [_unit(match) for match in matches]
    relevance = _relevance(matches)
    likeness = [0.0] * len(matches)
    left, chosen = list(range(len(matches))), list[Match]()
    while left and len(chosen) < count:
        pick = max(left, key=lambda i: ((1 - diversity) * relevance[i] - diversity * likeness[i], -i))
        left.remove(pick)
        chosen.append(matches[pick])
        for i in left:
            likeness[i] = max(likeness[i], sum(map(mul, units[pick], units[i])))
    return chosen


def _relevance(matches: Sequence[Match]) -> list[float]:
    scores = [match.score for match in matches]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def _unit(match: Match) -> list[float]:
    if match.values is None:
        raise InvalidArgument(f"The match {match.id!r} carries no vector; query with include_values=True.")
    length = _length(match.values)
    return [value / length for value in match.values]


def _length(vector: Vector) -> float:
    return math.sqrt(sum(map(mul, vector, vector)))
