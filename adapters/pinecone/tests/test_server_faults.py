"""What makes the local Pinecone hard: late writes, failures in order, and limits on the rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http.client import IncompleteRead, RemoteDisconnected

import pytest
from pinecone import Index, Pinecone
from pinecone.errors import RateLimitError, ServiceError
from storycore_pinecone.testing import Admin, server

NewIndex = Callable[..., Index]
Raw = Callable[..., tuple[int, dict[str, object], Mapping[str, str]]]

_SCHEMA = {"fields": {"_values": {"type": "dense_vector", "dimension": 2, "metric": "cosine"}}}
_UPSERT = "/i/stories/vectors/upsert"
_ONE = {"vectors": [{"id": "a", "values": [1.0, 0.0]}]}


def _ids(index: Index, namespace: str = "") -> list[str]:
    return sorted(match.id for match in index.query(vector=[1.0, 0.0], top_k=10, namespace=namespace).matches)


def test_a_write_is_seen_after_some_reads(new_index: NewIndex, admin: Admin) -> None:
    """Writes come in their order, whatever reads."""
    admin.turn(visible_after_reads=2)
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0])])
    assert _ids(index) == []
    index.upsert(vectors=[("b", [1.0, 0.0])])
    assert [_ids(index) for _ in range(3)] == [[], ["a"], ["a", "b"]]


def test_every_read_can_be_behind(new_index: NewIndex, admin: Admin) -> None:
    """Fetches, listings and statistics are no fresher than queries."""
    admin.turn(visible_after_reads=5)
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0], {"n": 1})])
    assert index.fetch(ids=["a"]).vectors == {}
    assert index.fetch_by_metadata(filter={"n": 1}).vectors == {}
    assert index.list_paginated().vectors == []
    assert index.describe_index_stats().total_vector_count == 0
    assert index.update(filter={"n": 1}, set_metadata={"k": 1}, dry_run=True).matched_records == 0
    assert list(index.fetch(ids=["a"]).vectors) == ["a"]


def test_writes_go_by_what_was_written_not_by_what_is_seen(new_index: NewIndex, admin: Admin) -> None:
    """The log has an order: an update after an unseen upsert is about the upserted record."""
    admin.turn(visible_after_reads=100)
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0], {"n": 1}), ("b", [1.0, 0.0], {"n": 2})])
    index.update(id="a", set_metadata={"k": 1})
    assert index.update(filter={"n": 1}, set_metadata={"m": 1}).matched_records == 1
    index.delete(filter={"n": 2})
    assert _ids(index) == []
    admin.settle()
    found = index.fetch(ids=["a", "b"]).vectors
    assert {key: record.metadata for key, record in found.items()} == {"a": {"n": 1.0, "k": 1.0, "m": 1.0}}


def test_a_write_is_seen_after_some_time(new_index: NewIndex, admin: Admin) -> None:
    """However often it is asked for before."""
    admin.turn(visible_after_ms=60_000)
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0])])
    assert [_ids(index) for _ in range(3)] == [[], [], []]
    admin.turn(visible_after_ms=20)
    index.upsert(vectors=[("b", [1.0, 0.0])], namespace="soon")
    until = time.monotonic() + 5
    while _ids(index, "soon") != ["b"]:
        assert time.monotonic() < until
    assert _ids(index) == []


def test_positions_tell_what_a_query_has_seen(new_index: NewIndex, admin: Admin) -> None:
    """Each namespace counts for itself; a fetch tells nothing."""
    admin.turn(visible_after_reads=1)
    index = new_index()
    written = index.upsert(vectors=[("a", [1.0, 0.0])], namespace="x").response_info
    assert written is not None
    other = index.upsert(vectors=[("b", [1.0, 0.0])], namespace="y").response_info
    assert other is not None
    assert (written.lsn_committed, other.lsn_committed) == (1, 1)
    seen = []
    for _ in range(2):
        info = index.query(vector=[1.0, 0.0], top_k=1, namespace="x").response_info
        assert info is not None
        seen.append((info.lsn_reconciled, info.is_reconciled(1)))
    assert seen == [(0, False), (1, True)]
    fetched = index.fetch(ids=["a"], namespace="x").response_info
    assert fetched is not None
    assert fetched.lsn_reconciled is None


@pytest.mark.parametrize(
    ("names", "committed", "reconciled"),
    [
        ("documented", "x-pinecone-request-lsn", "x-pinecone-max-indexed-lsn"),
        ("vectors", "x-pinecone-lsn-committed", "x-pinecone-lsn-reconciled"),
        ("none", None, None),
    ],
)
def test_positions_have_either_name_or_none(
    new_index: NewIndex, admin: Admin, names: str, committed: str | None, reconciled: str | None
) -> None:
    """The documentation and the client's own source name different headers."""
    admin.turn(lsn_headers=names, lsn_reads=["query", "fetch"])
    index = new_index()
    answers = (
        index.upsert(vectors=[("a", [1.0, 0.0])]),
        index.query(vector=[1.0, 0.0], top_k=1),
        index.fetch(ids=["a"]),
    )
    found = [{name for name in answer.response_info.raw_headers if "lsn" in name} for answer in answers]
    assert found == [{name} if name else set() for name in (committed, reconciled, reconciled)]


def test_a_namespace_that_is_made_again_goes_on_counting(new_index: NewIndex) -> None:
    """An old position never stands for a new write."""
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0])], namespace="x")
    index.delete_namespace(name="x")
    again = index.upsert(vectors=[("a", [1.0, 0.0])], namespace="x").response_info
    assert again is not None
    assert again.lsn_committed == 2


def test_throttling_tells_when_to_come_back(new_index: NewIndex, admin: Admin) -> None:
    """The client's error has the seconds of the header, and what was refused had no effect."""
    index = new_index()
    admin.fail("upsert", status=429, retry_after=0.01, times=0, message="slow down")
    with pytest.raises(RateLimitError, match="slow down") as failure:
        index.upsert(vectors=[("a", [1.0, 0.0])])
    assert failure.value.retry_after == 0.01
    admin.heal()
    assert index.fetch(ids=["a"]).vectors == {}
    assert index.upsert(vectors=[("a", [1.0, 0.0])]).upserted_count == 1


def test_a_failure_may_have_taken_effect(new_index: NewIndex, admin: Admin, raw: Raw) -> None:
    """As when the answer of a write is lost behind a gateway."""
    index = new_index()
    admin.fail("upsert", takes_effect=True)
    status, body, headers = raw("POST", _UPSERT, _ONE)
    assert (status, body["code"], "retry-after" in headers) == (503, 14, False)
    assert list(index.fetch(ids=["a"]).vectors) == ["a"]


@pytest.mark.parametrize(("takes_effect", "cut"), [(False, RemoteDisconnected), (True, IncompleteRead)])
def test_a_connection_is_cut(
    new_index: NewIndex, admin: Admin, raw: Raw, takes_effect: bool, cut: type[Exception]
) -> None:
    """Before the answer, or in the middle of it when the call was carried out."""
    index = new_index()
    admin.fail("upsert", status=0, takes_effect=takes_effect)
    with pytest.raises(cut):
        raw("POST", _UPSERT, _ONE)
    assert list(index.fetch(ids=["a"]).vectors) == (["a"] if takes_effect else [])
    assert [call["status"] for call in admin.calls("upsert")] == [0]


def test_failures_come_as_often_as_ordered(new_index: NewIndex, admin: Admin, raw: Raw) -> None:
    """After some calls, at each so-and-so-many-th, and so many times; an order of no end is taken back."""
    new_index()

    def outcomes(count: int) -> list[int]:
        return [raw("POST", _UPSERT, _ONE)[0] for _ in range(count)]

    admin.fail("upsert", after=1, every=2, times=2)
    assert outcomes(7) == [200, 200, 503, 200, 503, 200, 200]
    admin.fail("*", status=500, times=0)
    assert outcomes(3) == [500, 500, 500]
    admin.heal()
    assert outcomes(2) == [200, 200]


def test_a_batch_fails_apart_from_the_others(new_index: NewIndex, admin: Admin) -> None:
    """The client reports the batch with the record that was ordered to fail, and what to send again."""
    index = new_index()
    admin.fail("upsert", record="s-5", status=400, message="no such luck")
    records = [(f"s-{number}", [1.0, 0.0]) for number in range(8)]
    found = index.upsert(vectors=records, batch_size=2, show_progress=False)
    assert (found.upserted_count, found.failed_item_count, found.failed_batch_count) == (6, 2, 1)
    assert [item["id"] for item in found.failed_items] == ["s-4", "s-5"]
    assert index.upsert(vectors=found.failed_items).upserted_count == 2
    assert index.describe_index_stats().total_vector_count == 8


def test_failures_can_be_of_one_namespace(new_index: NewIndex, admin: Admin, raw: Raw) -> None:
    """The others go on."""
    new_index()
    admin.fail("upsert", namespace="x", times=0)
    assert [raw("POST", _UPSERT, {**_ONE, "namespace": name})[0] for name in ("x", "y", "x")] == [503, 200, 503]


def test_the_control_plane_fails_in_its_own_words(sdk: Pinecone, admin: Admin) -> None:
    """Its errors have codes by name."""
    admin.fail("create_index", status=503)
    with pytest.raises(ServiceError) as failure:
        sdk.indexes.create(name="stories", schema=_SCHEMA)
    assert failure.value.error_code == "SERVICE_UNAVAILABLE"
    assert list(sdk.indexes.list()) == []


def test_answers_can_be_late(new_index: NewIndex, admin: Admin) -> None:
    """All of them, or those of one order."""
    index = new_index()
    for turn in (lambda: admin.turn(latency_ms=30), lambda: admin.fail("query", status=200, latency_ms=20)):
        turn()
        before = time.monotonic()
        assert _ids(index) == []
        assert time.monotonic() - before >= 0.02
    admin.turn(latency_ms=0)


def test_a_late_answer_holds_up_nobody_else(new_index: NewIndex, sdk: Pinecone, admin: Admin, raw: Raw) -> None:
    """Each connection waits for itself."""
    new_index()
    admin.fail("upsert", status=200, latency_ms=30_000)
    with pytest.raises(TimeoutError):
        raw("POST", _UPSERT, _ONE, timeout=0.02)
    assert [found.name for found in sdk.indexes.list()] == ["stories"]


def test_the_rate_of_calls_has_a_limit(new_index: NewIndex, admin: Admin, raw: Raw) -> None:
    """Of one operation in one namespace, as on the service."""
    admin.turn(requests_per_second=2)
    index = new_index()
    answers = [raw("POST", _UPSERT, {**_ONE, "namespace": name}) for name in ("x", "x", "x", "y")]
    assert [status for status, _, _ in answers] == [200, 200, 429, 200]
    assert "exceeds the limit of 2 per second" in str(answers[2][1]["message"])
    assert 0 < float(answers[2][2]["retry-after"]) <= 1
    assert _ids(index, "x") == ["a"]


def test_calls_are_noted(new_index: NewIndex, admin: Admin) -> None:
    """What a client sent can be counted, with what it was about."""
    index = new_index()
    index.upsert(vectors=[("a", [1.0, 0.0]), ("b", [1.0, 0.0])], namespace="x")
    index.fetch(ids=["a"])
    found = [(call["operation"], call["namespace"], call["ids"], call["status"]) for call in admin.calls()]
    assert found == [
        ("create_index", None, [], 201),
        ("upsert", "x", ["a", "b"], 200),
        ("fetch", None, ["a"], 200),
    ]
    assert admin.calls("upsert")[0]["index"] == "stories"
    admin.forget_calls()
    assert admin.calls() == []


def test_a_reset_comes_back_to_the_start() -> None:
    """Indexes, knobs, faults and notes; knobs as the server was started with."""
    with server(knobs={"visible_after_reads": 1}) as settings:
        admin = Admin(settings)
        with Pinecone(api_key=str(settings["api_key"]), host=str(settings["endpoint_url"])) as client:
            model = client.indexes.create(
                name="stories",
                schema=_SCHEMA,
                timeout=-1,
            )
            admin.turn(visible_after_reads=0)
            admin.fail(times=0)
            admin.reset()
            assert list(client.indexes.list()) == []
            client.indexes.create(
                name="stories",
                schema=_SCHEMA,
                timeout=-1,
            )
            with client.Index(host=str(model.host)) as index:
                index.upsert(vectors=[("a", [1.0, 0.0])])
                assert [_ids(index), _ids(index)] == [[], ["a"]]
