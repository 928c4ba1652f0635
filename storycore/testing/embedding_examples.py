"""The texts with which the embedder suite asks."""

from __future__ import annotations

from storycore.ports.vectors import Vector

__all__ = ["BLANK", "PARAPHRASES", "TEXTS", "WRONG_CALLS", "closeness", "farthest"]

BLANK = ["", " ", "\t\n", "\u00a0\u2003\u3000"]

TEXTS = {
    "a letter": "x",
    "a sentence": "The river falls a hundred feet on its way through the city.",
    "two paragraphs": "Iron came first.\n\nTobacco came later, and stayed longer.\r\n",
    "punctuation alone": "?!… -- ()",
    "digits": "1607 1737 1780 1865",
    "an emoji": "🎻",
    "a family in one emoji": "👩‍👩‍👧‍👦",
    "Chinese": "河流穿过城市。",
    "Arabic": "النهر يعبر المدينة",
    "combining marks": "Zu\u0308rich e\u0301te\u0301",
    "a NUL and a bell": "a\0b\ac",
    "zero width only": "\u200b\u200d",
    "an endless word": "a" * 5000,
    "a long text": "Barges carried flour, and mules walked the towpath beside them. " * 100,
    "markup": "<b>bold</b> & **stars** [link](http://example.org)",
    "special tokens": "[CLS] [SEP] [PAD] [UNK] </s> <|endoftext|>",
}

WRONG_CALLS: list[tuple[object, str]] = [
    ("river", "query"),
    (None, "query"),
    (7, "query"),
    (["\ud800 lone"], "query"),
    ([b"river"], "query"),
    ([None], "query"),
    (["river"], "passage"),
]
"""Texts and purpose of calls that mean nothing."""

PARAPHRASES = [
    ("The bakery opens at dawn.", "Fresh bread is sold early in the morning."),
    ("The physician examined the sick child.", "A doctor looked at a young patient."),
    ("Heavy rain flooded the streets.", "After the downpour the roads were under water."),
    ("She repaired her bicycle.", "The woman fixed her bike."),
    ("The company dismissed two hundred workers.", "Many employees lost their jobs at the firm."),
    ("A cat slept on the sofa.", "The kitten was napping on the couch."),
    ("Astronauts returned from the space station.", "The crew came back to Earth from orbit."),
    ("He plays the violin in an orchestra.", "The musician performs with a string instrument in a symphony."),
    ("Prices for food have risen.", "Groceries are more expensive now."),
    ("The court found him guilty of theft.", "The judge convicted the man of stealing."),
    ("Students wrote their final exams.", "Pupils took the tests at the end of the year."),
    ("The goalkeeper saved the penalty.", "The keeper stopped the spot kick in the football match."),
]
"""Pairs that mean the same in other words."""


def closeness(a: Vector, b: Vector) -> float:
    """The inner product, which for unit vectors is the cosine."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def farthest(a: Vector, b: Vector) -> float:
    """The largest difference of two components at the same place."""
    return max(abs(x - y) for x, y in zip(a, b, strict=True))
