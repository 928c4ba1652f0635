"""What is Pinecone's own: other kinds of index, reads that lag, numbers of two meanings, pages by token."""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from storycore_pinecone.config import PineconeConfig
from storycore_pinecone.testing import Admin
from storycore_pinecone.vectors import PineconeVectorIndex, open_vectors

from storycore.errors import (
    ConfigError,
    InvalidArgument,
    InvalidKey,
    NotFound,
    SchemaConflict,
    SchemaMismatch,
    StaleRead,
    Unavailable,
    Unsupported,
)
from storycore.filters import F
from storycore.ports.environment import Environment
from storycore.ports.vectors import TextQuery, VectorItem, VectorQuery, WriteToken

Opened = Callable[..., Any]


def _index(settings: Mapping[str, object], **options: object) -> PineconeVectorIndex:
    config = PineconeConfig.model_validate({"index": "stories", "dimension": 2, **settings, **options})
    return open_vectors(config, Environment(random=random.Random(7)))


def _item(id_: str, *values: float, **metadata: Any) -> VectorItem:
    return VectorItem(id_, array("f", values or (1, 0)), metadata)


def _query(**options: Any) -> VectorQuery:
    return VectorQuery(**{"values": array("f", [1, 0]), **options})


@pytest_asyncio.fixture
async def opened(local_pinecone: Mapping[str, object], admin: Admin) -> AsyncIterator[Opened]:
    """Opens the index, which is made the first time; every one is closed at the end."""
    async with AsyncExitStack() as stack:

        async def opens(**options: object) -> PineconeVectorIndex:
            made = _index(local_pinecone, **options)
            await made.ensure()
            admin.forget_calls()
            return await stack.enter_async_context(made)

        yield opens


# Provisioning.


async def test_ensure_waits_until_the_index_is_ready(local_pinecone: Mapping[str, object], admin: Admin) -> None:
    """What is made serves when ``ensure`` returns, and what takes too long is told."""
    admin.turn(ready_after_describes=3)
    index = _index(local_pinecone, provision_timeout_seconds=0.01)
    with pytest.raises(Unavailable, match="not ready"):
        await index.ensure()
    patient = _index(local_pinecone)
    assert list((await patient.ensure()).actions) == []
    async with patient:
        assert (await patient.stats()).total == 0


async def test_two_that_make_the_same_index_both_have_it(local_pinecone: Mapping[str, object], admin: Admin) -> None:
    """Who comes second finds it made."""
    made = await asyncio.gather(*(_index(local_pinecone).ensure() for _ in range(4)))
    assert {tuple(each.actions) for each in made} <= {
        (),
        ("create the index stories (2 dimensions, cosine) in aws us-east-1",),
    }
    assert [call["status"] for call in admin.calls("create_index")].count(201) == 1


async def test_an_index_remembers_its_model_in_a_tag(local_pinecone: Mapping[str, object], sdk: Any) -> None:
    """The tag is readable, whatever characters the model has, and one that others made is tagged."""
    fields = {"_values": {"type": "dense_vector", "dimension": 2, "metric": "cosine"}}
    sdk.indexes.create(name="stories", schema={"fields": fields}, tags={"team": "a"}, timeout=-1)
    index = _index(local_pinecone, embedding="modèle/1 v2~+", tags={"team": "b"})
    rehearsed = await index.ensure(dry_run=True)
    assert list(rehearsed.actions) == ["tag the index stories with storycore-embedding"]
    assert (await index.ensure()).actions == rehearsed.actions
    assert dict(sdk.indexes.describe("stories").tags) == {
        "team": "a",
        "storycore-embedding": "mod+C3+A8le+2F1 v2+7E+2B",
    }
    again = await index.ensure()
    assert (list(again.actions), ["team" in each for each in again.differences]) == ([], [True])
    async with _index(local_pinecone) as unnamed:
        assert unnamed.spec.embedding == "modèle/1 v2~+"


async def test_a_model_whose_name_fits_in_no_tag_is_a_config_error(local_pinecone: Mapping[str, object]) -> None:
    """It is told before anything is made."""
    index = _index(local_pinecone, index="long", embedding="m" * 121)
    with pytest.raises(ConfigError, match="120"):
        await index.ensure()


async def test_an_index_of_documents_is_refused(local_pinecone: Mapping[str, object], sdk: Any) -> None:
    """The vectors API would answer reads of it with nothing; it is named for what it is, by either way to it."""
    fields = {
        "chunk": {"type": "string", "full_text_search": {}},
        "vec": {"type": "dense_vector", "dimension": 2, "metric": "cosine"},
    }
    host = sdk.indexes.create(name="stories", schema={"fields": fields}, timeout=-1).host
    with pytest.raises(SchemaMismatch, match="documents"):
        await _index(local_pinecone).open()
    for dry_run in (True, False):
        [difference] = (await _index(local_pinecone).ensure(dry_run=dry_run)).differences
        assert "documents" in difference
    with pytest.raises(SchemaMismatch):
        await _index(local_pinecone, index_url=host).open()


async def test_an_index_is_opened_by_its_address_alone(opened: Opened, sdk: Any, admin: Admin) -> None:
    """The control plane is not asked, and another dimension is still refused."""
    await opened()
    host = sdk.indexes.describe("stories").host
    admin.forget_calls()
    index = await opened(index_url=host)
    await index.upsert([_item("a")])
    assert admin.calls("describe_index") == []
    with pytest.raises(SchemaMismatch, match="2 dimensions"):
        await _index({"endpoint_url": "http://127.0.0.1:1", "api_key": _key(index)}, index_url=host, dimension=3).open()


def _key(index: PineconeVectorIndex) -> str:
    assert index._config.api_key is not None
    return index._config.api_key.get_secret_value()


# Reads that lag.


async def test_a_token_tells_whether_a_read_is_late(opened: Opened, admin: Admin) -> None:
    """A query that has not seen the write says so at once; another namespace has nothing to wait for."""
    index = await opened()
    admin.turn(visible_after_reads=1)
    token = (await index.upsert([_item("a")])).token
    assert await index.query([_query(at_least=token, namespace="other")]) == [[]]
    with pytest.raises(StaleRead):
        await index.query([_query(at_least=token)])
    assert [match.id for match in (await index.query([_query(at_least=token)]))[0]] == ["a"]


async def test_an_item_that_is_not_seen_yet_is_late_and_not_missing(opened: Opened, admin: Admin) -> None:
    """A query by id under a token tells a late read from an item that is not there."""
    index = await opened()
    admin.turn(visible_after_reads=2)
    token = (await index.upsert([_item("a")])).token
    with pytest.raises(StaleRead):
        await index.query([VectorQuery(id="a", at_least=token)])
    admin.settle()
    with pytest.raises(NotFound):
        await index.query([VectorQuery(id="b", at_least=token)])
    assert [match.id for match in (await index.query([VectorQuery(id="a", at_least=token)]))[0]] == ["a"]


@pytest.mark.parametrize(("headers", "error"), [("vectors", None), ("none", StaleRead)])
async def test_tokens_need_the_service_to_tell_places(
    opened: Opened, admin: Admin, headers: str, error: type[Exception] | None
) -> None:
    """Either spelling of the headers will do; without any, nothing is promised that is not known."""
    index = await opened()
    admin.turn(lsn_headers=headers)
    token = (await index.upsert([_item("a")])).token
    if error is None:
        assert [match.id for match in (await index.query([_query(at_least=token)]))[0]] == ["a"]
    else:
        with pytest.raises(error):
            await index.query([_query(at_least=token)])
    with pytest.raises(InvalidArgument):
        await index.query([_query(at_least=WriteToken("7"))])


async def test_types_hold_while_nothing_is_visible(opened: Opened, admin: Admin) -> None:
    """What this process fixed or forgot counts although no read shows it yet."""
    index = await opened()
    admin.turn(visible_after_reads=1000)
    await index.upsert([_item("a", x=1)])
    with pytest.raises(SchemaConflict):
        await index.upsert([_item("b", x="t")])
    await index.delete(all=True)
    await index.upsert([_item("b", x="t")])
    with pytest.raises(SchemaConflict):
        await index.upsert([_item("a", x=1)])
    admin.settle()
    assert [item.metadata for item in (await index.scan()).items] == [{"x": "t"}]


async def test_trusted_types_cost_no_request(opened: Opened, admin: Admin) -> None:
    """With ``trust_types_seconds`` a second write of known fields asks nothing, and still refuses a conflict."""
    index = await opened(trust_types_seconds=60)
    await index.upsert([_item("a", x=1)])
    admin.forget_calls()
    await index.upsert([_item("b", x=2)])
    assert [call["operation"] for call in admin.calls()] == ["upsert"]
    with pytest.raises(SchemaConflict):
        await index.upsert([_item("c", x="t")])


# Numbers and filters.


@pytest.mark.parametrize("kind", ["squared", "root"])
async def test_euclidean_scores_are_the_same_whatever_the_service_gives(
    opened: Opened, admin: Admin, kind: str
) -> None:
    """Distances and their squares both become negated squares, from the first answer on."""
    admin.turn(euclidean=kind)
    index = await opened(metric="euclidean")
    await index.upsert([_item("same", 1, 0), _item("near", 1, 1), _item("far", 4, 4)])
    for _ in range(2):
        [matches] = await index.query([_query(min_score=-24)])
        assert [(match.id, match.score) for match in matches] == [("same", 0), ("near", -1)]
        [matches] = await index.query([_query()])
        assert [match.score for match in matches] == pytest.approx([0, -1, -25])
    assert all(match.values is None for match in matches)


@pytest.mark.parametrize("missing", ["exclude", "include"])
async def test_filters_are_exact_whatever_the_service_makes_of_missing_fields(
    opened: Opened, admin: Admin, missing: str
) -> None:
    """Not equal, not in and not above hold where the field is missing."""
    admin.turn(missing=missing)
    index = await opened()
    await index.upsert([_item("a", x=1), _item("b", x=2), _item("c"), _item("d", y="t")])
    asked = {"acd": F.x != 2, "bcd": ~(F.x < 2), "cd": F.x.not_in([1, 2]), "abc": ~(F.y == "t"), "abcd": ~(F.y > 3)}
    for expected, where in asked.items():
        [matches] = await index.query([_query(where=where)])
        assert expected == "".join(match.id for match in matches)


async def test_whole_numbers_come_back_whole(opened: Opened) -> None:
    """The service keeps float64; what is whole is an int again, and large numbers are exact."""
    index = await opened()
    given = {"n": 7, "half": 0.5, "big": 2**53, "huge": 1e300, "yes": True, "tags": ["a", "b"]}
    await index.upsert([_item("a", **given)])
    [stored] = await index.fetch(["a"])
    assert given == stored.metadata
    assert {key: type(value) for key, value in stored.metadata.items()} == {
        "n": int,
        "half": float,
        "big": int,
        "huge": float,
        "yes": bool,
        "tags": list,
    }


# Pages, namespaces and what is not here.


async def test_pages_go_on_where_they_stopped(opened: Opened, admin: Admin) -> None:
    """A walk through 1000 ids asks for each page of the service about once; one without memory finds its place too."""
    index = await opened()
    ids = [f"i{n:04}" for n in range(1000)]
    await index.upsert([_item(id_, n=n) for n, id_ in enumerate(ids)])
    admin.forget_calls()
    for limit, most in ((100, 10), (70, 25), (1000, 10)):
        admin.forget_calls()
        assert ids == await _walked(index, limit)
        assert len(admin.calls("list")) <= most
    other = await opened()
    assert (await other.list_ids(after="i0499", limit=3)).ids == ["i0500", "i0501", "i0502"]
    admin.forget_calls()
    assert [item.id for item in await _scanned(index, F.n >= 500)] == ids[500:]
    assert len(admin.calls("list")) <= 40


async def _walked(index: PineconeVectorIndex, limit: int) -> list[str]:
    ids: list[str] = []
    after: str | None = None
    while True:
        page = await index.list_ids(after=after, limit=limit)
        ids += page.ids
        if page.next is None:
            return ids
        after = page.next


async def _scanned(index: PineconeVectorIndex, where: Any) -> list[VectorItem]:
    items: list[VectorItem] = []
    after: str | None = None
    while True:
        page = await index.scan(after=after, limit=30, where=where)
        items += page.items
        if page.next is None:
            return items
        after = page.next


async def test_a_token_of_a_page_that_expired_costs_a_walk(opened: Opened, admin: Admin) -> None:
    """Where the service refuses the token, the place is found from the start."""
    index = await opened()
    ids = [f"i{n:03}" for n in range(300)]
    await index.upsert([_item(id_) for id_ in ids])
    page = await index.list_ids(limit=150)
    admin.fail("list", status=400)
    assert list((await index.list_ids(after=page.next, limit=100)).ids) == ids[150:250]


async def test_the_adapters_own_records_are_nowhere(opened: Opened) -> None:
    """Types lie in a namespace that is not counted and cannot be used."""
    index = await opened()
    await index.upsert([_item("a", x=1)], namespace="tenant")
    assert (await index.stats()).counts == {"tenant": 1}
    with pytest.raises(InvalidKey):
        await index.upsert([_item("a")], namespace="__storycore__")
    with pytest.raises(InvalidKey):
        await index.query([_query(namespace="__storycore__")])


async def test_writes_in_a_namespace_that_never_was_change_nothing(opened: Opened) -> None:
    """The service refuses them; for the port it is an empty namespace."""
    index = await opened()
    await index.delete(ids=["a"], namespace="nowhere")
    await index.delete(where=F.x == 1, namespace="nowhere")
    await index.delete(all=True, namespace="nowhere")
    assert (await index.update_where(F.x == 1, set={"x": 2}, namespace="nowhere", dry_run=True)).count == 0
    assert (await index.stats()).counts == {}


async def test_it_says_how_the_service_is_asked(opened: Opened) -> None:
    """The plan has the filter in the service's words, and the counts that it tells."""
    index = await opened()
    await index.upsert([_item("a", x=1), _item("b", x=2), _item("c")])
    plan = await index.explain(_query(where=F.x != 1))
    assert (plan.way, plan.approximate, plan.candidates, plan.total) == ("service", True, 2, 3)
    assert plan.detail == {"filter": '{"$or":[{"x":{"$exists":false}},{"x":{"$ne":1}}]}'}
    nothing = await index.explain(_query(where=F.x.in_([])))
    assert (nothing.way, nothing.approximate, nothing.candidates) == ("nothing", False, 0)
    with pytest.raises(Unsupported):
        await index.search_text([TextQuery(text="a")])


async def test_a_filter_that_nothing_or_everything_matches_is_not_asked(opened: Opened, admin: Admin) -> None:
    """``in`` of nothing costs no request, and its opposite is no filter."""
    index = await opened()
    await index.upsert([_item("a", x=1)])
    admin.forget_calls()
    assert await index.query([_query(where=F.x.in_([]))]) == [[]]
    await index.delete(where=F.x.in_([]))
    assert admin.calls() == []
    [matches] = await index.query([_query(where=F.x.not_in([]))])
    assert [match.id for match in matches] == ["a"]
    await index.update_where(F.x.not_in([]), set={"y": 1})
    assert [item.metadata for item in (await index.scan()).items] == [{"x": 1, "y": 1}]
    await index.delete(where=F.x.not_in([]))
    with pytest.raises(SchemaConflict):
        await index.upsert([_item("a", x="t")])
