"""What a word is, for search by words: the same on every adapter, and for every snippet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Word", "distinct_words", "text_of", "text_score", "word_texts", "words"]

_RUN = re.compile("[0-9A-Za-z\u0080-\U0010ffff]+")
_ALONE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
"""Kana and Chinese characters: scripts that put no space between words, so that each character counts as one."""

_ACCENTS = re.compile("[\u0300-\u036f]")
"""What is left out; the vowel signs of other scripts are part of the word."""


class Word(NamedTuple):
    """A word of a text.

    Args:
        text: lower case, without accents.
        start: where it begins in the text, in characters.
        end: where it ends, exclusive.
    """

    text: str
    start: int
    end: int


def words(text: str) -> Iterator[Word]:
    """The words of ``text`` in order: runs of letters and digits, compared without case and accents.

    No endings are cut off: ``fires`` is another word than ``fire``.
    """
    for run in _RUN.finditer(text):
        if run[0].isascii():
            yield Word(run[0].lower(), *run.span())
        else:
            for start, end in _spans(run[0]):
                yield from _parts(run[0][start:end], run.start() + start)


def word_texts(text: str) -> list[str]:
    """The words of ``text`` in order, without their places."""
    return _RUN.findall(text.lower()) if text.isascii() else [word.text for word in words(text)]


def distinct_words(text: str) -> list[str]:
    """The words of ``text``, each once, in the order of their first place."""
    return list(dict.fromkeys(word_texts(text)))


def text_of(metadata: Mapping[str, object], fields: Sequence[str]) -> str:
    """What ``search_text`` reads of an item: the texts in these fields of its metadata, in order, a line each."""
    found = (metadata.get(field) for field in fields)
    values = (value if isinstance(value, (list, tuple)) else (value,) for value in found)
    return "\n".join(text for texts in values for text in texts if isinstance(text, str))


def text_score(score: float) -> float:
    """A score of a ``TextQuery`` to 12 digits; what lies behind them depends on the order of adding up."""
    return float(f"{score:.12g}")


def _spans(run: str) -> Iterator[tuple[int, int]]:
    """Where the letters, digits and their marks lie in a run that may also hold signs beyond ASCII."""
    if run.isalnum():
        yield 0, len(run)
        return
    start = None
    for place, char in enumerate(run):
        if _belongs(char):
            start = place if start is None else start
        elif start is not None:
            yield start, place
            start = None
    if start is not None:
        yield start, len(run)


def _parts(run: str, offset: int) -> Iterator[Word]:
    """Split a run where characters stand alone."""
    start = 0
    for single in _ALONE.finditer(run):
        yield from _word(run, start, single.start(), offset)
        yield from _word(run, single.start(), single.end(), offset)
        start = single.end()
    yield from _word(run, start, len(run), offset)


def _word(run: str, start: int, end: int, offset: int) -> Iterator[Word]:
    plain = unicodedata.normalize("NFKD", run[start:end].casefold())
    kept = "".join(char for char in plain if not _ACCENTS.match(char) and _belongs(char)).casefold()
    if kept:
        yield Word(kept, offset + start, offset + end)


def _belongs(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char).startswith("M")
