"""The queries and texts with which the reranker suite asks."""

from __future__ import annotations

__all__ = ["ANSWERS", "BLANK", "TEXTS", "WRONG_CALLS"]

BLANK = ["", " ", "\t\n", "\u00a0\u2003\u3000"]

ANSWERS = [
    (
        "Which canal carried freight boats around the falls?",
        "The canal carried freight boats around the falls of the river.",
    ),
    ("Who edited the literary messenger?", "The poet edited the literary messenger for two years."),
    ("When did the bakery open its doors?", "The bakery did open its doors when the war was over."),
    ("How many railroad lines cross here?", "Three railroad lines cross here, one above the other, as many know."),
]
"""Questions, each with a text that answers it in the same words, so that every reranker sees it."""

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
    "a long text": "Barges carried flour, and mules walked the towpath beside the river. " * 200,
    "markup": "<b>bold</b> & **stars** [link](http://example.org)",
    "special tokens": "[CLS] [SEP] [PAD] [UNK] </s> <|endoftext|>",
}

WRONG_CALLS: list[tuple[object, object]] = [
    ("river", "one text"),
    ("river", None),
    ("river", 7),
    ("river", ["\ud800 lone"]),
    ("river", [b"river"]),
    ("river", [None]),
    ("\ud800 lone", ["river"]),
    (None, ["river"]),
    (b"river", ["river"]),
]
"""Queries and texts of calls that mean nothing."""
