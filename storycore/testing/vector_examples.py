"""Items and filters that the VectorIndex suite tries, and the short words in which its tests speak."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from storycore.filters import F
from storycore.ports.filters import And, Compare, Eq, Filter, In, MetadataValue, Not, Or, Scalar
from storycore.ports.vectors import Match, TextQuery, VectorIndex, VectorItem, VectorQuery

__all__ = [
    "DIMENSION",
    "FILTERS",
    "IDS",
    "METADATA",
    "MIXED",
    "counted",
    "crowd",
    "found",
    "generations",
    "item",
    "random_filter",
    "search",
    "search_words",
    "vector",
]

DIMENSION = 4
"""Of the vectors in all tables."""


def vector(*numbers: float) -> Any:  # a plain list, which the checks above the port turn into a vector
    """Four numbers, filled up with noughts."""
    return [*map(float, numbers), *[0.0] * (DIMENSION - len(numbers))]


def item(id_: str, *numbers: float, **metadata: MetadataValue) -> VectorItem:
    """An item; without numbers its vector is the first axis."""
    return VectorItem(id_, vector(*(numbers or (1,))), metadata)


def crowd(count: int, seed: int = 7) -> list[VectorItem]:
    """Items on a small grid of whole numbers, so that many have the very same score, in no order of ids."""
    chance = random.Random(seed)
    names = [f"c{i:04d}" for i in range(count)]
    chance.shuffle(names)
    return [
        VectorItem(
            name,
            vector(chance.randint(1, 3), *(chance.randint(-2, 2) for _ in range(DIMENSION - 1))),
            {"n": i, "even": i % 2 == 0, "tags": [f"t{i % 7}", f"u{i % 3}"], "kind": f"k{i % 5}"},
        )
        for i, name in enumerate(names)
    ]


def counted(store: VectorIndex, count: int | None, expected: int) -> None:
    """Assert that a write tells how many items it touched where that is claimed, and ``None`` elsewhere."""
    assert (expected if store.capabilities.has("vectors.delete_count") else None) == count


async def search(store: VectorIndex, *numbers: float, **query: Any) -> list[Match]:
    """The matches of one query; without numbers it looks along the first axis, unless an id is given."""
    values = None if "id" in query else vector(*(numbers or (1,)))
    [matches] = await store.query([VectorQuery(values=values, **query)])
    return matches


async def search_words(store: VectorIndex, text: str, **query: Any) -> list[Match]:
    """The matches of one search by words."""
    [matches] = await store.search_text([TextQuery(text=text, **query)])
    return matches


async def found(store: VectorIndex, where: Filter | None = None, **query: Any) -> list[str]:
    """The ids of all items that match, in ascending order."""
    return sorted(match.id for match in await search(store, where=where, top_k=10_000, **query))


def generations(matches: Sequence[Match]) -> set[int]:
    """The values of the metadata ``generation``."""
    return {int(str(match.metadata["generation"])) for match in matches}


IDS = [
    "a",
    "A",
    "b b",
    "#",
    "%",
    "_",
    "a%",
    "a_b",
    "'; --",
    '"',
    "\\",
    "~",
    " ",
    "0",
    "a/b",
    "..",
    "{}",
    "*",
    "x" * 512,
]

METADATA: dict[str, dict[str, MetadataValue]] = {
    "nothing": {},
    "texts": {"plain": "a", "empty": "", "beyond ASCII": "é e\u0301 漢 👩‍🚀 \U0010ffff", "quotes": "'\"\\\n\t\x00%_"},
    "bools": {"yes": True, "no": False},
    "whole numbers": {"zero": 0, "one": 1, "minus": -1, "largest": 2**53, "least": -(2**53)},
    "fractions": {"half": 0.5, "tiny": 5e-324, "large": 1.7e308, "third": 1 / 3, "minus": -2.5},
    "lists": {"one": ["a"], "several": ["b", "a", "b"], "odd": ["", " ", "é"]},
    "odd keys": {"a.b": 1, "a b": 2, "é": 3, "a'b": 4, "[0]": 5, "id": "x", "slot": 6, "a$": 7},
    "a long text": {"text": "x" * 20_000},
}

MIXED: Sequence[Mapping[str, MetadataValue]] = [
    {},
    {"x": 1},
    {"x": 1.0, "y": "a"},
    {"x": 2},
    {"x": -3.5, "y": "b"},
    {"b": True},
    {"b": False, "y": "a"},
    {"x": 0, "b": False},
    {"y": "1"},
    {"y": ""},
    {"y": ["1", "a"]},
    {"x": 1, "y": ["a", "b"], "b": True},
    {"x": 10, "long": "z" * 100},
    {"x": 2**53, "long": "z" * 99 + "y"},
    {"odd name": 7, "x": 7},
]
"""Fields of every type, and fields that are missing: ``x`` has numbers, ``y`` texts and lists of texts, ``b`` bools."""

FILTERS: dict[str, Filter] = {
    "equal whole number": F.x == 1,
    "equal fraction": F.x == 1.0,
    "equal true": F.b == True,  # noqa: E712 - builds a filter
    "equal false": F.b == False,  # noqa: E712 - builds a filter
    "equal text": F.y == "1",
    "equal empty text": F.y == "",
    "equal element": F.y == "a",
    "equal unknown": F.nowhere == 1,
    "equal long text": F.long == "z" * 100,
    "a number that equals true": F.x == True,  # noqa: E712 - builds a filter
    "a number that equals false": F.x == False,  # noqa: E712 - builds a filter
    "a number that equals a text": F.x == "1",
    "a bool that equals one": F.b == 1,
    "a bool that equals nought": F.b == 0,
    "a text that equals a number": F.y == 1,
    "not equal": F.x != 1,
    "not equal unknown": F.nowhere != 1,
    "not equal to another type": F.y != 1,
    "in": F.x.in_([1, 2, 7]),
    "in a mixture": F.y.in_([1, "a", True]),
    "a number in a mixture": F.x.in_([True, "1", 2]),
    "a bool in a mixture": F.b.in_([0, True, "x"]),
    "in nothing": F.x.in_([]),
    "in other types": F.b.in_([1, "a"]),
    "not in": F.y.not_in([1, 2, "a"]),
    "not in nothing": F.x.not_in([]),
    "not in other types": F.b.not_in([1, 0]),
    "above": F.x > 1,
    "at least": F.x >= 1,
    "below": F.x < 1,
    "at most": F.x <= 1,
    "above a fraction": F.x > 1.5,
    "a text above a number": F.y > 0,
    "a bool above a number": F.b > -1,
    "above what no float can say": F.x > 2**53 + 1,
    "equal to what no float can say": F.x == 2**53 + 1,
    "at least what no float can say": F.x >= 2**53 + 1,
    "below what no float can say": F.x < 2**53 + 1,
    "at most what no float can say": F.x <= 2**53 + 1,
    "beyond all floats": F.x < 10**400,
    "below all floats": F.x < -(10**400),
    "above unknown": F.nowhere > 0,
    "not above": ~(F.x > 1),
    "exists": F.x.exists(),
    "does not exist": ~F.x.exists(),
    "is a bool": F.b.exists(),
    "contains": F.y.contains("b"),
    "does not contain": ~F.y.contains("b"),
    "and": (F.x == 1) & (F.y == "a"),
    "and that contradicts itself": (F.x == 1) & (F.x == 2),
    "and over elements": F.y.contains("a") & F.y.contains("b"),
    "or": (F.x == 1) | (F.y == "b"),
    "or with its opposite": (F.x == 1) | (F.x != 1),
    "not and": ~((F.x == 1) & (F.y == "a")),
    "not or": ~((F.x == 1) | (F.y == "a")),
    "one term": And((F.x == 1,)),
    "one alternative": Or((F.x == 1,)),
    "twice not": Not(Not(F.x == 1)),
    "between": (F.x >= -4) & (F.x < 2),
    "odd name": F["odd name"] == 7,
    "deep": ~(~((F.x > 0) | ~F.y.exists()) & (F.b.not_in([True]) | (F.y != "a"))),
}

_LEAVES: list[Scalar] = [-3.5, 0, 1, 1.0, 2, 7, True, False, "", "1", "a", "b", "z" * 100]


def random_filter(chance: random.Random, depth: int = 4) -> Filter:
    """A filter over the fields of ``MIXED``."""
    field, value = chance.choice(["x", "y", "b", "nowhere"]), chance.choice(_LEAVES)
    kind = chance.choice(["eq", "in", "compare", "exists"] + ["and", "or", "not"] * (depth > 1))
    if kind == "eq":
        return Eq(field, value)
    if kind == "in":
        return In(field, tuple(chance.sample(_LEAVES, chance.randint(0, 4))))
    if kind == "compare":
        op: Any = chance.choice(["gt", "gte", "lt", "lte"])
        return Compare(field, op, chance.choice([-4, -3.5, 0, 1, 1.5, 2, 10]))
    if kind == "exists":
        return F[field].exists()
    if kind == "not":
        return Not(random_filter(chance, depth - 1))
    terms = tuple(random_filter(chance, depth - 1) for _ in range(chance.randint(1, 3)))
    return And(terms) if kind == "and" else Or(terms)
