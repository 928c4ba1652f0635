"""Filters of the local Pinecone: what each operator holds for, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pinecone import Index
from pinecone.errors import ApiError
from storycore_pinecone.testing import Admin

NewIndex = Callable[..., Index]

_RECORDS = {
    "int": {"v": 1},
    "float": {"v": 2.5},
    "text": {"v": "1"},
    "true": {"v": True},
    "list": {"v": ["1", "x"]},
    "none": {"w": 0},
}
_ALL = set(_RECORDS)
_HOLDS: list[tuple[dict[str, object], set[str]]] = [
    ({"v": 1}, {"int"}),
    ({"v": "1"}, {"text", "list"}),
    ({"v": True}, {"true"}),
    ({"v": {"$eq": 1.0}}, {"int"}),
    ({"v": {"$gt": 1}}, {"float"}),
    ({"v": {"$gte": 1}}, {"int", "float"}),
    ({"v": {"$lt": 2.5}}, {"int"}),
    ({"v": {"$lte": 2.5}}, {"int", "float"}),
    ({"v": {"$in": [1, 2.5]}}, {"int", "float"}),
    ({"v": {"$in": ["x", "y"]}}, {"list"}),
    ({"v": {"$exists": True}}, _ALL - {"none"}),
    ({"v": {"$exists": False}}, {"none"}),
    ({"v": {"$gt": 1, "$lt": 2}}, set()),
    ({"$and": [{"v": {"$gt": 0}}, {"v": {"$lt": 2}}]}, {"int"}),
    ({"$or": [{"v": 1}, {"w": 0}]}, {"int", "none"}),
    ({"$or": [{"v": 1}, {"$and": [{"w": 0}, {"v": {"$exists": False}}]}]}, {"int", "none"}),
    ({"v": {"$gte": 1}, "$or": [{"v": 1}, {"v": 3}]}, {"int"}),
    ({"w": 0, "v": 1}, set()),
    ({}, _ALL),
]
_NEGATED: list[tuple[dict[str, object], set[str]]] = [
    ({"v": {"$ne": 1}}, {"float", "text", "true", "list"}),
    ({"v": {"$ne": "x"}}, {"int", "float", "text", "true"}),
    ({"v": {"$nin": ["1", "y"]}}, {"int", "float", "true"}),
]
_REFUSED: list[object] = [
    {"$not": {"v": 1}},
    {"$nor": [{"v": 1}]},
    {"$eq": 1},
    {"v": {"$not": {"$eq": 1}}},
    {"v": {"$contains": "x"}},
    {"v": {}},
    {"v": None},
    {"v": {"$eq": None}},
    {"v": {"$ne": None}},
    {"v": [1]},
    {"v": {"$eq": ["1"]}},
    {"v": {"$gt": "1"}},
    {"v": {"$gt": True}},
    {"v": {"$in": []}},
    {"v": {"$nin": []}},
    {"v": {"$in": 1}},
    {"v": {"$in": [1, "1"]}},
    {"v": {"$in": [True]}},
    {"v": {"$in": [None]}},
    {"v": {"$in": list(range(10_001))}},
    {"v": {"$exists": 1}},
    {"$and": []},
    {"$or": []},
    {"$and": {"v": 1}},
    {"$and": [{}]},
    {"$and": [1]},
    {"$and": None},
]


@pytest.fixture
def index(new_index: NewIndex) -> Index:
    """An index with one record for each kind of value."""
    found = new_index()
    found.upsert(vectors=[(name, [1.0, 0.0], metadata) for name, metadata in _RECORDS.items()])
    return found


def _matching(index: Index, condition: dict[str, object]) -> set[str]:
    return {match.id for match in index.query(vector=[1.0, 0.0], top_k=10, filter=condition).matches}


def test_a_filter_holds_for_the_records_that_the_documentation_says(index: Index) -> None:
    """No kind of value is equal to another kind, and a list is equal to what any of its strings is."""
    assert [(condition, _matching(index, condition)) for condition, _ in _HOLDS] == _HOLDS


@pytest.mark.parametrize("missing", ["exclude", "include"])
def test_what_a_negation_says_of_a_missing_field_can_be_chosen(index: Index, admin: Admin, missing: str) -> None:
    """The service was reported both ways."""
    admin.turn(missing=missing)
    more = {"none"} if missing == "include" else set()
    assert [_matching(index, condition) for condition, _ in _NEGATED] == [found | more for _, found in _NEGATED]


@pytest.mark.parametrize("condition", _REFUSED, ids=lambda condition: str(condition)[:40])
def test_a_filter_that_the_service_does_not_understand_is_refused(index: Index, condition: dict[str, object]) -> None:
    """Wherever a filter may stand."""
    for call in (
        lambda: index.query(vector=[1.0, 0.0], top_k=1, filter=condition),
        lambda: index.fetch_by_metadata(filter=condition),
        lambda: index.update(filter=condition, set_metadata={"k": 1}),
        lambda: index.delete(filter=condition),
    ):
        with pytest.raises(ApiError) as failure:
            call()
        assert failure.value.status_code == 400
    assert index.describe_index_stats().total_vector_count == len(_RECORDS)


def test_a_deep_filter_is_refused_before_it_is_too_deep(index: Index) -> None:
    """The server does not fail on it."""
    condition: dict[str, object] = {"v": 1}
    for _ in range(99):
        condition = {"$and": [condition]}
    assert _matching(index, condition) == {"int"}
    with pytest.raises(ApiError, match="levels deep"):
        _matching(index, {"$or": [condition]})


def test_the_largest_list_of_values_is_allowed(index: Index) -> None:
    """10 000 of them."""
    assert _matching(index, {"v": {"$in": list(range(10_000))}}) == {"int"}
