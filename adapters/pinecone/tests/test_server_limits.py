"""Limits of the local Pinecone: the largest that is allowed passes, and one more is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

import orjson
import pytest
from pinecone import Index
from pinecone.errors import ApiError

NewIndex = Callable[..., Index]
Raw = Callable[..., tuple[int, dict[str, object], Mapping[str, str]]]

_STORIES = "/i/stories"


def _refused(raw: Raw, path: str, body: object, told: str) -> None:
    status, found, _ = raw("POST", f"{_STORIES}{path}", body)
    assert (status, found["code"], found["details"]) == (400, 3, [])
    assert told in str(found["message"])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1.0], "Vector dimension 1 does not match the dimension of the index 2"),
        ([], "Vector dimension 0 does not match"),
        ([0.0, -0.0], "Vector ID 'a' contains only zeros"),
        ([9e-9, -9e-9], "contains only zeros"),
        ([1e39, 0.0], "does not fit 32-bit floats"),
        ([True, 0.0], "expected numbers"),
        (["1", 0.0], "expected numbers"),
        ([None, 0.0], "expected numbers"),
    ],
)
def test_a_vector_that_cannot_be_stored_is_refused(
    new_index: NewIndex, raw: Raw, values: list[object], told: str
) -> None:
    """Neither upserted nor updated."""
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0])])
    _refused(raw, "/vectors/upsert", {"vectors": [{"id": "a", "values": values}]}, told)
    if values:  # an update with none of them leaves them as they are
        _refused(raw, "/vectors/update", {"id": "a", "values": values}, told)
    assert index.fetch(ids=["a"]).vectors["a"].values == [1.0, 0.0]


def test_a_query_vector_is_checked_alike(new_index: NewIndex, raw: Raw) -> None:
    """Its dimension, and that it is not all zero."""
    new_index()
    _refused(raw, "/query", {"topK": 1, "vector": [1.0]}, "Vector dimension 1 does not match")
    _refused(raw, "/query", {"topK": 1, "vector": [0.0, 0.0]}, "only zeros")
    _refused(raw, "/query", {"topK": 1}, "exactly one of vector and id")
    _refused(raw, "/query", {"topK": 1, "id": "a", "vector": [1.0, 0.0]}, "exactly one of vector and id")


def test_one_bad_record_refuses_its_whole_request(new_index: NewIndex) -> None:
    """An upsert is all or nothing."""
    index = new_index()
    with pytest.raises(ApiError, match="dimension"):
        index.upsert(vectors=[("a", [1.0, 0.0]), ("b", [1.0])])
    assert index.fetch(ids=["a"]).vectors == {}


def test_sparse_vectors_are_refused(new_index: NewIndex) -> None:
    """An index of dense vectors says that it has no others."""
    index = new_index()
    sparse = {"indices": [1], "values": [0.5]}
    for call in (
        lambda: index.upsert(vectors=[{"id": "a", "values": [1.0, 0.0], "sparse_values": sparse}]),
        lambda: index.update(id="a", sparse_values=sparse),
        lambda: index.query(top_k=1, vector=[1.0, 0.0], sparse_vector=sparse),
    ):
        with pytest.raises(ApiError, match="does not support sparse values"):
            call()


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"k": None}, "got 'null' for field 'k'"),
        ({"k": {"a": 1}}, """got '{"a":1}' for field 'k'"""),
        ({"k": [1]}, "got '[1]' for field 'k'"),
        ({"k": ["a", None]}, "for field 'k'"),
        ({"$k": 1}, "must not start with '$'"),
        ([1], "must be an object"),
    ],
)
def test_metadata_that_cannot_be_stored_is_refused(new_index: NewIndex, raw: Raw, metadata: object, told: str) -> None:
    """Neither nulls nor objects nor lists of anything but strings."""
    new_index().upsert(vectors=[("a", [1.0, 0.0])])
    _refused(raw, "/vectors/upsert", {"vectors": [{"id": "a", "values": [1.0, 0.0], "metadata": metadata}]}, told)
    _refused(raw, "/vectors/update", {"id": "a", "setMetadata": metadata}, told)
    _refused(raw, "/vectors/update", {"filter": {"n": 1}, "setMetadata": metadata}, told)


def test_metadata_has_40_kb(new_index: NewIndex) -> None:
    """40 960 bytes of compact JSON, and an update counts what was there."""
    index = new_index()
    full = "x" * (40_960 - len('{"k":""}'))
    index.upsert(vectors=[("a", [1.0, 0.0], {"k": full})])
    with pytest.raises(ApiError, match="metadata size is 40961 bytes, which exceeds the limit of 40960 bytes"):
        index.upsert(vectors=[("a", [1.0, 0.0], {"k": f"{full}x"})])
    for call in (
        lambda: index.update(id="a", set_metadata={"n": 1}),
        lambda: index.update(filter={"k": full}, set_metadata={"n": 1}),
    ):
        with pytest.raises(ApiError, match="exceeds the limit of 40960 bytes"):
            call()
    assert index.fetch(ids=["a"]).vectors["a"].metadata == {"k": full}


@pytest.mark.parametrize("name", ["", "x" * 513, "ä", "a\0b", 5, None])
def test_an_id_that_cannot_be_is_refused(new_index: NewIndex, raw: Raw, name: object) -> None:
    """1 to 512 ASCII characters without NUL."""
    new_index()
    _refused(raw, "/vectors/upsert", {"vectors": [{"id": name, "values": [1.0, 0.0]}]}, "Vector ID must")
    _refused(raw, "/vectors/delete", {"ids": [name]}, "Vector ID must")


def test_the_smallest_vector_is_allowed(new_index: NewIndex) -> None:
    """One value of a hundred-millionth."""
    index = new_index()
    index.upsert(vectors=[("a", [1.1e-8, 0.0])])
    assert index.query(vector=[1.0, 0.0], top_k=1).matches[0].score == pytest.approx(1.0)


def test_the_longest_names_are_allowed(new_index: NewIndex) -> None:
    """512 characters, of ids and of namespaces."""
    index, longest = new_index(), "~" * 512
    index.upsert(vectors=[(longest, [1.0, 0.0])], namespace=longest)
    assert list(index.fetch(ids=[longest], namespace=longest).vectors) == [longest]


@pytest.mark.parametrize("name", ["x" * 513, "ä", "a\0b", 5])
def test_a_namespace_that_cannot_be_is_refused(new_index: NewIndex, raw: Raw, name: object) -> None:
    """For reading as for writing."""
    new_index()
    told = "Namespace must be at most 512"
    _refused(raw, "/vectors/upsert", {"vectors": [{"id": "a", "values": [1.0, 0.0]}], "namespace": name}, told)
    _refused(raw, "/query", {"topK": 1, "vector": [1.0, 0.0], "namespace": name}, told)


def test_an_upsert_has_at_most_1000_records(new_index: NewIndex, raw: Raw) -> None:
    """And at least one."""
    index = new_index()
    records = [(f"{number}", [1.0, 0.0]) for number in range(1_001)]
    assert index.upsert(vectors=records[:1000]).upserted_count == 1_000
    with pytest.raises(ApiError, match="Between 1 and 1000 vectors"):
        index.upsert(vectors=records)
    _refused(raw, "/vectors/upsert", {"vectors": []}, "Between 1 and 1000 vectors")


def test_an_upsert_has_at_most_2_mb(new_index: NewIndex, raw: Raw) -> None:
    """The vendor's client does not divide what is too large for the vectors API; whoever writes has to count."""
    index = new_index()

    def body(size: int) -> bytes:
        record = {"id": "a", "values": [1.0, 0.0]}
        bare = orjson.dumps({"vectors": [record], "namespace": "", "pad": ""})
        return orjson.dumps({"vectors": [record], "namespace": "", "pad": "x" * (size - len(bare))})

    assert raw("POST", f"{_STORIES}/vectors/upsert", body(2_000_000))[0] == 200
    assert raw("POST", f"{_STORIES}/vectors/upsert", body(2_000_001))[0] == 400
    big = {"k": "x" * 30_000}
    with pytest.raises(ApiError, match="Request size 3MB exceeds the maximum supported size of 2MB"):
        index.upsert(vectors=[(f"{number}", [1.0, 0.0], big) for number in range(70)])


def test_a_query_has_at_most_10000_matches(new_index: NewIndex, raw: Raw) -> None:
    """And at least one."""
    index = new_index()
    assert index.query(vector=[1.0, 0.0], top_k=10_000).matches == []
    for top_k in (0, -1, 10_001, "3", 1.5, True, None):
        _refused(raw, "/query", {"topK": top_k, "vector": [1.0, 0.0]}, "topK must be between 1 and 10000")


def test_an_answer_to_a_query_has_at_most_4_mb(new_index: NewIndex) -> None:
    """Without metadata it fits again."""
    index = new_index()
    for start in range(0, 120, 60):
        records = [(f"{number}", [1.0, 0.0], {"k": "x" * 33_000}) for number in range(start, start + 60)]
        index.upsert(vectors=records)
    index.upsert(vectors=[(f"more-{number}", [1.0, 0.0], {"k": "x" * 33_000}) for number in range(10)])
    assert len(index.query(vector=[1.0, 0.0], top_k=100, include_metadata=True).matches) == 100
    with pytest.raises(ApiError, match="exceeds 4MB"):
        index.query(vector=[1.0, 0.0], top_k=130, include_metadata=True)
    assert len(index.query(vector=[1.0, 0.0], top_k=130).matches) == 130


def test_fetches_and_deletes_have_at_most_1000_ids(new_index: NewIndex, raw: Raw) -> None:
    """And at least one."""
    new_index().upsert(vectors=[("a", [1.0, 0.0])])
    most = [f"{number}" for number in range(1_000)]
    assert raw("GET", f"{_STORIES}/vectors/fetch?{urlencode({'ids': most}, doseq=True)}")[0] == 200
    assert raw("GET", f"{_STORIES}/vectors/fetch?{urlencode({'ids': [*most, 'x']}, doseq=True)}")[0] == 400
    assert raw("GET", f"{_STORIES}/vectors/fetch")[0] == 400
    assert raw("POST", f"{_STORIES}/vectors/delete", {"ids": most})[0] == 200
    _refused(raw, "/vectors/delete", {"ids": [*most, "x"]}, "At most 1000 IDs")


def test_pages_have_their_sizes(new_index: NewIndex, raw: Raw) -> None:
    """100 ids, 10 000 fetched records, and at least one of each."""
    new_index()
    for limit, status in ((1, 200), (100, 200), (0, 400), (101, 400), ("x", 400)):
        assert raw("GET", f"{_STORIES}/vectors/list?limit={limit}")[0] == status
        assert raw("GET", f"{_STORIES}/namespaces?limit={limit}")[0] == status
    for limit, status in ((10_000, 200), (0, 400), (10_001, 400)):
        assert raw("POST", f"{_STORIES}/vectors/fetch_by_metadata", {"filter": {"n": 1}, "limit": limit})[0] == status


def test_a_prefix_is_what_a_name_can_begin_with(new_index: NewIndex, raw: Raw) -> None:
    """At most 512 ASCII characters."""
    new_index()
    for path in ("vectors/list", "namespaces"):
        for prefix, status in (("", 200), ("x" * 512, 200), ("x" * 513, 400), ("%C3%A4", 400), ("%00", 400)):
            assert raw("GET", f"{_STORIES}/{path}?prefix={prefix}")[0] == status


def test_a_namespace_declares_at_most_50_fields(new_index: NewIndex, raw: Raw) -> None:
    """Each of them filterable."""
    new_index()
    fields = {f"f{number}": {"filterable": True} for number in range(51)}
    _refused(raw, "/namespaces", {"name": "t", "schema": {"fields": fields}}, "at most 50 fields")
    _refused(raw, "/namespaces", {"name": "t", "schema": {"fields": {"f": {"filterable": False}}}}, "Field 'f' is set")
    del fields["f0"]
    assert raw("POST", f"{_STORIES}/namespaces", {"name": "t", "schema": {"fields": fields}})[0] == 200


def test_a_write_says_what_it_is_about(new_index: NewIndex, raw: Raw) -> None:
    """One way of choosing records, and something to change."""
    new_index().upsert(vectors=[("a", [1.0, 0.0])])
    for body in ({}, {"ids": ["a"], "deleteAll": True}, {"ids": ["a"], "filter": {"n": 1}}, {"ids": []}):
        _refused(raw, "/vectors/delete", body, "exactly one of ids, filter and deleteAll")
    _refused(raw, "/vectors/delete", {"filter": {}}, "filter must not be empty")
    _refused(raw, "/vectors/fetch_by_metadata", {"filter": {}}, "filter must not be empty")
    _refused(raw, "/vectors/update", {"setMetadata": {"k": 1}}, "exactly one of id and filter")
    _refused(raw, "/vectors/update", {"id": "a", "filter": {"n": 1}}, "exactly one of id and filter")
    _refused(raw, "/vectors/update", {"filter": {"n": 1}}, "needs setMetadata")
    _refused(raw, "/vectors/update", {"filter": {"n": 1}, "values": [1.0, 0.0]}, "metadata alone")
    _refused(raw, "/describe_index_stats", {"filter": {"n": 1}}, "do not support describing index stats")


def test_a_connection_is_kept(new_index: NewIndex, local_pinecone: dict[str, str]) -> None:
    """Many requests go over one, whatever their answers were."""
    new_index()
    headers = {"Api-Key": local_pinecone["api_key"], "X-Pinecone-Api-Version": "2026-07"}
    connection = HTTPConnection(urlsplit(local_pinecone["endpoint_url"]).netloc, timeout=10)
    statuses = []
    for path in ("/indexes", "/indexes/unknown", "/indexes/stories"):
        connection.request("GET", path, headers=headers)
        kept = connection.sock
        answer = connection.getresponse()
        answer.read()
        statuses.append((answer.status, connection.sock is kept))
    connection.close()
    assert statuses == [(200, True), (404, True), (200, True)]
