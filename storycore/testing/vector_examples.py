"""Items, filters and arguments that the VectorIndex suite tries: what must be kept, and what must be refused."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from storycore.errors import InvalidArgument, InvalidFilter, InvalidKey, TooLarge
from storycore.filters import F
from storycore.ports.filters import And, Compare, Eq, Filter, In, MetadataValue, Not, Or, Scalar
from storycore.ports.vectors import Match, VectorIndex, VectorItem, VectorQuery

__all__ = [
    "BAD_DELETES",
    "BAD_ITEMS",
    "BAD_LISTINGS",
    "BAD_QUERIES",
    "BAD_UPDATES",
    "DIMENSION",
    "FILTERS",
    "IDS",
    "METADATA",
    "MIXED",
    "crowd",
    "found",
    "generations",
    "item",
    "random_filter",
    "search",
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


async def search(store: VectorIndex, *numbers: float, **query: Any) -> list[Match]:
    """The matches of one query; without numbers it looks along the first axis, unless an id is given."""
    values = None if "id" in query else vector(*(numbers or (1,)))
    [matches] = await store.query([VectorQuery(values=values, **query)])
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
    {"x": True},
    {"x": False, "y": "a"},
    {"x": "1"},
    {"x": ""},
    {"x": ["1", "a"]},
    {"x": ["a", "b"], "y": ["a"]},
    {"y": 10, "long": "z" * 100},
    {"y": 2**53, "long": "z" * 99 + "y"},
    {"odd name": 7, "x": 7},
]
"""Fields of every type, and fields that are missing."""

FILTERS: dict[str, Filter] = {
    "equal whole number": F.x == 1,
    "equal fraction": F.x == 1.0,
    "equal true": F.x == True,  # noqa: E712 - builds a filter
    "equal false": F.x == False,  # noqa: E712 - builds a filter
    "equal text": F.x == "1",
    "equal empty text": F.x == "",
    "equal element": F.x == "a",
    "equal unknown": F.nowhere == 1,
    "equal long text": F.long == "z" * 100,
    "not equal": F.x != 1,
    "not equal unknown": F.nowhere != 1,
    "in": F.x.in_([1, "a", True]),
    "in nothing": F.x.in_([]),
    "not in": F.x.not_in([1, 2, "a"]),
    "not in nothing": F.x.not_in([]),
    "above": F.x > 1,
    "at least": F.x >= 1,
    "below": F.x < 1,
    "at most": F.x <= 1,
    "above a fraction": F.x > 1.5,
    "above what no float can say": F.y > 2**53 + 1,
    "equal to what no float can say": F.y == 2**53 + 1,
    "at least what no float can say": F.y >= 2**53 + 1,
    "below what no float can say": F.y < 2**53 + 1,
    "at most what no float can say": F.y <= 2**53 + 1,
    "beyond all floats": F.y < 10**400,
    "below all floats": F.y < -(10**400),
    "above unknown": F.nowhere > 0,
    "not above": ~(F.x > 1),
    "exists": F.x.exists(),
    "does not exist": ~F.x.exists(),
    "contains": F.x.contains("b"),
    "does not contain": ~F.x.contains("b"),
    "and": (F.x == 1) & (F.y == "a"),
    "and that contradicts itself": (F.x == 1) & (F.x == 2),
    "and over elements": F.x.contains("a") & F.x.contains("b"),
    "or": (F.x == 1) | (F.y == "b"),
    "or with its opposite": (F.x == 1) | (F.x != 1),
    "not and": ~((F.x == 1) & (F.y == "a")),
    "not or": ~((F.x == 1) | (F.y == "a")),
    "one term": And((F.x == 1,)),
    "one alternative": Or((F.x == 1,)),
    "twice not": Not(Not(F.x == 1)),
    "between": (F.x >= -4) & (F.x < 2),
    "odd name": F["odd name"] == 7,
    "deep": ~(~((F.x > 0) | ~F.y.exists()) & (F.x.not_in(["a"]) | (F.y != "a"))),
}

_LEAVES: list[Scalar] = [-3.5, 0, 1, 1.0, 2, 7, True, False, "", "1", "a", "b", "z" * 100]


def random_filter(chance: random.Random, depth: int = 4) -> Filter:
    """A filter over the fields of ``MIXED``."""
    field, value = chance.choice(["x", "y", "nowhere"]), chance.choice(_LEAVES)
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


def _with(metadata: Any) -> VectorItem:
    return VectorItem("a", vector(1), metadata)


def _of(values: Any, id_: Any = "a") -> VectorItem:
    return VectorItem(id_, values)


BAD_ITEMS: dict[str, tuple[VectorItem, type[InvalidArgument]]] = {
    "empty id": (item(""), InvalidKey),
    "long id": (item("x" * 513), InvalidKey),
    "id beyond ASCII": (item("é"), InvalidKey),
    "id with a line break": (item("a\n"), InvalidKey),
    "id with NUL": (item("a\0"), InvalidKey),
    "id that is no text": (_of(vector(1), 7), InvalidKey),
    "too few dimensions": (_of([1.0] * (DIMENSION - 1)), InvalidArgument),
    "too many dimensions": (_of([1.0] * (DIMENSION + 1)), InvalidArgument),
    "no dimensions": (_of([]), InvalidArgument),
    "all zero": (_of([0.0] * DIMENSION), InvalidArgument),
    "all zero as float32": (_of([1e-60] * DIMENSION), InvalidArgument),
    "NaN": (item("a", float("nan")), InvalidArgument),
    "infinity": (item("a", float("inf")), InvalidArgument),
    "both infinities": (item("a", float("inf"), float("-inf")), InvalidArgument),
    "beyond float32": (item("a", 1e39), InvalidArgument),
    "NaN in a float32 array": (_of(array("f", [1, float("nan"), 0, 0])), InvalidArgument),
    "bool in the vector": (_of([True, 1.0, 0.0, 0.0]), InvalidArgument),
    "text in the vector": (_of([1.0, "2", 0.0, 0.0]), InvalidArgument),
    "None in the vector": (_of([1.0, None, 0.0, 0.0]), InvalidArgument),
    "a text as the vector": (_of("abcd"), InvalidArgument),
    "bytes as the vector": (_of(b"abcd"), InvalidArgument),
    "None as the vector": (_of(None), InvalidArgument),
    "metadata None": (_with({"a": None}), InvalidArgument),
    "metadata NaN": (_with({"a": float("nan")}), InvalidArgument),
    "metadata infinity": (_with({"a": float("inf")}), InvalidArgument),
    "metadata integer beyond 2**53": (_with({"a": 2**53 + 1}), InvalidArgument),
    "metadata mapping": (_with({"a": {"b": 1}}), InvalidArgument),
    "metadata list of numbers": (_with({"a": [1, 2]}), InvalidArgument),
    "metadata list with None": (_with({"a": ["x", None]}), InvalidArgument),
    "metadata bytes": (_with({"a": b"x"}), InvalidArgument),
    "metadata with half a surrogate pair": (_with({"a": "\ud800"}), InvalidArgument),
    "metadata key that is empty": (_with({"": 1}), InvalidArgument),
    "metadata key with a dollar sign": (_with({"$a": 1}), InvalidArgument),
    "metadata key that is no text": (_with({1: 1}), InvalidArgument),
    "metadata that is no mapping": (_with([("a", 1)]), InvalidArgument),
    "metadata that is too large": (_with({"a": "x" * 40_960}), TooLarge),
}

_AXIS = vector(1)
BAD_QUERIES: dict[str, tuple[dict[str, Any], type[InvalidArgument]]] = {
    "neither values nor id": ({}, InvalidArgument),
    "both values and id": ({"values": _AXIS, "id": "a"}, InvalidArgument),
    "wrong dimension": ({"values": [1.0]}, InvalidArgument),
    "all zero": ({"values": [0.0] * DIMENSION}, InvalidArgument),
    "NaN": ({"values": vector(float("nan"))}, InvalidArgument),
    "empty id": ({"id": ""}, InvalidKey),
    "top_k 0": ({"values": _AXIS, "top_k": 0}, InvalidArgument),
    "top_k 10 001": ({"values": _AXIS, "top_k": 10_001}, InvalidArgument),
    "top_k True": ({"values": _AXIS, "top_k": True}, InvalidArgument),
    "top_k as text": ({"values": _AXIS, "top_k": "3"}, InvalidArgument),
    "min_score NaN": ({"values": _AXIS, "min_score": float("nan")}, InvalidArgument),
    "min_score as text": ({"values": _AXIS, "min_score": "0.5"}, InvalidArgument),
    "namespace beyond ASCII": ({"values": _AXIS, "namespace": "é"}, InvalidKey),
    "an empty and": ({"values": _AXIS, "where": And(())}, InvalidFilter),
    "a bound that is a text": ({"values": _AXIS, "where": Compare("x", "gt", "1")}, InvalidFilter),  # type: ignore[arg-type]  # what is refused
    "a value that is None": ({"values": _AXIS, "where": Eq("x", None)}, InvalidFilter),  # type: ignore[arg-type]  # what is refused
    "a field that is empty": ({"values": _AXIS, "where": Eq("", 1)}, InvalidFilter),
    "a filter that is a text": ({"values": _AXIS, "where": "x == 1"}, InvalidFilter),
    "an unknown operator": ({"values": _AXIS, "where": {"x": {"$near": 1}}}, InvalidFilter),
}

BAD_DELETES: dict[str, dict[str, Any]] = {
    "nothing chosen": {},
    "all=False": {"all": False},
    "ids and all": {"ids": ["a"], "all": True},
    "ids and a filter": {"ids": ["a"], "where": F.x == 1},
    "a filter and all": {"where": F.x == 1, "all": True},
    "an empty filter": {"where": {}},
    "one text as ids": {"ids": "a"},
    "an empty id": {"ids": [""]},
    "a bad filter": {"where": Or(())},
    "a namespace beyond ASCII": {"all": True, "namespace": "é"},
}

BAD_LISTINGS: dict[str, dict[str, Any]] = {
    "limit 0": {"limit": 0},
    "limit 1001": {"limit": 1001},
    "limit True": {"limit": True},
    "limit as text": {"limit": "1"},
    "after that is empty": {"after": ""},
    "after that is no text": {"after": 7},
    "namespace beyond ASCII": {"namespace": "é"},
}

BAD_UPDATES: dict[str, dict[str, Any]] = {
    "an empty id": {"id": ""},
    "wrong dimension": {"values": [1.0]},
    "all zero": {"values": [0.0] * DIMENSION},
    "None as metadata": {"set": {"a": None}},
    "a key with a dollar sign": {"set": {"$a": 1}},
    "one key set and removed": {"set": {"a": 1}, "unset": ["a"]},
    "one text as unset": {"unset": "a"},
    "an empty key to remove": {"unset": [""]},
    "too much metadata": {"set": {"a": "x" * 40_960}},
    "too much metadata with what is stored": {"set": {"b": "x" * 30_000}},
}
