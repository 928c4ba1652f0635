"""Fusion by reciprocal ranks, and ranking by words among candidates: both against what their formulas say."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.layers.checks import checked
from storycore.memory.config import MemoryVectorConfig
from storycore.memory.vectors import open_vectors
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import Match, TextQuery, VectorItem
from storycore.search.candidates import key
from storycore.search.fusion import fused, reciprocal_ranks
from storycore.search.word_ranking import by_words

KEYS = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["one", "two"]))
RANKINGS = st.lists(KEYS, unique=True, max_size=16)
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 3.0])
WORDS = ["river", "canal", "mill", "the", "Poe", "1737"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=12)
QUICK = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def matches(ranking: list[tuple[str, str]]) -> list[Match]:
    """A ranking as matches, their scores falling."""
    return [Match(id_, 1.0 - place / 100, {}, namespace) for place, (id_, namespace) in enumerate(ranking)]


@QUICK
@given(RANKINGS, RANKINGS, WEIGHTS, WEIGHTS)
def test_fusion_is_the_sum_of_reciprocal_ranks(
    dense: list[tuple[str, str]], words: list[tuple[str, str]], by_meaning: float, by_word: float
) -> None:
    """Against exact fractions: the same scores, and the same order with equal sums by id and namespace."""
    exact: dict[tuple[str, str], Fraction] = {}
    for ranking, weight in ((dense, by_meaning), (words, by_word)):
        for place, each in enumerate(ranking):
            exact[each] = exact.get(each, Fraction(0)) + Fraction(weight) / (61 + place)
    found = fused(matches(dense), matches(words), (by_meaning, by_word))
    assert [key(candidate.match) for candidate in found] == sorted(exact, key=lambda each: (-exact[each], each))
    assert [candidate.score for candidate in found] == pytest.approx(
        [float(exact[key(candidate.match)]) for candidate in found]
    )


@QUICK
@given(RANKINGS, RANKINGS)
def test_every_part_of_a_fused_score_is_told(dense: list[tuple[str, str]], words: list[tuple[str, str]]) -> None:
    """Score and place in each leg, and nothing where a leg has not found it."""
    legs = {"dense": matches(dense), "words": matches(words)}
    for candidate in fused(legs["dense"], legs["words"], (1.0, 1.0)):
        parts = candidate.parts
        for leg, score, rank in (
            ("dense", parts.dense, parts.dense_rank),
            ("words", parts.words, parts.words_rank),
        ):
            place = next((n for n, m in enumerate(legs[leg]) if key(m) == key(candidate.match)), None)
            expected = (None, None) if place is None else (legs[leg][place].score, place + 1)
            assert (score, rank) == expected
        assert (parts.fused, parts.reranked) == (candidate.score, None)


def test_two_legs_that_disagree_end_in_a_tie_by_id() -> None:
    """First and second against second and first are equal sums."""
    found = fused(matches([("b", "x"), ("a", "x")]), matches([("a", "x"), ("b", "x")]), (1.0, 1.0))
    assert [candidate.match.id for candidate in found] == ["a", "b"]
    assert found[0].score == found[1].score


def test_a_leg_without_weight_adds_nothing() -> None:
    """What only it has found comes behind everything else."""
    assert reciprocal_ranks([["a", "b"], ["c"]], [1.0, 0.0]) == {"a": 1 / 61, "b": 1 / 62, "c": 0.0}


@QUICK
@given(TEXTS, st.sampled_from(["river", "the river", "Poe 1737", "zebra", "?!", "mill MILL canal"]))
async def test_words_among_candidates_score_as_the_port_does(texts: list[str], query: str) -> None:
    """When the candidates are all there is, their ranking is what an index that searches by words gives."""
    items = [VectorItem(f"t{n:02}", [1.0, 0.0], {"text": text}) for n, text in enumerate(texts)]  # type: ignore[arg-type]  # the checks convert it
    config = MemoryVectorConfig(dimension=2)
    async with checked(PortName.VECTORS, open_vectors(config, Environment())) as index:
        await index.upsert(items)
        [expected] = await index.search_text([TextQuery(text=query, top_k=100)])
    found = by_words(query, [Match(item.id, 0.5, item.metadata) for item in items], ("text",))
    assert Counter(match.id for match in found) == Counter(match.id for match in expected)
    assert [match.score for match in found] == pytest.approx([match.score for match in expected], rel=1e-9)


def test_words_are_looked_for_in_the_fields_that_hold_text() -> None:
    """Joined in their order; other fields are not text."""
    found = by_words("mill", [Match("a", 1, {"body": "a mill"}), Match("b", 1, {"text": "a mill"})], ("title", "body"))
    assert [match.id for match in found] == ["a"]
