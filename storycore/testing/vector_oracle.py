"""What a vector index has to answer, worked out by the kit itself in double precision.

It shares no code with the memory adapter or the evaluator of filters, so that a misreading which those have in common
with an adapter shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from operator import ge, gt, le, lt, mul
from typing import TypeAlias

import pytest

from storycore.ports.filters import And, Compare, Eq, Exists, Filter, In, Not, Or
from storycore.ports.vectors import Match, Metadata, Metric, VectorItem
from storycore.ports.words import words

__all__ = ["Ranking", "agree", "best", "holds", "similarity", "text_ranking"]

Ranking: TypeAlias = Sequence[tuple[str, float]]
"""Ids with their scores, best first, equal scores by id."""

_ORDER: Mapping[str, Callable[[Fraction, Fraction], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}
_LEAST_IDF = 1e-6


def holds(where: Filter | None, metadata: Metadata) -> bool:
    """Whether metadata matches a filter; ``None`` matches everything."""
    match where:
        case None:
            return True
        case Not(term):
            return not holds(term, metadata)
        case And(terms):
            return False not in [holds(term, metadata) for term in terms]
        case Or(terms):
            return True in [holds(term, metadata) for term in terms]
        case Exists(field):
            return len(_values(metadata, field)) > 0
        case Eq(field, value):
            return _tagged(value) in _values(metadata, field)
        case In(field, values):
            return not _values(metadata, field).isdisjoint(map(_tagged, values))
        case Compare(field, op, bound):
            numbers = [number for kind, number in _values(metadata, field) if kind == "number"]
            return any(isinstance(n, Fraction) and _ORDER[op](n, Fraction(bound)) for n in numbers)


def similarity(metric: Metric, a: Sequence[float], b: Sequence[float]) -> float:
    """How near two vectors are, by the definition of the metric."""
    if metric == "euclidean":
        return -math.fsum((x - y) * (x - y) for x, y in zip(a, b, strict=True))
    product = math.fsum(map(mul, a, b))
    if metric == "dot":
        return product
    return min(1.0, max(-1.0, product / math.hypot(*a) / math.hypot(*b)))


def best(
    items: Iterable[VectorItem], metric: Metric, target: Sequence[float], where: Filter | None = None
) -> list[tuple[str, float]]:
    """The ids of all items that match, with their scores, best first."""
    scored = [(item.id, similarity(metric, target, item.values)) for item in items if holds(where, item.metadata)]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))


def text_ranking(
    spaces: Mapping[str, Iterable[VectorItem]],
    text: str,
    *,
    namespace: str = "default",
    where: Filter | None = None,
    fields: Sequence[str] = ("text",),
) -> list[tuple[str, float]]:
    """The ids of all items of a namespace that match and have one of the words, with their BM25, best first.

    Args:
        spaces: all items of the index, by namespace.
        text: what is looked for.
        namespace: where.
        where: only items whose metadata matches.
        fields: the index's ``text_fields``.
    """
    read = {name: [(item, _words_of(item.metadata, fields)) for item in items] for name, items in spaces.items()}
    documents = [held for space in read.values() for _, held in space if held]
    asked = {word.text for word in words(text)}
    scored = [
        (item.id, _bm25(asked, held, documents))
        for item, held in read.get(namespace, [])
        if asked.intersection(held) and holds(where, item.metadata)
    ]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))


def agree(whole: Ranking, matches: Sequence[Match], top_k: int, *, within: float = 1e-5) -> None:
    """Assert that ``matches`` are the best ``top_k`` of ``whole``, where scores are rounded.

    The scores are the best ones in their order, each item has its own score, none comes twice, and among items whose
    scores differ by less than the rounding at most their equals stand in for each other.

    Args:
        whole: all that match, by exact score.
        matches: what the index found.
        top_k: how many were asked for.
        within: how far a score may be off, relative to it or, for small ones, as it is.
    """
    exact = dict(whole)
    found = [match.score for match in matches]
    assert [score for _, score in whole[:top_k]] == pytest.approx(found, rel=within, abs=within)
    assert len({match.id for match in matches}) == len(matches), "an item was found twice"
    assert [exact.get(match.id) for match in matches] == pytest.approx(found, rel=within, abs=within)


def _bm25(asked: Iterable[str], held: Sequence[str], documents: Sequence[Sequence[str]]) -> float:
    count, average = len(documents), sum(map(len, documents)) / len(documents)
    total = 0.0
    for word in sorted(asked):
        often = held.count(word)
        having = sum(word in document for document in documents)
        idf = max(math.log((count - having + 0.5) / (having + 0.5)), _LEAST_IDF)
        total += idf * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * len(held) / average))
    return total


def _words_of(metadata: Metadata, fields: Sequence[str]) -> list[str]:
    """The words of the texts in these fields, in order; other values have none."""
    held: list[str] = []
    for field in fields:
        value = metadata.get(field, "")
        for text in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            held += [word.text for word in words(text)]
    return held


def _values(metadata: Metadata, field: str) -> set[tuple[str, object]]:
    """The set V of a field, each value with its kind."""
    if field not in metadata:
        return set()
    value = metadata[field]
    return {_tagged(element) for element in value} if isinstance(value, list) else {_tagged(value)}


def _tagged(value: object) -> tuple[str, object]:
    if isinstance(value, bool):
        return "bool", value
    return ("number", Fraction(value)) if isinstance(value, int | float) else ("text", value)
