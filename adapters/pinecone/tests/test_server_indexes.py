"""The control plane of the local Pinecone: what an index is, and when it is ready, and gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from pinecone import Index, Pinecone
from pinecone.errors import ApiError, ConflictError, ForbiddenError, NotFoundError
from storycore_pinecone.testing import Admin

NewIndex = Callable[..., Index]
Raw = Callable[..., tuple[int, dict[str, object], Mapping[str, str]]]

_DENSE = {"type": "dense_vector", "dimension": 2, "metric": "cosine"}
_DOCUMENTS = {"fields": {"body": {"type": "string", "full_text_search": {}}, "meaning": _DENSE}}


def test_an_index_is_described_as_it_was_made(sdk: Pinecone) -> None:
    """Schema, deployment, tags and protection come back."""
    sdk.indexes.create(
        name="stories",
        schema={"fields": {"_values": {**_DENSE, "metric": "dotproduct"}}},
        deployment={"deployment_type": "managed", "cloud": "gcp", "region": "europe-west4"},
        deletion_protection="enabled",
        tags={"team": "news"},
        timeout=-1,
    )
    found = sdk.indexes.describe("stories")
    assert (found.name, found.dimension, found.metric) == ("stories", 2, "dotproduct")
    assert (found.deployment.cloud, found.deployment.region) == ("gcp", "europe-west4")
    assert (found.deletion_protection, found.tags) == ("enabled", {"team": "news"})
    assert (found.status.ready, found.status.state) == (True, "Ready")


def test_an_index_made_in_the_older_way_is_the_same(sdk: Pinecone) -> None:
    """The client translates dimension, metric and spec into a schema and a deployment."""
    sdk.create_index(
        name="stories", dimension=3, metric="euclidean", spec={"serverless": {"cloud": "aws", "region": "eu-west-1"}}
    )
    found = sdk.indexes.describe("stories")
    assert (found.dimension, found.metric, found.deployment.region) == (3, "euclidean", "eu-west-1")


def test_an_index_without_a_name_gets_one(sdk: Pinecone) -> None:
    """The service names what nobody named."""
    made = sdk.indexes.create(schema={"fields": {"_values": _DENSE}}, timeout=-1)
    assert sdk.indexes.describe(made.name).name == made.name


def test_indexes_are_listed_by_name(new_index: NewIndex, sdk: Pinecone) -> None:
    """Each index is in the list once."""
    for name in ("beta", "alpha"):
        new_index(name=name)
    assert [index.name for index in sdk.indexes.list()] == ["alpha", "beta"]


def test_a_name_is_taken_once(new_index: NewIndex) -> None:
    """A second index of the same name is a conflict."""
    new_index()
    with pytest.raises(ConflictError):
        new_index()


def test_an_unknown_index_is_not_found(sdk: Pinecone) -> None:
    """Neither described nor deleted nor configured."""
    for call in (sdk.indexes.describe, sdk.indexes.delete):
        with pytest.raises(NotFoundError):
            call("stories")
    with pytest.raises(NotFoundError):
        sdk.indexes.configure("stories", tags={"team": "news"})


def test_protection_and_tags_change(new_index: NewIndex, sdk: Pinecone) -> None:
    """Tags are merged, an empty value takes one away, and a protected index stays."""
    new_index()
    sdk.indexes.configure("stories", deletion_protection="enabled", tags={"a": "1", "b": "2"})
    with pytest.raises(ForbiddenError, match="Deletion protection"):
        sdk.indexes.delete("stories", timeout=-1)
    assert sdk.indexes.configure("stories", deletion_protection="disabled", tags={"a": ""}).tags == {"b": "2"}
    sdk.indexes.delete("stories", timeout=-1)
    assert list(sdk.indexes.list()) == []


@pytest.mark.parametrize(
    ("name", "field", "told"),
    [
        ("Stories", _DENSE, "lowercase"),
        ("-stories", _DENSE, "begin or end with a hyphen"),
        ("x" * 46, _DENSE, "at most 45"),
        ("stories", {**_DENSE, "dimension": 0}, "between 1 and 20000"),
        ("stories", {**_DENSE, "dimension": 20_001}, "between 1 and 20000"),
        ("stories", {**_DENSE, "metric": "manhattan"}, "must be one of cosine"),
        ("stories", {"type": "tensor"}, "must be one of dense_vector"),
    ],
)
def test_an_index_that_cannot_be_is_refused(raw: Raw, name: str, field: dict[str, object], told: str) -> None:
    """The rules of names, dimensions and metrics are the service's."""
    status, body, _ = raw("POST", "/indexes", {"name": name, "schema": {"fields": {"_values": field}}})
    assert status == 400
    assert told in str(body["error"])


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"_values": _DENSE, "_sparse_values": {"type": "sparse_vector"}}, 201),
        ({"_values": _DENSE, "body": {"type": "string", "full_text_search": {}}}, 400),
        ({"_values": {"type": "sparse_vector"}}, 400),
        ({"_other": _DENSE}, 400),
        ({"$meaning": _DENSE}, 400),
        ({"x" * 65: _DENSE}, 400),
        ({"a": _DENSE, "b": _DENSE}, 400),
        ({"genre": {"type": "string"}}, 400),
        ({"year": {"type": "float"}}, 400),
        ({"_values": {"type": "dense_vector", "dimension": 2}}, 422),
        ({"_values": {"type": "dense_vector", "metric": "cosine"}}, 422),
    ],
)
def test_a_schema_follows_the_vendors_definition(raw: Raw, fields: dict[str, object], status: int) -> None:
    """Reserved names stand alone, there is one field of each kind of vector, and metadata is not declared."""
    assert raw("POST", "/indexes", {"name": "stories", "schema": {"fields": fields}})[0] == status


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"speed": 3}, 422),
        ({"deployment": {"deployment_type": "pod"}}, 400),
        ({"deployment": {"deployment_type": "managed", "cloud": "aws"}}, 400),
        ({"deployment": {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1", "size": 3}}, 422),
        ({"deployment": {"deployment_type": "managed", "cloud": "moon", "region": "dark"}}, 404),
        ({"deletion_protection": True}, 400),
        ({"tags": {"k": 1}}, 400),
        ({"tags": {"k" * 81: "v"}}, 400),
        ({"tags": {"k": "v" * 121}}, 400),
        ({"tags": {"k/": "v"}}, 400),
        ({"tags": {"k": "ä"}}, 400),
        ({"tags": {f"k{number}": "v" for number in range(21)}}, 400),
        ({"tags": {"k": "a/b: c%"}}, 201),
        ({"tags": {"k" * 80: "v" * 120}}, 201),
    ],
)
def test_what_an_index_is_made_with_is_checked(raw: Raw, more: dict[str, object], status: int) -> None:
    """Deployment, protection and tags, by the vendor's definition."""
    body = {"name": "stories", "schema": {"fields": {"_values": _DENSE}}, **more}
    assert raw("POST", "/indexes", body)[0] == status


def test_the_largest_dimension_is_allowed(new_index: NewIndex, sdk: Pinecone) -> None:
    """20 000, with a name of 45 characters."""
    new_index(name="x" * 45, dimension=20_000)
    assert sdk.indexes.describe("x" * 45).dimension == 20_000


def test_an_index_is_ready_after_some_descriptions(new_index: NewIndex, sdk: Pinecone, admin: Admin, raw: Raw) -> None:
    """Until then it serves nothing."""
    admin.turn(ready_after_describes=2)
    index = new_index()
    assert raw("POST", "/i/stories/query", {"topK": 1, "vector": [1.0, 0.0]})[0] == 503
    assert [sdk.indexes.describe("stories").status.ready for _ in range(3)] == [False, False, True]
    assert index.query(vector=[1.0, 0.0], top_k=1).matches == []


def test_a_deleted_index_is_gone_after_some_descriptions(new_index: NewIndex, sdk: Pinecone, admin: Admin) -> None:
    """It says that it terminates, takes its name, and serves nothing."""
    index = new_index()
    admin.turn(gone_after_describes=2)
    sdk.indexes.delete("stories", timeout=-1)
    with pytest.raises(NotFoundError):
        index.query(vector=[1.0, 0.0], top_k=1)
    assert [sdk.indexes.describe("stories").status.state for _ in range(2)] == ["Terminating"] * 2
    with pytest.raises(NotFoundError):
        sdk.indexes.describe("stories")
    assert new_index().describe_index_stats().total_vector_count == 0


def test_an_index_of_documents_is_not_for_the_vectors_api(sdk: Pinecone) -> None:
    """It refuses to be written and answers reads as if it were empty, as the real one does."""
    model = sdk.indexes.create(name="documents", schema=_DOCUMENTS, timeout=-1)
    with sdk.Index(host=str(model.host)) as index:
        for write in (
            lambda: index.upsert(vectors=[("a", [1.0, 0.0])]),
            lambda: index.update(id="a", values=[1.0, 0.0]),
            lambda: index.delete(ids=["a"]),
        ):
            with pytest.raises(ApiError, match="documents API"):
                write()
        assert index.query(vector=[1.0, 0.0], top_k=1).matches == []
        assert index.fetch(ids=["a"]).vectors == {}
        assert [item for page in index.list() for item in page.vectors] == []
        assert index.describe_index_stats().dimension is None


def test_fields_of_the_vectors_api_are_for_it(sdk: Pinecone) -> None:
    """The reserved names tell the one kind of index from the other."""
    model = sdk.indexes.create(name="stories", schema={"fields": {"_values": _DENSE}}, timeout=-1)
    with sdk.Index(host=str(model.host)) as index:
        assert index.upsert(vectors=[("a", [1.0, 0.0])]).upserted_count == 1
