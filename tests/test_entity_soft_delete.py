"""Soft deletion: gone for every operation, and back again when that is asked for in time."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import AwareDatetime, BaseModel

import storycore
from storycore.entities import Index, Key, Repository, SoftDelete, Unique, Unit, entity, part
from storycore.errors import (
    AlreadyExists,
    ConfigError,
    InvalidArgument,
    NotFound,
    NotUnique,
    PartialFailure,
    Retry,
    StorycoreError,
    TransactionConflict,
    VersionConflict,
)
from storycore.filters import F
from storycore.ports.conditions import PRESENT
from storycore.ports.entities import Action, EntityStore, QueryPlan, Segment
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.servers import served

WEEK = timedelta(days=7)


class Page(BaseModel):
    page_id: str
    book: str = "b1"
    slug: str | None = None
    text: str = ""
    views: int = 0
    labels: set[str] = set()
    until: AwareDatetime | None = None
    changed_at: AwareDatetime | None = None
    made_at: AwareDatetime | None = None
    deleted_at: AwareDatetime | None = None


PAGE = entity(
    Page,
    kind="page",
    key=Key(pk=("book", part.book), sk=("page", part.page_id)),
    indexes=[Index("by_text", slot=1, pk=("pages",), sk=(part.text,))],
    counters=("views",),
    promoted=("labels",),
    ttl="until",
    timestamps=("made_at", "changed_at"),
    unique=[Unique("slug")],
    soft_delete=SoftDelete("deleted_at", keep=WEEK),
)
KEY = {"book": "b1", "page_id": "p1"}


@pytest.fixture(params=os.environ.get("STORYCORE_TEST_ENTITIES", "memory sqlite").split())
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    """One more adapter, as dynamodb, takes two minutes: name it in STORYCORE_TEST_ENTITIES."""
    served_by = served(request.param, request.config)
    return Harness(PortName.ENTITIES, request.param, {}, tmp_path, served=served_by)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[EntityStore]:
    opened = await harness.started()
    yield opened
    await opened.close()


@pytest.fixture
def pages(harness: Harness, store: EntityStore) -> Repository[Page]:
    return Repository(PAGE, store, harness.env, cursor_key=b"k" * 16)


async def test_a_deleted_instance_is_gone_for_every_read(pages: Repository[Page], store: EntityStore) -> None:
    """By key, in listings of the table and of an index, in walks and summaries."""
    page = await pages.create(Page(page_id="p1", text="river"))
    assert await pages.delete(page) is True
    assert list((await store.query(QueryPlan(pk="pages", slot=1))).records) == []
    with pytest.raises(NotFound):
        await pages.get(KEY)
    assert await pages.find(KEY, consistent=True) is None
    assert await pages.get_many([KEY]) == [None]
    assert (await pages.by_text.page()).items == []
    assert (await pages.table.page(book="b1")).items == []
    assert [found async for found in pages.scan()] == []


async def test_a_deleted_instance_cannot_be_written(pages: Repository[Page], harness: Harness) -> None:
    """It must be restored or purged first, which the error of a creation says."""
    page = await pages.create(Page(page_id="p1"))
    await pages.delete(KEY)
    refused: list[tuple[Callable[[], Awaitable[object]], type[StorycoreError]]] = [
        (lambda: pages.patch(KEY, add={"views": 1}), NotFound),
        (lambda: pages.patch(KEY, include={"labels": {"a"}}), NotFound),
        (lambda: pages.patch(KEY, set={"text": "x"}), NotFound),
        (lambda: pages.modify(KEY, lambda _: {"text": "x"}), NotFound),
        (lambda: pages.put(page), VersionConflict),
        (lambda: pages.put(Page(page_id="p1"), when=PRESENT), NotFound),
        (lambda: pages.put(Page(page_id="p1")), AlreadyExists),
        (lambda: pages.create(Page(page_id="p1")), AlreadyExists),
        (lambda: pages.upsert(Page(page_id="p1"), add={"views": 1}), AlreadyExists),
        (lambda: pages.save_batch([Page(page_id="p1")]), PartialFailure),
    ]
    for call, error in refused:
        with pytest.raises(error) as caught:
            await call()
        if error is AlreadyExists:
            assert "restore() or purge()" in str(caught.value)
            assert caught.value.retry is Retry.NEVER
    assert await pages.delete(KEY) is False
    assert (await pages.restore(KEY)).views == 0


async def test_a_restored_instance_is_as_it_was(pages: Repository[Page], harness: Harness) -> None:
    """In every listing again, with its values and a new version; the time of the change is that of the restoration."""
    page = await pages.create(Page(page_id="p1", text="river", slug="falls", labels={"a"}))
    await pages.patch(KEY, add={"views": 3})
    made = page.made_at
    harness.clock.advance(60)
    await pages.delete(KEY)
    harness.clock.advance(60)
    restored = await pages.restore(KEY)
    assert (restored.views, restored.labels, restored.deleted_at, restored.made_at) == (3, {"a"}, None, made)
    assert restored.changed_at == harness.clock.now()
    assert await pages.get(KEY) == restored
    assert (await pages.by_text.page()).items == [restored]
    restored.text = "lake"
    await pages.put(restored)
    with pytest.raises(NotUnique):
        await pages.create(Page(page_id="p2", slug="falls"))
    with pytest.raises(NotFound, match="no deleted page"):
        await pages.restore(KEY)


async def test_what_a_deleted_instance_held_is_free(pages: Repository[Page]) -> None:
    """And whoever takes it stands in the way of a restoration, until it is free again."""
    await pages.create(Page(page_id="p1", slug="falls"))
    await pages.delete(KEY)
    other = await pages.create(Page(page_id="p2", slug="falls"))
    with pytest.raises(NotUnique):
        await pages.restore(KEY)
    await pages.put(other.model_copy(update={"slug": None}))
    assert (await pages.restore(KEY)).slug == "falls"


async def test_what_is_deleted_can_be_listed(pages: Repository[Page], harness: Harness) -> None:
    """With the time of its deletion, filtered, and without what was restored."""
    await pages.save_batch([Page(page_id=f"p{i}", text=str(i)) for i in range(5)])
    assert await pages.delete_batch([{"book": "b1", "page_id": f"p{i}"} for i in range(4)]) == 4
    await pages.restore(KEY)
    found = [page async for page in pages.deleted()]
    assert {(page.page_id, page.deleted_at) for page in found} == {(i, harness.clock.now()) for i in ("p0", "p2", "p3")}
    assert [page.page_id async for page in pages.deleted(where=F.text == "2")] == ["p2"]
    assert {page.page_id async for page in pages.scan()} == {"p1", "p4"}


async def test_a_purge_is_for_good(pages: Repository[Page], store: EntityStore) -> None:
    """Of a deleted instance, of a live one with its markers, and of nothing."""
    await pages.create(Page(page_id="p1", slug="a"))
    await pages.delete(KEY)
    assert await pages.purge(KEY) is True
    with pytest.raises(NotFound):
        await pages.restore(KEY)
    await pages.create(Page(page_id="p1", slug="a"))
    assert await pages.purge(KEY) is True
    assert await pages.purge(KEY) is False
    assert list((await store.scan(Segment())).records) == []


async def test_a_deleted_instance_is_kept_for_its_time(pages: Repository[Page], harness: Harness) -> None:
    """Or until its own expiry, if that is sooner; then its key is free."""
    now = harness.clock.now()
    await pages.create(Page(page_id="p1", until=now + 2 * WEEK))
    await pages.create(Page(page_id="p2", until=now + 0.5 * WEEK))
    await pages.delete_batch([KEY, {"book": "b1", "page_id": "p2"}])
    harness.clock.advance(0.5 * WEEK)
    assert [page.page_id async for page in pages.deleted()] == ["p1"]
    harness.clock.advance(0.5 * WEEK)
    assert [page async for page in pages.deleted()] == []
    await pages.create(Page(page_id="p1"))


async def test_the_feed_tells_a_soft_deletion_as_a_deletion(
    pages: Repository[Page], store: EntityStore, harness: Harness
) -> None:
    """Whoever keeps an index in step need not know of it; a restoration is a put."""
    harness.require(store, "entities.changes")
    await pages.create(Page(page_id="p1"))
    await pages.delete(KEY)
    await pages.restore(KEY)
    told = [change.action for change in (await store.changes()).changes if change.kind == "page"]
    assert told == [Action.PUT, Action.DELETE, Action.PUT]


async def test_the_time_of_deletion_is_set_by_deletion_alone(pages: Repository[Page], harness: Harness) -> None:
    """Neither by a put nor by a patch; and the caller's instance stays as it is."""
    now = harness.clock.now()
    with pytest.raises(InvalidArgument, match=r"delete\(\)"):
        await pages.create(Page(page_id="p1", deleted_at=now))
    page = await pages.create(Page(page_id="p1"))
    with pytest.raises(InvalidArgument, match=r"delete\(\)"):
        await pages.patch(KEY, set={"deleted_at": now})
    await pages.delete(page)
    assert page.deleted_at is None


async def test_a_stale_instance_deletes_nothing(pages: Repository[Page]) -> None:
    """As without soft deletion."""
    page = await pages.create(Page(page_id="p1"))
    stale = page.model_copy()
    await pages.patch(KEY, add={"views": 1})
    with pytest.raises(VersionConflict):
        await pages.delete(stale)
    assert (await pages.get(KEY)).views == 1


async def test_a_unit_deletes_softly_and_meets_what_is_deleted(
    pages: Repository[Page], store: EntityStore, harness: Harness
) -> None:
    """With its markers, together with other writes; a creation over it is refused."""
    await pages.create(Page(page_id="p1", slug="a"))
    async with Unit(store, harness.env, entities=[PAGE]) as u:
        gone = u.delete(PAGE, KEY)
        missing = u.delete(PAGE, {"book": "b1", "page_id": "missing"})
        u.create(Page(page_id="p2", slug="a"))
    assert (gone.result, missing.result) == (True, False)
    with pytest.raises(TransactionConflict, match="restore"):
        async with Unit(store, harness.env, entities=[PAGE]) as u:
            u.create(Page(page_id="p1"))
    with pytest.raises(NotUnique):
        await pages.restore(KEY)


async def test_keys_of_any_length_can_be_deleted(harness: Harness, store: EntityStore) -> None:
    """Two long keys that differ at their ends do not meet."""
    long = entity(Page, kind="long", key=Key(pk=(part.page_id,), sk=("page",)), soft_delete="deleted_at")
    pages = Repository(long, store, harness.env, cursor_key=b"k" * 16)
    names = ["x" * 2047 + end for end in "ab"]
    for name in names:
        await pages.create(Page(page_id=name))
        await pages.delete(name)
    for name in names:
        assert (await pages.restore(name)).page_id == name


async def test_what_is_spilled_can_be_deleted_and_restored(tmp_path: Path) -> None:
    """A body in the blob store goes with its record."""

    class Long(BaseModel):
        long_id: str
        text: str
        deleted_at: datetime | None = None

    long = entity(
        Long, kind="long", key=Key(pk=("long", part.long_id), sk=("long",)), spill=2000, soft_delete="deleted_at"
    )
    async with storycore.open("memory") as store:
        longs = store.repository(long)
        await longs.create(Long(long_id="a", text="x" * 500_000))
        await longs.delete("a")
        assert [len(found.text) async for found in longs.deleted()] == [500_000]
        assert len((await longs.restore("a")).text) == 500_000


async def test_without_soft_deletion_there_is_nothing_to_restore(harness: Harness, store: EntityStore) -> None:
    """The calls say so; a purge is a deletion."""
    hard = entity(Page, kind="hard", key=Key(pk=("hard", part.page_id), sk=("hard",)))
    pages = Repository(hard, store, harness.env, cursor_key=b"k" * 16)
    await pages.create(Page(page_id="p1"))
    with pytest.raises(InvalidArgument, match="soft_delete"):
        await pages.restore("p1")
    with pytest.raises(InvalidArgument, match="soft_delete"):
        pages.deleted()
    assert await pages.purge("p1") is True


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("missing", "no field"),
        ("text", "datetime"),
        ("until", "another task"),
        (SoftDelete("deleted_at", keep=timedelta(0)), "longer than no time"),
        (7, "name of a field"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(given: str, told: str) -> None:
    """When it is made."""
    with pytest.raises(ConfigError, match=told):
        entity(Page, kind="page", key=Key(pk=("book", part.book), sk=(part.page_id,)), ttl="until", soft_delete=given)


def test_the_time_of_deletion_must_be_absent_by_default() -> None:
    """Else an instance would be born deleted."""

    class Born(BaseModel):
        born_id: str
        deleted_at: datetime | None

    with pytest.raises(ConfigError, match="None by default"):
        entity(Born, kind="born", key=Key(pk=("born", part.born_id), sk=("born",)), soft_delete="deleted_at")
