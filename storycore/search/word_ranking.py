"""Ranking by words where the index cannot: the candidates' own texts are all the texts there are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from storycore.ports.vectors import Match
from storycore.ports.words import distinct_words, text_of, word_texts
from storycore.search.candidates import best_first

__all__ = ["by_words"]

_K1 = 1.2
_B = 0.75
_LEAST_RARITY = 1e-6


def by_words(query: str, matches: Sequence[Match], fields: Sequence[str]) -> list[Match]:
    """Those of the matches that have a word of the query, with BM25 as their score, best first.

    The formula is that of ``TextQuery``; how rare a word is and how long a text usually is, only these texts say.

    Args:
        fields: the metadata fields that hold the text.
    """
    texts = [Counter(word_texts(text_of(match.metadata, fields))) for match in matches]
    told = [text for text in texts if text]
    average = sum(text.total() for text in told) / len(told) if told else 1.0
    rarity = {word: _rarity(len(told), sum(word in text for text in told)) for word in distinct_words(query)}
    return best_first(
        replace(match, score=_score(text, rarity, average))
        for match, text in zip(matches, texts, strict=True)
        if any(word in text for word in rarity)
    )


def _rarity(texts: int, having: int) -> float:
    return max(math.log((texts - having + 0.5) / (having + 0.5)), _LEAST_RARITY)


def _score(text: Counter[str], rarity: dict[str, float], average: float) -> float:
    length = _K1 * (1 - _B + _B * text.total() / average)
    return math.fsum(
        rare * text[word] * (_K1 + 1) / (text[word] + length) for word, rare in rarity.items() if word in text
    )
