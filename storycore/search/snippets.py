"""Snippets: the stretch of a passage that shows best why it was found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from storycore.ports.words import Word, distinct_words, words

__all__ = ["WIDTH", "Wanted", "snippet", "wanted_by"]

WIDTH = 240
"""Characters of a snippet at most, ellipses included."""

_HEADING = re.compile(r"^#{1,6}[ \t]+", re.MULTILINE)
_STEM = 5
"""Words that begin with the same five letters count as the same word in another form."""
_LEAST = 0.1
"""What a word of one or two letters counts: enough to choose between windows that have nothing else."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a query looks for, found out once for all its passages.

    Args:
        words: the words, as ``storycore.ports.words`` compares them.
        weights: what their beginnings count in a snippet.
    """

    words: frozenset[str]
    weights: Mapping[str, float]


def wanted_by(query: str) -> Wanted:
    """What a query looks for."""
    asked = distinct_words(query)
    return Wanted(frozenset(asked), {_stem(word): max(len(word) - 2, _LEAST) for word in asked})


def snippet(text: str, query: str | Wanted, *, width: int = WIDTH) -> str:
    """The best window of ``text`` for ``query``, on one line, cut at word borders.

    Best is the window with the most of the query's words, a word counting more the longer it is and less the more
    often the text repeats it; of equal windows the tightest, then the first.

    Args:
        text: the passage; the marks of Markdown headings are left out.
        query: the words looked for; when none occurs, the snippet is the beginning of the text.
        width: characters at most, ellipses included; at least 3.
    """
    line = " ".join(_HEADING.sub("", text).split())
    if len(line) <= width:
        return line
    weights = (wanted_by(query) if isinstance(query, str) else query).weights
    stems = [Word(stem, start, end) for text, start, end in words(line) if (stem := _stem(text)) in weights]
    start, end = _window(stems, weights, width - 2)
    return _shown(line, start, end, width)


def _stem(word: str) -> str:
    return word[:_STEM]


def _window(stems: list[Word], weights: Mapping[str, float], width: int) -> tuple[int, int]:
    """The span of the best run of the wanted ``stems``; the beginning of the text when there are none."""
    counts = Counter(word.text for word in stems)
    best, span = (0.0, 0), (0, 0)
    for i, first in enumerate(stems):
        seen, weight = set[str](), 0.0
        for j in range(i, len(stems)):
            word = stems[j]
            if word.end - first.start > width or len(seen) == len(counts):
                break
            if word.text not in seen:
                seen.add(word.text)
                weight += weights[word.text] / counts[word.text]
                if (rank := (weight, first.start - word.end)) > best:
                    best, span = rank, (first.start, word.end)
    return span


def _shown(line: str, start: int, end: int, width: int) -> str:
    """The span with as much around it as fits, cut at word borders, with an ellipsis where something is left out."""
    room = width - 2
    left = max(0, min(start - (room - (end - start)) // 2, len(line) - room))
    right = min(len(line), left + room)
    if left > 0 and line[left - 1] != " " and (border := line.find(" ", left, right)) != -1 and border < start:
        left = border + 1
    if right < len(line) and line[right] != " " and (border := line.rfind(" ", left, right)) >= end:
        right = border
    before, after = "…" if left > 0 else "", "…" if right < len(line) else ""
    return f"{before}{line[left:right].strip()}{after}"
