"""Arguments that every vector index has to refuse, each with the error that says so."""

from __future__ import annotations

from array import array
from typing import Any, cast

from storycore.errors import InvalidArgument, InvalidFilter, InvalidKey, StorycoreError, TooLarge, Unsupported
from storycore.filters import F
from storycore.ports.filters import And, Compare, Eq, Or
from storycore.ports.vectors import VectorItem
from storycore.testing.vector_examples import DIMENSION, item, vector

__all__ = [
    "BAD_DELETES",
    "BAD_ITEMS",
    "BAD_LISTINGS",
    "BAD_QUERIES",
    "BAD_TEXT_QUERIES",
    "BAD_UPDATES",
    "BAD_UPDATES_BY_FILTER",
]


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
    "all nearer to zero than 1e-8": (_of([9e-9, -9e-9, *[0.0] * (DIMENSION - 2)]), InvalidArgument),
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
    "id and vector in a tuple": (cast(Any, ("a", vector(1))), InvalidArgument),
    "a mapping": (cast(Any, {"id": "a", "values": vector(1)}), InvalidArgument),
}

_AXIS = vector(1)
BAD_QUERIES: dict[str, tuple[dict[str, Any], type[StorycoreError] | tuple[type[StorycoreError], ...]]] = {
    "neither values nor id": ({}, InvalidArgument),
    "a number as at_least": ({"values": _AXIS, "at_least": 1}, (InvalidArgument, Unsupported)),
    "an endless number as at_least": ({"values": _AXIS, "at_least": "9" * 5000}, (InvalidArgument, Unsupported)),
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
    "wait that is negative": ({"values": _AXIS, "wait": -0.1}, InvalidArgument),
    "wait without end": ({"values": _AXIS, "wait": float("inf")}, InvalidArgument),
    "wait NaN": ({"values": _AXIS, "wait": float("nan")}, InvalidArgument),
    "wait True": ({"values": _AXIS, "wait": True}, InvalidArgument),
    "wait as text": ({"values": _AXIS, "wait": "1"}, InvalidArgument),
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
    "a number as ids": {"ids": 7},
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
    "a number as unset": {"unset": 7},
    "an empty key to remove": {"unset": [""]},
    "too much metadata": {"set": {"a": "x" * 40_960}},
    "too much metadata with what is stored": {"set": {"b": "x" * 30_000}},
}

BAD_UPDATES_BY_FILTER: dict[str, dict[str, Any]] = {
    "no filter": {"where": None, "set": {"a": "y"}},
    "an empty filter": {"where": {}, "set": {"a": "y"}},
    "an empty or": {"where": Or(()), "set": {"a": "y"}},
    "an unknown operator": {"where": {"x": {"$near": 1}}, "set": {"a": "y"}},
    "a filter that is a text": {"where": "a == 1", "set": {"a": "y"}},
    "None as metadata": {"where": F.a.exists(), "set": {"a": None}},
    "a key with a dollar sign": {"where": F.a.exists(), "set": {"$a": 1}},
    "metadata that is no mapping": {"where": F.a.exists(), "set": [("a", 1)]},
    "one key set and removed": {"where": F.a.exists(), "set": {"a": "y"}, "unset": ["a"]},
    "one text as unset": {"where": F.a.exists(), "unset": "a"},
    "too much metadata": {"where": F.a.exists(), "set": {"a": "x" * 40_960}},
    "namespace beyond ASCII": {"where": F.a.exists(), "set": {"a": "y"}, "namespace": "é"},
}

BAD_TEXT_QUERIES: dict[str, tuple[dict[str, Any], type[InvalidArgument]]] = {
    "None as text": ({"text": None}, InvalidArgument),
    "bytes as text": ({"text": b"river"}, InvalidArgument),
    "a list as text": ({"text": ["river"]}, InvalidArgument),
    "top_k 0": ({"text": "river", "top_k": 0}, InvalidArgument),
    "top_k 10 001": ({"text": "river", "top_k": 10_001}, InvalidArgument),
    "top_k True": ({"text": "river", "top_k": True}, InvalidArgument),
    "wait that is negative": ({"text": "river", "wait": -1}, InvalidArgument),
    "namespace beyond ASCII": ({"text": "river", "namespace": "é"}, InvalidKey),
    "an empty and": ({"text": "river", "where": And(())}, InvalidFilter),
    "an unknown operator": ({"text": "river", "where": {"x": {"$near": 1}}}, InvalidFilter),
}
