"""Texts that the VectorIndex suite stores and searches by words, with what has to be found."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from storycore.ports.vectors import VectorItem
from storycore.testing.vector_examples import item

__all__ = ["SEARCHES", "TEXTS", "library", "phrase"]

TEXTS: Mapping[str, str] = {
    "mill": "The River, the mill; the FIRE!",
    "fires": "fires along the rivers",
    "cafe": "Café Zoe\u0308, naïve cliche\u0301",
    "quotes": "O'Brien said \"stop\" (and 'go') -- ok? 50%",
    "code": "snake_case camelCase x=1+y*2 path/to/file.txt",
    "syntax": "AND or Not NEAR",
    "chinese": "漢字と仮名 river",
    "other script": "हिन्दी में नदी",
    "wide": "Ｆｕｌｌ ﬁne straße ΣΑΣ",
    "numbers": "42 420 4.2 ٤٢",
    "emoji": "👩‍🚀 rocket™ 100€",
    "blank": " \n\t.,;!?",
    "empty": "",
}

SEARCHES: Mapping[str, tuple[str, set[str]]] = {
    "one word": ("river", {"mill", "chinese"}),
    "any of several": ("mill nowhere cafe", {"mill", "cafe"}),
    "another case": ("RiVeR", {"mill", "chinese"}),
    "no endings are cut off": ("rivers", {"fires"}),
    "no prefixes": ("riv", set()),
    "with accents": ("café", {"cafe"}),
    "accents that stand alone": ("zoe\u0308 cliche", {"cafe"}),
    "other accents": ("cäfè nâive", {"cafe"}),
    "an apostrophe": ("o'brien", {"quotes"}),
    "quotes": ("\"stop\" 'go'", {"quotes"}),
    "a quote that is not closed": ('"river', {"mill", "chinese"}),
    "two quotes in one": ('""river""', {"mill", "chinese"}),
    "operators": ("river AND fire", {"mill", "chinese", "quotes", "syntax"}),
    "only operators": ("NOT", {"syntax"}),
    "a function": ("NEAR(river fire, 5)", {"mill", "chinese", "syntax"}),
    "a column": ("text:river", {"mill", "chinese"}),
    "a column in braces": ("{text} : fires", {"fires"}),
    "a minus": ("-river", {"mill", "chinese"}),
    "a caret": ("^mill", {"mill"}),
    "a star": ("riv* fires*", {"fires"}),
    "a plus": ("snake + case", {"code"}),
    "an underscore divides": ("snake", {"code"}),
    "a path": ("path/to/file.txt", {"code"}),
    "a per cent sign": ("50%", {"quotes"}),
    "a backslash": ("mill\\", {"mill"}),
    "a semicolon": ("mill'; DROP TABLE item; --", {"mill"}),
    "NUL": ("river\0nowhere", {"mill", "chinese"}),
    "one Chinese character": ("字", {"chinese"}),
    "Chinese characters in another order": ("字漢", {"chinese"}),
    "kana": ("と", {"chinese"}),
    "vowel signs are kept": ("हिन्दी", {"other script"}),
    "without its vowel signs it is another word": ("हनद", set()),
    "full width": ("full", {"wide"}),
    "a ligature": ("fine", {"wide"}),
    "a sharp s": ("STRASSE", {"wide"}),
    "a final sigma": ("σας", {"wide"}),
    "numbers are words": ("42", {"numbers"}),
    "half a surrogate pair": ("river \ud800", {"mill", "chinese"}),
    "signs are no words": ("👩‍🚀 ™ € % -", set()),
    "nothing": ("", set()),
    "blanks": (" \n\t", set()),
}
"""What is asked to the ids of ``TEXTS`` that have to be found."""

_VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "rst"]


def phrase(chance: random.Random, most: int) -> str:
    """Up to ``most`` words, a few of them frequent and most of them rare, as in a language."""
    return " ".join(_VOCABULARY[int(len(_VOCABULARY) * chance.random() ** 3)] for _ in range(chance.randint(0, most)))


def library(count: int, seed: int) -> list[VectorItem]:
    """Items with texts of 0 to 40 words, lists of texts, and some without a text."""
    chance = random.Random(seed)
    items: list[VectorItem] = []
    for n in range(count):
        metadata: dict[str, Any] = {"n": n, "kind": f"k{n % 4}"}
        if chance.random() < 0.9:
            listed = chance.random() < 0.2
            metadata["text"] = [phrase(chance, 10) for _ in range(3)] if listed else phrase(chance, 40)
        items.append(item(f"d{chance.randint(0, 10**6):06d}", n + 1, 1, **metadata))
    return list({each.id: each for each in items}.values())
