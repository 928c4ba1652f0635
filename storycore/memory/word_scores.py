"""BM25 by the book, in double precision: the meaning of the score of a ``TextQuery``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection

from storycore.ports.words import text_score

__all__ = ["WordScores"]


class WordScores:
    """How well texts answer words, compared with all texts there are.

    Args:
        texts: each as the counts of its words; none is empty.
    """

    def __init__(self, texts: Collection[Counter[str]]) -> None:
        self._texts = texts
        self._average = sum(text.total() for text in texts) / len(texts) if texts else 1.0

    def score(self, asked: Collection[str], text: Counter[str]) -> float:
        """How well one of the texts answers distinct words; 0.0 when it has none of them."""
        return text_score(math.fsum(self._part(word, text) for word in asked if word in text))

    def _part(self, word: str, text: Counter[str]) -> float:
        often = text[word]
        length = 0.25 + 0.75 * text.total() / self._average
        return self._rarity(word) * often * 2.2 / (often + 1.2 * length)

    def _rarity(self, word: str) -> float:
        having = sum(word in text for text in self._texts)
        return max(math.log((len(self._texts) - having + 0.5) / (having + 0.5)), 1e-6)
