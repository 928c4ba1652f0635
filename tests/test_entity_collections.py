"""Collections: several entities of one partition in one walk, each instance of its own model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import storycore
from storycore.entities import Collection, Entity, Index, Key, Repository, Sharded, entity, part
from storycore.errors import ConfigError, InvalidArgument, InvalidCursor, InvalidFilter
from storycore.filters import F
from storycore.layers.checks import checked
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.entities import EntityStore, Put
from storycore.ports.entities import Key as RecordKey
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness

SECRET = b"k" * 16
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Owner(BaseModel):
    user_id: str
    name: str
    at: datetime = NOON


class Note(BaseModel):
    user_id: str
    note_id: str
    text: str = ""
    stars: int = 0
    at: datetime = NOON


class Order(BaseModel):
    user_id: str
    number: int
    total: int = 0
    at: datetime = NOON


class Line(BaseModel):
    user_id: str
    at: datetime


HOME = ("user", part.user_id)


def timeline(shards: int = 0) -> list[Index]:
    pk: Any = ("at", part.user_id, Sharded(shards, by=part.at)) if shards else ("at", part.user_id)
    return [Index("by_time", slot=1, pk=pk, sk=(part.at,))]


LISTED: Any = {"indexes": timeline(), "promoted": ("user_id", "at")}  # arguments of entity()
OWNER = entity(Owner, kind="owner", key=Key(pk=HOME, sk=("#owner",)), **LISTED)
NOTE = entity(Note, kind="note", key=Key(pk=HOME, sk=("note", part.note_id)), **LISTED)
ORDER = entity(Order, kind="order", key=Key(pk=HOME, sk=("order", part.number)), **LISTED)


PROMOTED = ("user_id", "at")


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EntityStore]:
    opened = await Harness(PortName.ENTITIES, request.param, {}, tmp_path).started()
    yield opened
    await opened.close()


def over(store: EntityStore, declared: Entity[Any]) -> Repository[Any]:
    return Repository(declared, store, Environment(), cursor_key=SECRET)


def collection(store: EntityStore, *declared: Entity[Any], index: str | None = None) -> Collection[Any]:
    return Collection(declared or (OWNER, NOTE, ORDER), store, cursor_key=SECRET, index=index)


async def fill(store: EntityStore) -> list[Any]:  # instances of three models
    """Instances of one partition in the order of their keys, and others beside them."""
    first = [Owner(user_id="u", name="Ada", at=NOON + timedelta(minutes=7, seconds=30))]
    notes = [Note(user_id="u", note_id=f"n{n}", stars=n, at=NOON + timedelta(minutes=2 * n)) for n in range(5)]
    orders = [Order(user_id="u", number=n, total=n, at=NOON + timedelta(minutes=2 * n + 1)) for n in range(5)]
    await over(store, OWNER).save_batch([*first, Owner(user_id="v", name="Bob")])
    await over(store, NOTE).save_batch([*notes, Note(user_id="v", note_id="n1")])
    await over(store, ORDER).save_batch(orders)
    await store.write([Put(key=RecordKey("user#u", "zebra"), kind="zebra", body=b"{}")])
    return [*first, *notes, *orders]


async def test_one_query_reads_several_entities(store: EntityStore) -> None:
    """In the order of their keys, each of its own model; other partitions and unknown kinds do not show."""
    everything = await fill(store)
    assert await collection(store).query(user_id="u").to_list() == everything
    assert await collection(store).query(user_id="u").reverse().to_list() == everything[::-1]
    assert await collection(store, OWNER, ORDER).query(user_id="u").count() == 6
    assert await collection(store).query(user_id="x").to_list() == []
    page = await collection(store).page(user_id="u", limit=3, reverse=True)
    assert page.items == everything[:-4:-1]
    rest = await collection(store).page(user_id="u", limit=100, reverse=True, cursor=page.cursor)
    assert rest.items == everything[-4::-1]


async def test_a_collection_is_split_by_entity(store: EntityStore) -> None:
    """One list for each that is asked for, in their order; a foreign one is refused."""
    everything = await fill(store)
    owners, orders = await collection(store).query(user_id="u").split(OWNER, ORDER)
    assert [*owners, *orders] == [everything[0], *everything[6:]]
    notes, none = await collection(store).query(user_id="u").where(F.stars >= 3).split(NOTE, OWNER)
    assert ([note.stars for note in notes], none) == ([3, 4], [])
    with pytest.raises(InvalidArgument, match="'order' is not in this collection"):
        await collection(store, OWNER, NOTE).query(user_id="u").split(ORDER)


async def test_instances_of_a_collection_know_their_version(store: EntityStore) -> None:
    """What was read with others is saved like what was read alone."""
    await fill(store)
    (owner,) = [item async for item in collection(store).query(user_id="u") if isinstance(item, Owner)]
    await over(store, OWNER).patch(user_id="u", set={"name": "Eve"})
    owner.name = "Mallory"
    with pytest.raises(storycore.errors.VersionConflict):
        await over(store, OWNER).put(owner)


async def test_an_index_may_be_common_too(store: EntityStore) -> None:
    """Where sort keys are alike they have bounds in common."""
    everything = await fill(store)
    by_time = sorted(everything, key=lambda item: item.at)
    query = collection(store, index="by_time").query(user_id="u")
    assert await query.to_list() == by_time
    later = collection(store, index="by_time").query(user_id="u", low=NOON + timedelta(minutes=5))
    assert await later.to_list() == [item for item in by_time if item.at >= NOON + timedelta(minutes=5)]
    assert await collection(store, index="by_time").query(user_id="u", at=NOON).to_list() == by_time[:1]


async def test_a_collection_of_summaries(store: EntityStore) -> None:
    """One smaller model for all, where its fields are promoted in each."""
    everything = await fill(store)
    lines = await collection(store).query(user_id="u").project(Line).to_list()
    assert lines == [Line(user_id="u", at=item.at) for item in everything]
    with pytest.raises(InvalidArgument, match="name of the owner"):
        collection(store).query(user_id="u").project(Owner)


async def test_mixed_schemas_are_read_as_one(store: EntityStore) -> None:
    """Each record is upgraded as its own entity says."""
    await fill(store)
    newer = entity(
        Note, kind="note", key=Key(pk=HOME, sk=("note", part.note_id)), schema=2, upgrades={1: stars_doubled}
    )
    await over(store, newer).put(Note(user_id="u", note_id="n9", stars=1))
    _, notes = await collection(store, OWNER, newer).query(user_id="u").split(OWNER, newer)
    assert [note.stars for note in notes] == [0, 2, 4, 6, 8, 1]


def stars_doubled(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "stars": old["stars"] * 2}


async def test_a_cursor_belongs_to_its_collection(store: EntityStore) -> None:
    """Other kinds are another listing; the order in which they are named is none."""
    await fill(store)
    page = await collection(store, OWNER, NOTE).query(user_id="u").limit(2).page()
    rest = await collection(store, NOTE, OWNER).query(user_id="u").page(page.cursor)
    assert [note.note_id for note in rest.items] == ["n1", "n2", "n3", "n4"]
    for other in (collection(store), collection(store, OWNER, NOTE, index="by_time")):
        with pytest.raises(InvalidCursor):
            await other.query(user_id="u").page(page.cursor)
    with pytest.raises(InvalidCursor):
        await over(store, NOTE).query(user_id="u").page(page.cursor)


def named(kind: str, model: type[BaseModel] = Note, **more: Any) -> Entity[Any]:  # any arguments of entity()
    return entity(model, kind=kind, key=more.pop("key", Key(pk=HOME, sk=("note", part.note_id))), **more)


ORDER_KEY = Key(pk=HOME, sk=(part.number,))
OTHER_SLOT = [Index("by_time", slot=2, pk=("at", part.user_id), sk=(part.at,))]


class Numbered(BaseModel):
    user_id: int
    note_id: str


@pytest.mark.parametrize(
    ("declared", "index", "message"),
    [
        ((), None, "at least one"),
        ((NOTE, NOTE), None, "once"),
        ((NOTE, named("other")), None, "once"),
        ((NOTE, OWNER), "by_tim", "Did you mean 'by_time'"),
        (
            (NOTE, named("order", Order, key=Key(pk=("order", part.user_id), sk=(part.number,)))),
            None,
            r"\('user', user_id: str\) and \('order', user_id: str\)",
        ),
        ((NOTE, named("numbered", Numbered)), None, r"user_id: str\) and \('user', user_id: int\)"),
        ((NOTE, named("order", Order, key=ORDER_KEY, indexes=timeline(4))), "by_time", r"4 shards"),
        ((NOTE, named("order", Order, key=ORDER_KEY, indexes=OTHER_SLOT)), "by_time", "slots 1 and 2"),
    ],
)
def test_entities_that_do_not_share_partitions_are_refused(
    declared: tuple[Entity[Any], ...], index: str | None, message: str
) -> None:
    """When the collection is made; what differs is told."""
    with pytest.raises(ConfigError, match=message):
        Collection(declared, checked(PortName.ENTITIES, memory()), cursor_key=SECRET, index=index)


def memory() -> Any:  # the reference adapter
    return open_entities(MemoryConfig(), Environment())


async def test_arguments_that_do_not_fit_are_explained(store: EntityStore) -> None:
    """Parts, bounds and filters."""
    for arguments, error, message in (
        ({}, InvalidArgument, "needs user_id"),
        ({"user_id": "u", "note_id": "n"}, InvalidArgument, "no part 'note_id'"),
        ({"user_id": "u", "low": "a"}, InvalidArgument, "sort keys of owner, note, order differ"),
        ({"user_id": "u", "where": F.star == 1}, InvalidFilter, "Owner or Note or Order has no field 'star'"),
    ):
        with pytest.raises(error, match=message):
            collection(store).query(**arguments)  # type: ignore[arg-type]  # what is refused


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.tuples(st.sampled_from([NOTE, ORDER]), st.integers(0, 5)), max_size=14),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([None, "by_time"]),
    st.sampled_from([0, 3]),
)
def test_pages_of_a_collection_are_exact(
    found: list[tuple[Entity[Any], int]], limit: int, reverse: bool, index: str | None, shards: int
) -> None:
    """All pages are the instances of all entities in one order, on and back; also where the index is sharded."""
    both = [
        entity(e.model, kind=e.kind, key=Key(pk=HOME, sk=("x", part.at)), indexes=timeline(shards))
        for e in (NOTE, ORDER)
    ]
    chance = random.Random(1)
    items: dict[datetime, Any] = {}
    for number, (declared, at) in enumerate(found):
        moment = NOON + timedelta(minutes=at, microseconds=number)
        own = {"note_id": f"n{number}"} if declared is NOTE else {"number": number}
        items[moment] = declared.model.model_validate({"user_id": "u", "at": moment, "text": "x", **own})
    expected = [items[moment] for moment in sorted(items, reverse=reverse)]

    async def check() -> None:
        async with checked(PortName.ENTITIES, memory()) as store:
            for item in chance.sample(expected, len(expected)):
                await over(store, both[isinstance(item, Order)]).put(item)
            query = collection(store, *both, index=index).query(user_id="u", reverse=reverse).limit(limit)
            pages = [await query.page()]
            while pages[-1].cursor is not None:
                pages.append(await query.page(pages[-1].cursor))
            assert [item for page in pages for item in page.items] == expected
            assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
            back = pages[-1]
            for page in pages[-2::-1]:
                back = await query.page(back.previous)
                assert back.items == page.items

    asyncio.run(check())


async def test_a_store_makes_collections() -> None:
    """From declarations that its repositories know."""
    async with storycore.open("memory") as store:
        await store.repository(NOTE).create(Note(user_id="u", note_id="n"))
        await store.repository(OWNER).create(Owner(user_id="u", name="Ada"))
        owners, notes = await store.collection(OWNER, NOTE).query(user_id="u").split(OWNER, NOTE)
        assert ([owner.name for owner in owners], [note.note_id for note in notes]) == (["Ada"], ["n"])


def test_the_sync_store_makes_them_too() -> None:
    """A collection is read without ``await``."""
    with storycore.open_sync("memory") as store:
        store.repository(NOTE).create(Note(user_id="u", note_id="n"))
        query = store.collection(OWNER, NOTE).query(user_id="u").limit(5)
        assert [item.note_id for item in query] == ["n"]
        assert query.split(NOTE) == ([Note(user_id="u", note_id="n")],)
