"""Unique values: one live instance holds each, whatever many writers do, and no marker outlives its owner."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest
import pytest_asyncio
from pydantic import AwareDatetime, BaseModel

from storycore.entities import Entity, Key, Repository, Unique, entity, part
from storycore.entities.uniqueness import HELD_FIELD, marker_key
from storycore.errors import (
    AlreadyExists,
    ConditionFailed,
    InvalidArgument,
    NotFound,
    NotUnique,
    PartialFailure,
    Retry,
    VersionConflict,
)
from storycore.layers.around import Around, Operation
from storycore.ports.conditions import ANY, PRESENT, Matches
from storycore.ports.entities import EntityStore, Record, Segment
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.servers import served

T = TypeVar("T")

SOON = timedelta(hours=1)


class Member(BaseModel):
    member_id: str
    tenant: str = "t1"
    name: str | None = None
    email: str | None = None
    badge: int | None = None
    visits: int = 0
    until: AwareDatetime | None = None
    deleted_at: AwareDatetime | None = None


UNIQUE = [Unique("name", within=("tenant",)), Unique("email", fold="casefold"), Unique("badge")]
MEMBER = entity(
    Member,
    kind="member",
    key=Key(pk=("member", part.member_id), sk=("member",)),
    counters=("visits",),
    ttl="until",
    unique=UNIQUE,
)
KEPT = entity(
    Member,
    kind="kept",
    key=Key(pk=("kept", part.member_id), sk=("kept",)),
    ttl="until",
    unique=UNIQUE,
    soft_delete="deleted_at",
)


class Hesitating:
    """Lets others run before and after each operation, so that memory is as interleaved as any store."""

    slot: ClassVar[int] = 50

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(0)
        result = await proceed()
        await asyncio.sleep(0)
        return result


@pytest.fixture(params=os.environ.get("STORYCORE_TEST_ENTITIES", "memory sqlite").split())
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    """One more adapter, as dynamodb, takes two minutes: name it in STORYCORE_TEST_ENTITIES."""
    served_by = served(request.param, request.config)
    return Harness(PortName.ENTITIES, request.param, {}, tmp_path, served=served_by)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[EntityStore]:
    opened = await harness.started()
    layered: EntityStore = Around(PortName.ENTITIES, opened, [Hesitating()])
    yield layered
    await opened.close()


@pytest.fixture
def members(harness: Harness, store: EntityStore) -> Repository[Member]:
    return Repository(MEMBER, store, harness.env, cursor_key=b"k" * 16)


@pytest.fixture
def kept(harness: Harness, store: EntityStore) -> Repository[Member]:
    return Repository(KEPT, store, harness.env, cursor_key=b"k" * 16)


async def all_records(store: EntityStore) -> list[Record]:
    """Everything live in a store."""
    found: list[Record] = []
    page = await store.scan(Segment(), limit=1000)
    found += page.records
    while page.next is not None:
        page = await store.scan(Segment(), after=page.next, limit=1000)
        found += page.records
    return found


async def assert_markers_fit(store: EntityStore) -> None:
    """Every marker belongs to exactly one live owner, which names it and expires with it; and none is missing."""
    records = await all_records(store)
    held = {
        marker_key(record.kind, value): (record.key, record.expires_at)
        for record in records
        for value in _values(record)
    }
    assert len(held) == sum(len(_values(record)) for record in records)
    markers = {
        record.key: (record.fields["pk"], record.fields["sk"], record.expires_at)
        for record in records
        if record.kind.endswith("~unique")
    }
    assert markers == {marker: (key.pk, key.sk, until) for marker, (key, until) in held.items()}


def _values(record: Record) -> frozenset[str]:
    values = record.fields.get(HELD_FIELD, frozenset())
    assert isinstance(values, frozenset)
    return values


async def test_a_taken_value_is_refused_and_named_by_its_fields(
    members: Repository[Member], store: EntityStore
) -> None:
    """The error tells the constraint and the fields, and not the value."""
    await members.create(Member(member_id="a", email="ada@example.com"))
    with pytest.raises(NotUnique) as caught:
        await members.create(Member(member_id="b", email="ada@example.com"))
    error = caught.value
    assert (error.kind, error.constraint, error.fields) == ("member", "email", ("email",))
    assert (error.code, error.retry) == ("not_unique", Retry.NEVER)
    assert "email" in error.message
    assert "ada" not in error.message
    assert await members.find("b") is None
    await assert_markers_fit(store)


async def test_a_value_is_free_again_when_its_holder_changes_loses_or_leaves(
    members: Repository[Member], store: EntityStore
) -> None:
    """By another value, by ``None``, by deletion, by a deletion of many."""
    leaving: list[Callable[[Member], Awaitable[object]]] = [
        lambda m: members.patch(m.member_id, set={"email": "other@example.com"}),
        lambda m: members.patch(m.member_id, unset=("email",)),
        lambda m: members.put(m.model_copy(update={"email": None})),
        lambda m: members.put(Member(member_id=m.member_id)),
        lambda m: members.modify(m.member_id, lambda _: {"email": None}),
        lambda m: members.delete(m),
        lambda m: members.delete(m.member_id),
        lambda m: members.delete_batch([m.member_id]),
        lambda m: members.purge(m.member_id),
    ]
    for number, leave in enumerate(leaving):
        holder = await members.create(Member(member_id=f"m{number}", email="one@example.com"))
        with pytest.raises(NotUnique):
            await members.create(Member(member_id="late", email="one@example.com"))
        await leave(holder)
        await members.delete(f"m{number}")
        await assert_markers_fit(store)


async def test_case_does_not_make_a_folded_value_another(members: Repository[Member]) -> None:
    """Neither in ASCII nor beyond; without folding it does."""
    await members.create(Member(member_id="a", email="Stra\N{LATIN SMALL LETTER SHARP S}e@Example.com", name="Ada"))
    with pytest.raises(NotUnique):
        await members.create(Member(member_id="b", email="STRASSE@example.COM"))
    await members.create(Member(member_id="c", name="ada"))


async def test_a_value_is_unique_within_its_scope_only(members: Repository[Member]) -> None:
    """And moving to another scope may meet it there."""
    await members.create(Member(member_id="a", tenant="t1", name="ada"))
    await members.create(Member(member_id="b", tenant="t2", name="ada"))
    with pytest.raises(NotUnique, match="within the same tenant"):
        await members.patch("b", set={"tenant": "t1"})
    await members.patch("a", set={"tenant": "t3"})
    assert (await members.patch("b", set={"tenant": "t1"})).tenant == "t1"


async def test_values_that_look_alike_when_joined_are_different(members: Repository[Member]) -> None:
    """Parts are kept apart, and values of any length are told apart."""
    long = "x" * 3000
    await members.create(Member(member_id="a", tenant="a#b", name="c"))
    await members.create(Member(member_id="b", tenant="a", name="b#c"))
    await members.create(Member(member_id="c", name=long))
    await members.create(Member(member_id="d", name=long + "x"))
    with pytest.raises(NotUnique):
        await members.create(Member(member_id="e", name=long))


async def test_the_own_value_is_no_obstacle(members: Repository[Member], store: EntityStore) -> None:
    """Writing an instance again in any way keeps its markers."""
    member = await members.create(Member(member_id="a", email="a@example.com", badge=7))
    for write in (
        lambda: members.put(member),
        lambda: members.put(Member(member_id="a", email="a@example.com", badge=7)),
        lambda: members.put(Member(member_id="a", email="A@example.com", badge=7), when=PRESENT),
        lambda: members.patch("a", set={"tenant": "t2"}),
        lambda: members.patch("a", add={"visits": 1}),
        lambda: members.save_batch([Member(member_id="a", email="a@example.com", badge=7)]),
        lambda: members.upsert(Member(member_id="a", email="a@example.com"), set={"tenant": "t3"}),
    ):
        await write()
        await assert_markers_fit(store)
        with pytest.raises(NotUnique):
            await members.create(Member(member_id="b", badge=7))


async def test_conditions_of_a_put_hold_with_unique_values_too(members: Repository[Member], store: EntityStore) -> None:
    """Absent, present, any and a version mean what they mean without."""
    with pytest.raises(NotFound):
        await members.put(Member(member_id="a", badge=1), when=PRESENT)
    first = await members.put(Member(member_id="a", badge=1), when=ANY)
    stale = first.model_copy()
    with pytest.raises(AlreadyExists):
        await members.create(Member(member_id="a", badge=2))
    second = await members.put(first.model_copy(update={"badge": 3}))
    with pytest.raises(VersionConflict):
        await members.put(stale)
    with pytest.raises(VersionConflict):
        await members.delete(stale)
    [record] = await store.get([members.address("a")])
    assert record is not None
    with pytest.raises(VersionConflict):
        await members.put(Member(member_id="a", badge=4), when=Matches(type(record.version)(record.version + 1)))
    await members.put(Member(member_id="a", badge=4), when=Matches(record.version))
    assert second.badge == 3
    assert (await members.get("a")).badge == 4
    await assert_markers_fit(store)


async def test_a_copy_under_another_key_leaves_the_first_its_values(
    members: Repository[Member], store: EntityStore
) -> None:
    """What an instance remembers counts for its own key only."""
    first = await members.create(Member(member_id="a", badge=1))
    await members.put(first.model_copy(update={"member_id": "b", "badge": 2}))
    with pytest.raises(NotUnique):
        await members.put(first.model_copy(update={"member_id": "c"}))
    await assert_markers_fit(store)


async def test_markers_expire_with_their_owner(
    members: Repository[Member], store: EntityStore, harness: Harness
) -> None:
    """Also when the expiry moves, with or without another change; then the values are free."""
    now = harness.clock.now()
    member = await members.create(Member(member_id="a", badge=1, until=now + SOON))
    await assert_markers_fit(store)
    member.until = now + 2 * SOON
    await members.put(member)
    await assert_markers_fit(store)
    harness.clock.advance(1.5 * SOON)
    with pytest.raises(NotUnique):
        await members.create(Member(member_id="b", badge=1))
    harness.clock.advance(SOON)
    assert await all_records(store) == []
    await members.create(Member(member_id="b", badge=1))
    await members.create(Member(member_id="a", badge=2))
    await assert_markers_fit(store)


async def test_a_batch_keeps_values_unique_and_tells_which_failed(
    members: Repository[Member], store: EntityStore
) -> None:
    """Of two in one batch with the same value one is stored."""
    batch = [Member(member_id=f"m{i}", badge=i % 20) for i in range(40)]
    with pytest.raises(PartialFailure) as caught:
        await members.save_batch(batch)
    assert len(caught.value.errors) == 20
    assert {type(error) for error in caught.value.errors.values()} == {NotUnique}
    assert len([member async for member in members.scan()]) == 20
    await assert_markers_fit(store)
    with pytest.raises(InvalidArgument, match="same key"):
        await members.save_batch([Member(member_id="m1"), Member(member_id="m1")])
    assert await members.delete_batch([f"m{i}" for i in range(40)]) == 20
    assert await all_records(store) == []


async def test_what_held_a_value_by_an_older_declaration_gives_it_back(harness: Harness, store: EntityStore) -> None:
    """The record knows its markers, though the constraint is declared no more or otherwise."""
    before = Repository(MEMBER, store, harness.env, cursor_key=b"k" * 16)
    await before.create(Member(member_id="a", name="ada", email="a@example.com", badge=1))
    later = entity(
        Member, kind="member", key=Key(pk=("member", part.member_id), sk=("member",)), unique=[Unique("name")]
    )
    after = Repository(later, store, harness.env, cursor_key=b"k" * 16)
    await after.put(await after.get("a"))
    await assert_markers_fit(store)
    assert len(await all_records(store)) == 2


async def test_instances_from_before_the_constraint_do_not_take_what_others_hold(
    harness: Harness, store: EntityStore
) -> None:
    """They have no marker, so they release none; they get theirs with their next write."""
    bare = entity(Member, kind="member", key=Key(pk=("member", part.member_id), sk=("member",)))
    old = Repository(bare, store, harness.env, cursor_key=b"k" * 16)
    await old.create(Member(member_id="a", badge=1))
    members = Repository(MEMBER, store, harness.env, cursor_key=b"k" * 16)
    await members.create(Member(member_id="b", badge=1))
    await members.delete("a")
    with pytest.raises(NotUnique):
        await members.create(Member(member_id="c", badge=1))
    await assert_markers_fit(store)


async def test_exactly_one_of_many_wins_a_value(members: Repository[Member], store: EntityStore) -> None:
    """Tasks that create at the same time never share it."""

    async def attempt(number: int) -> bool:
        try:
            await members.create(Member(member_id=f"m{number}", email="one@example.com"))
        except NotUnique:
            return False
        return True

    won = await asyncio.gather(*(attempt(number) for number in range(20)))
    assert sum(won) == 1
    await assert_markers_fit(store)


@pytest.mark.parametrize("declared", [MEMBER, KEPT], ids=["hard", "soft"])
@pytest.mark.parametrize("seed", range(6))
async def test_no_history_leaves_two_holders_or_a_marker_without_owner(
    harness: Harness, store: EntityStore, declared: Entity[Member], seed: int
) -> None:
    """Several tasks write at random, time passes, and the store is walked in the end."""
    members = Repository(declared, store, harness.env, cursor_key=b"k" * 16)
    await asyncio.gather(*(_wander(members, random.Random(seed * 10 + task), harness) for task in range(4)))
    await assert_markers_fit(store)
    harness.clock.advance(10 * SOON)
    await assert_markers_fit(store)


async def _wander(members: Repository[Member], chance: random.Random, harness: Harness) -> None:
    seen: list[Member] = []

    def some() -> Member:
        return Member(
            member_id=chance.choice("abcd"),
            tenant=chance.choice(["t1", "t2"]),
            name=chance.choice([None, "x", "y"]),
            badge=chance.choice([None, 1, 2, 3]),
            until=chance.choice([None, harness.clock.now() + SOON, harness.clock.now() + 3 * SOON]),
        )

    async def act() -> None:
        member = some()
        match chance.randrange(10):
            case 0:
                seen.append(await members.create(member))
            case 1:
                seen.append(await members.put(member))
            case 2 if seen:
                known = chance.choice(seen)
                known.badge, known.name = member.badge, member.name
                await members.put(known)
            case 3:
                await members.patch(member.member_id, set={"badge": member.badge, "until": member.until})
            case 4:
                await members.delete(chance.choice(seen) if seen and chance.random() < 0.5 else member.member_id)
            case 5:
                await members.save_batch([member, member.model_copy(update={"member_id": "e"})])
            case 6:
                await members.upsert(member, set={"name": member.name})
            case 7:
                await members.delete_batch(["a", "b"])
            case 8:
                harness.clock.advance(timedelta(minutes=chance.choice([0, 1, 40])))
            case _ if members.entity.soft_delete is not None:
                await (members.restore if chance.random() < 0.8 else members.purge)(member.member_id)
            case _:
                seen.append(await members.get(member.member_id))

    for _ in range(25):
        try:
            await act()
        except (ConditionFailed, NotFound, PartialFailure):
            await asyncio.sleep(0)
