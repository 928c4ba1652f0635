"""The data plane of the local Pinecone: what is written is read, in the shapes that the vendor's client decodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from pinecone import Index
from pinecone.errors import ApiError, ConflictError, NotFoundError
from storycore_pinecone.testing import Admin

NewIndex = Callable[..., Index]
Raw = Callable[..., tuple[int, dict[str, object], Mapping[str, str]]]

_LETTERS = [("a", [1.0, 0.0], {"n": 1, "tags": ["x", "y"]}), ("b", [0.0, 1.0], {"n": 2}), ("c", [1.0, 1.0])]


def _ids(index: Index, **what: object) -> list[str]:
    return [item.id for page in index.list(**what) for item in page.vectors]


def test_a_record_comes_back_with_numbers_as_floats(new_index: NewIndex) -> None:
    """Vectors are 32-bit floats, and numbers of metadata are 64-bit floats whatever they were."""
    index = new_index()
    index.upsert(vectors=[("a", [0.1, 2.0], {"year": 2020, "on": True, "name": "ä", "tags": ["x", "y"]})])
    found = index.fetch(ids=["a", "unknown"]).vectors
    assert list(found) == ["a"]
    assert found["a"].values == [float(np.float32(0.1)), 2.0]
    assert found["a"].metadata == {"year": 2020.0, "on": True, "name": "ä", "tags": ["x", "y"]}
    assert isinstance(found["a"].metadata["year"], float)
    assert found["a"].metadata["on"] is True


def test_a_record_without_metadata_has_none(new_index: NewIndex) -> None:
    """An empty object is no metadata."""
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0]), ("b", [1.0, 0.0], {})])
    assert [record.metadata for record in index.fetch(ids=["a", "b"]).vectors.values()] == [None, None]


def test_an_upsert_replaces_the_whole_record(new_index: NewIndex) -> None:
    """Metadata of before is gone, and of two in one request the last one stays."""
    index = new_index()
    index.upsert(vectors=_LETTERS)
    assert index.upsert(vectors=[("a", [2.0, 0.0], {"k": "1"}), ("a", [3.0, 0.0], {"k": "2"})]).upserted_count == 2
    found = index.fetch(ids=["a"]).vectors["a"]
    assert (found.values, found.metadata) == ([3.0, 0.0], {"k": "2"})


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("cosine", [("a", 1.0), ("c", 2**-0.5), ("b", 0.0)]),
        ("dotproduct", [("c", 2.0), ("a", 2.0), ("b", 0.0)]),
        ("euclidean", [("a", 1.0), ("c", 2.0), ("b", 5.0)]),
    ],
)
def test_scores_are_those_of_the_metric(new_index: NewIndex, metric: str, expected: list[tuple[str, float]]) -> None:
    """Euclidean scores are squared distances, the least of which is the best."""
    index = new_index(metric=metric)
    index.upsert(vectors=_LETTERS)
    found = [(match.id, match.score) for match in index.query(vector=[2.0, 0.0], top_k=3).matches]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-6)
    assert {key for key, _ in found[:2]} == {key for key, _ in expected[:2]}


def test_a_query_gives_what_it_is_asked_for(new_index: NewIndex) -> None:
    """Values and metadata come on request, and no more matches than wanted."""
    index = new_index()
    index.upsert(vectors=_LETTERS)
    plain = index.query(vector=[1.0, 0.1], top_k=1).matches
    full = index.query(vector=[1.0, 0.1], top_k=1, include_values=True, include_metadata=True).matches
    assert [(match.id, match.values, match.metadata) for match in plain] == [("a", [], None)]
    assert [(match.id, match.values, match.metadata) for match in full] == [("a", [1.0, 0.0], _LETTERS[0][2])]


def test_a_query_by_id_takes_the_vector_of_the_record(new_index: NewIndex) -> None:
    """The record itself is the best match, and an unknown one has no neighbours."""
    index = new_index()
    index.upsert(vectors=_LETTERS)
    assert index.query(id="b", top_k=1).matches[0].id == "b"
    assert index.query(id="unknown", top_k=1).matches == []


def test_a_filter_chooses_among_all_records(new_index: NewIndex) -> None:
    """The best of those for which it holds come, however far they are."""
    index = new_index()
    index.upsert(vectors=_LETTERS)
    assert [match.id for match in index.query(vector=[1.0, 0.0], top_k=1, filter={"n": {"$gte": 2}}).matches] == ["b"]
    assert len(index.query(vector=[1.0, 0.0], top_k=10, filter={}).matches) == 3


def test_equal_scores_come_in_any_order(new_index: NewIndex, admin: Admin) -> None:
    """Who relies on the order of ties is found out; one knob keeps it."""
    index = new_index()
    index.upsert(vectors=[(name, [1.0, 0.0]) for name in "abcdef"])
    firsts = Counter(index.query(vector=[1.0, 0.0], top_k=1).matches[0].id for _ in range(40))
    assert len(firsts) > 2
    admin.turn(shuffle_ties=False)
    assert {index.query(vector=[1.0, 0.0], top_k=1).matches[0].id for _ in range(5)} == {"a"}


def test_an_update_merges_metadata_and_replaces_values(new_index: NewIndex) -> None:
    """What is not named stays, and a record that is not there stays away."""
    index = new_index()
    index.upsert(vectors=_LETTERS)
    index.update(id="a", set_metadata={"n": 9, "k": True})
    index.update(id="a", values=[5.0, 5.0])
    index.update(id="unknown", set_metadata={"n": 9})
    found = index.fetch(ids=["a", "unknown"]).vectors
    assert list(found) == ["a"]
    assert (found["a"].values, found["a"].metadata) == ([5.0, 5.0], {"n": 9.0, "tags": ["x", "y"], "k": True})


def test_an_update_by_filter_counts_what_it_changes(new_index: NewIndex) -> None:
    """A dry run counts and changes nothing."""
    index = new_index()
    index.upsert(vectors=_LETTERS)
    where = {"n": {"$lte": 2}}
    assert index.update(filter=where, set_metadata={"k": 1}, dry_run=True).matched_records == 2
    assert index.query(vector=[1.0, 0.0], top_k=3, filter={"k": 1}).matches == []
    assert index.update(filter=where, set_metadata={"k": 1}).matched_records == 2
    assert {match.id for match in index.query(vector=[1.0, 0.0], top_k=3, filter={"k": 1}).matches} == {"a", "b"}


def test_a_dry_run_by_id_is_none(new_index: NewIndex) -> None:
    """It changes the record, as users of the service report (pinecone-io/python-sdk, issue 670)."""
    index = new_index()
    index.upsert(vectors=_LETTERS)
    assert index.update(id="c", set_metadata={"n": 3}, dry_run=True).matched_records is None
    assert index.fetch(ids=["c"]).vectors["c"].metadata == {"n": 3.0}


def test_deletes_are_by_ids_by_filter_and_of_all(new_index: NewIndex) -> None:
    """Unknown ids are passed over, and an emptied namespace is still there."""
    index = new_index()
    index.upsert(vectors=[*_LETTERS, ("d", [1.0, 2.0], {"n": 4})])
    index.delete(ids=["a", "unknown"])
    assert _ids(index) == ["b", "c", "d"]
    index.delete(filter={"n": 2})
    assert _ids(index) == ["c", "d"]
    index.delete(delete_all=True)
    assert _ids(index) == []
    assert index.describe_namespace(name="__default__").record_count == 0


def test_a_delete_in_an_unknown_namespace_is_refused(new_index: NewIndex, admin: Admin) -> None:
    """As the service was reported to do; one knob makes it pass."""
    index = new_index()
    with pytest.raises(NotFoundError, match="Namespace not found"):
        index.delete(ids=["a"], namespace="unknown")
    admin.turn(delete_in_unknown_namespace="ignore")
    index.delete(ids=["a"], namespace="unknown")
    assert index.describe_index_stats().namespaces == {}


def test_listings_come_in_pages_in_bitwise_order(new_index: NewIndex) -> None:
    """By prefix, no id twice and none left out."""
    index = new_index()
    names = [f"s-{number}" for number in range(7)] + ["S-0", "t-0"]
    index.upsert(vectors=[(name, [1.0, 0.0]) for name in names])
    page = index.list_paginated(prefix="s-", limit=3)
    assert [item.id for item in page.vectors] == ["s-0", "s-1", "s-2"]
    assert page.pagination is not None
    rest = index.list_paginated(prefix="s-", limit=4, pagination_token=page.pagination.next)
    assert ([item.id for item in rest.vectors], rest.pagination) == (["s-3", "s-4", "s-5", "s-6"], None)
    assert _ids(index, limit=2) == sorted(names)


def test_a_fetch_by_metadata_comes_in_pages(new_index: NewIndex) -> None:
    """Each record for which the filter holds comes once."""
    index = new_index()
    index.upsert(vectors=[(f"s-{number}", [1.0, 0.0], {"n": number}) for number in range(5)])
    first = index.fetch_by_metadata(filter={"n": {"$gte": 1}}, limit=3)
    assert first.pagination is not None
    token = first.pagination.next
    second = index.fetch_by_metadata(filter={"n": {"$gte": 1}}, limit=3, pagination_token=token)
    assert [*first.vectors, *second.vectors] == ["s-1", "s-2", "s-3", "s-4"]
    assert second.pagination is None


def test_a_foreign_page_token_is_refused(new_index: NewIndex) -> None:
    """A token is nothing that a client can make."""
    with pytest.raises(ApiError, match="Invalid pagination token"):
        new_index().list_paginated(pagination_token="a")


def test_namespaces_are_apart(new_index: NewIndex) -> None:
    """The empty name and ``__default__`` are one, and an unknown namespace is empty."""
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0])])
    index.upsert(vectors=[("b", [1.0, 0.0])], namespace="other")
    assert (_ids(index), _ids(index, namespace="__default__"), _ids(index, namespace="other")) == (["a"], ["a"], ["b"])
    assert index.query(vector=[1.0, 0.0], top_k=1, namespace="unknown").matches == []
    stats = index.describe_index_stats()
    assert {name: space.vector_count for name, space in stats.namespaces.items()} == {"__default__": 1, "other": 1}
    assert (stats.total_vector_count, stats.dimension, stats.metric, stats.vector_type) == (2, 2, "cosine", "dense")


def test_namespaces_are_made_listed_described_and_deleted(new_index: NewIndex) -> None:
    """With pages and prefixes; a deleted one takes its records along."""
    index = new_index()
    for name in ("t-1", "t-2", "u-1"):
        index.create_namespace(name=name)
    index.upsert(vectors=[("a", [1.0, 0.0])], namespace="t-2")
    with pytest.raises(ConflictError):
        index.create_namespace(name="t-1")
    page = index.list_namespaces_paginated(prefix="t-", limit=1)
    assert ([found.name for found in page.namespaces], page.total_count) == (["t-1"], 2)
    assert [found.name for pages in index.list_namespaces(limit=2) for found in pages.namespaces] == [
        "t-1",
        "t-2",
        "u-1",
    ]
    assert index.describe_namespace(name="t-2").record_count == 1
    index.delete_namespace(name="t-2")
    with pytest.raises(NotFoundError):
        index.describe_namespace(name="t-2")
    assert index.fetch(ids=["a"], namespace="t-2").vectors == {}


def test_counts_of_namespaces_are_decimal_strings(new_index: NewIndex, raw: Raw) -> None:
    """As 64-bit integers are in that part of the vendor's definition; the client takes them for numbers."""
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0], {"n": 1, "k": "x"})], namespace="t")
    found = raw("GET", "/i/stories/namespaces/t")[1]
    assert found == {"name": "t", "record_count": "1", "size_bytes": "8", "indexed_fields": {"fields": ["k", "n"]}}
    assert index.describe_namespace(name="t").record_count == 1


def test_the_default_namespace_is_always_there(new_index: NewIndex, raw: Raw) -> None:
    """Described and emptied before anything was written, and never made."""
    index = new_index()
    assert index.describe_namespace(name="__default__").record_count == 0
    index.delete(delete_all=True)
    assert raw("POST", "/i/stories/namespaces", {"name": "__default__"})[0] == 409


def test_what_a_namespace_declares_filterable_comes_back(new_index: NewIndex) -> None:
    """The schema of a namespace is kept as it was sent."""
    index = new_index()
    index.create_namespace(name="t", schema={"fields": {"year": {"filterable": True}}})
    schema = index.describe_namespace(name="t").schema
    assert schema is not None
    assert schema.fields["year"].filterable is True
