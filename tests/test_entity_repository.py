"""Repositories: models in, models out, the same over the reference and over SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import AwareDatetime, BaseModel, Field

import storycore
from storycore.entities import Index, Key, Repository, entity, part
from storycore.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidFilter,
    InvalidKey,
    NotFound,
    SchemaMismatch,
    TooLarge,
    VersionConflict,
)
from storycore.filters import F
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore.ports.entities import EntityStore
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness


class Note(BaseModel):
    note_id: str
    owner: str = "ada"
    text: str = ""
    pages: int = Field(default=1, ge=1)
    ratio: float = 0.5
    extra: str = ""
    stars: int = Field(default=0, ge=0)
    rank: int = 0
    paid: Decimal = Decimal(0)
    until: AwareDatetime | None = None
    made_at: AwareDatetime | None = None
    changed_at: AwareDatetime | None = None


NOTE = entity(
    Note,
    kind="note",
    key=Key(pk=("note", part.note_id), sk=("note",)),
    indexes=[
        Index("by_owner", slot=1, pk=("owner", part.owner), sk=(part.text,)),
        Index("by_rank", slot=2, pk=("ranks",), sk=(part.rank,)),
    ],
    promoted=("owner",),
    counters=("stars", "rank", "paid"),
    ttl="until",
    timestamps=("made_at", "changed_at"),
)

LONG = Note(note_id="long", extra="x" * 410_000)


class Line(BaseModel):
    book: str
    number: int


LINE = entity(Line, kind="line", key=Key(pk=("book", part.book), sk=(part.number,)))


@pytest.fixture(params=["memory", "sqlite"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    return Harness(PortName.ENTITIES, request.param, {}, tmp_path)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[EntityStore]:
    opened = await harness.started()
    yield opened
    await opened.close()


@pytest.fixture
def notes(harness: Harness, store: EntityStore) -> Repository[Note]:
    return Repository(NOTE, store, harness.env, cursor_key=b"k" * 16)


@pytest.fixture
def lines(harness: Harness, store: EntityStore) -> Repository[Line]:
    return Repository(LINE, store, harness.env, cursor_key=b"k" * 16)


async def test_what_is_created_can_be_read_in_every_way(notes: Repository[Note]) -> None:
    """By name of the part, by value, by mapping, by instance, and many at once."""
    note = await notes.create(Note(note_id="n1", text="river"))
    for found in (
        await notes.get(note_id="n1"),
        await notes.get("n1"),
        await notes.get({"note_id": "n1"}),
        await notes.get(note),
        await notes.get(notes.address("n1"), consistent=True),
        await notes.find("n1"),
        *await notes.get_many(["n1", {"note_id": "n1"}]),
    ):
        assert found == note


async def test_many_keys_are_answered_in_their_order(notes: Repository[Note]) -> None:
    """``None`` stands where there is none, and a key may repeat."""
    await notes.create(Note(note_id="a"))
    found = await notes.get_many(["b", "a", "b", "a"])
    assert [note.note_id if note else None for note in found] == [None, "a", None, "a"]
    assert await notes.get_many([]) == []


async def test_a_missing_instance_is_not_found_or_none(notes: Repository[Note]) -> None:
    """``get`` raises, ``find`` does not."""
    with pytest.raises(NotFound, match="no note"):
        await notes.get("missing")
    assert await notes.find("missing") is None


async def test_a_second_create_is_refused(notes: Repository[Note]) -> None:
    """And leaves the first as it was."""
    await notes.create(Note(note_id="n1", text="first"))
    with pytest.raises(AlreadyExists):
        await notes.create(Note(note_id="n1", text="second"))
    assert (await notes.get("n1")).text == "first"


async def test_put_returns_the_same_instance_ready_to_be_put_again(notes: Repository[Note]) -> None:
    """Its stamp moves on with every write."""
    note = Note(note_id="n1")
    assert await notes.put(note) is note
    for text in ("a", "b", "c"):
        note.text = text
        assert await notes.save(note) is note
    assert (await notes.get("n1")).text == "c"


async def test_a_stale_instance_is_refused_and_its_reload_is_not(notes: Repository[Note]) -> None:
    """Nobody overwrites what they have not seen."""
    await notes.create(Note(note_id="n1"))
    mine, yours = await notes.get("n1"), await notes.get("n1")
    mine.text = "mine"
    current = await notes.put(mine)
    yours.text = "yours"
    with pytest.raises(VersionConflict) as caught:
        await notes.put(yours)
    assert caught.value.current is not None
    assert (await notes.get("n1")).text == "mine"
    assert (await notes.put(current.model_copy(update={"text": "mine again"}))).text == "mine again"


async def test_a_deleted_and_created_again_instance_is_another(notes: Repository[Note]) -> None:
    """The old stamp does not fit by chance."""
    old = await notes.create(Note(note_id="n1"))
    await notes.delete("n1")
    with pytest.raises(VersionConflict) as caught:
        await notes.put(old)
    assert caught.value.current is None
    await notes.create(Note(note_id="n1"))
    with pytest.raises(VersionConflict):
        await notes.put(old)


async def test_an_instance_that_was_never_stored_replaces_what_is_there(notes: Repository[Note]) -> None:
    """It makes no claim about a version."""
    await notes.put(Note(note_id="n1", text="first"))
    await notes.put(Note(note_id="n1", text="second"))
    assert (await notes.get("n1")).text == "second"


async def test_a_copy_under_another_id_is_new(notes: Repository[Note]) -> None:
    """The stamp stays with the key it belongs to."""
    note = await notes.create(Note(note_id="n1", text="x"))
    await notes.create(note.model_copy(update={"note_id": "n2"}))
    assert (await notes.get("n2")).text == "x"


async def test_a_condition_of_ones_own_takes_the_place_of_the_stamp(notes: Repository[Note]) -> None:
    """``ANY``, ``ABSENT`` and ``PRESENT``."""
    with pytest.raises(NotFound):
        await notes.put(Note(note_id="n1"), when=PRESENT)
    stale = await notes.put(Note(note_id="n1"), when=ABSENT)
    await notes.put(Note(note_id="n1"))
    await notes.put(stale, when=ANY)
    assert await notes.delete("n1", when=PRESENT)
    with pytest.raises(NotFound):
        await notes.delete("n1", when=PRESENT)


async def test_delete_tells_whether_there_was_one(notes: Repository[Note]) -> None:
    """Removing what is not there is no error."""
    await notes.create(Note(note_id="n1"))
    assert (await notes.delete(note_id="n1"), await notes.delete(note_id="n1")) == (True, False)


async def test_a_loaded_instance_is_deleted_only_in_its_version(notes: Repository[Note]) -> None:
    """Somebody's change is not removed unseen."""
    stale = await notes.create(Note(note_id="n1"))
    await notes.patch("n1", set={"text": "x"})
    with pytest.raises(VersionConflict):
        await notes.delete(stale)
    assert await notes.delete(await notes.get("n1"))


async def test_a_failed_write_leaves_the_callers_instance_alone(notes: Repository[Note], harness: Harness) -> None:
    """No timestamp and no stamp is kept of a write that did not happen."""
    await notes.create(Note(note_id="n1"))
    second = Note(note_id="n1")
    with pytest.raises(AlreadyExists):
        await notes.create(second)
    assert second == Note(note_id="n1")


async def test_timestamps_are_set_on_the_way(notes: Repository[Note], harness: Harness) -> None:
    """Created once, changed with every write; explicit times of a new instance are kept, as for an import."""
    start = harness.clock.now()
    note = await notes.create(Note(note_id="n1"))
    assert (note.made_at, note.changed_at) == (start, start)
    harness.clock.advance(60)
    await notes.put(note)
    patched = await notes.patch("n1", set={"text": "x"})
    assert (note.made_at, note.changed_at) == (start, harness.clock.now())
    assert (patched.made_at, patched.changed_at) == (start, harness.clock.now())
    early = start - timedelta(days=9)
    imported = await notes.create(Note(note_id="n2", made_at=early, changed_at=early))
    assert (imported.made_at, imported.changed_at) == (early, early)
    assert await notes.get("n2") == imported


async def test_an_expired_instance_is_absent(notes: Repository[Note], harness: Harness) -> None:
    """For reads, listings and conditions, from the instant on."""
    await notes.create(Note(note_id="n1", until=harness.clock.now() + timedelta(hours=1)))
    harness.clock.advance(timedelta(minutes=59))
    assert await notes.find("n1") is not None
    harness.clock.advance(timedelta(minutes=1))
    assert await notes.find("n1") is None
    assert await notes.scan().to_list() == []
    assert (await notes.by_owner.page(owner="ada")).items == []
    with pytest.raises(NotFound):
        await notes.patch("n1", add={"stars": 1})
    await notes.create(Note(note_id="n1", text="again"))
    assert (await notes.get("n1")).text == "again"


async def test_an_item_beyond_the_limit_is_too_large(notes: Repository[Note]) -> None:
    """What production cannot store is refused on the laptop."""
    with pytest.raises(TooLarge):
        await notes.create(LONG.model_copy())


async def test_keys_of_several_parts_are_named(lines: Repository[Line]) -> None:
    """The table's own partition is a listing, in the order of the sort key."""
    for number in (10, 2, -1):
        await lines.create(Line(book="b", number=number))
    await lines.create(Line(book="c", number=1))
    assert await lines.get(book="b", number=2) == Line(book="b", number=2)
    assert [line.number async for line in lines.query(book="b")] == [-1, 2, 10]
    assert [line.number async for line in lines.query(book="b", low=0, reverse=True, consistent=True)] == [10, 2]
    assert (await lines.table.page(book="b", limit=1)).items == [Line(book="b", number=-1)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "needs book, number"),
        ({"book": "b"}, "needs number"),
        ({"book": "b", "number": 1, "numbr": 2}, "Did you mean 'number'"),
        ({"book": "b", "number": "1"}, "must be int"),
        ({"book": "b", "number": True}, "must be int"),
        ({"book": "", "number": 1}, "is empty"),
    ],
)
async def test_a_key_that_does_not_fit_is_explained(
    lines: Repository[Line], parts: dict[str, object], message: str
) -> None:
    """Missing, unknown, empty and of the wrong type."""
    with pytest.raises((InvalidArgument, InvalidKey), match=message):
        await lines.get(**parts)


async def test_a_bare_value_is_no_key_of_several_parts(lines: Repository[Line]) -> None:
    """And a key is given in one way only."""
    with pytest.raises(InvalidArgument, match="name each"):
        await lines.get("b")
    with pytest.raises(InvalidArgument, match="not both"):
        await lines.get({"book": "b", "number": 1}, number=1)


async def test_unknown_indexes_are_suggested(notes: Repository[Note]) -> None:
    """As an attribute and by name."""
    with pytest.raises(AttributeError, match="Did you mean 'by_owner'"):
        _ = notes.by_ownr
    with pytest.raises(InvalidArgument, match="Did you mean 'by_owner'"):
        notes.query("by_ownr", owner="ada")
    assert not hasattr(notes, "_private")


async def test_scan_gives_all_of_one_kind(notes: Repository[Note], lines: Repository[Line]) -> None:
    """Other entities in the same store are not seen; a filter in either form is applied."""
    await notes.save_batch([Note(note_id=f"n{number:03}", stars=number) for number in range(150)])
    await lines.save_batch([Line(book="b", number=number) for number in range(150)])
    assert sorted([note.note_id async for note in notes.scan()]) == [f"n{number:03}" for number in range(150)]
    assert {note.stars async for note in notes.scan(where=F.stars >= 148)} == {148, 149}
    assert {note.stars async for note in notes.scan(where={"stars": {"$lt": 2}})} == {0, 1}
    with pytest.raises(InvalidFilter, match="Did you mean 'stars'"):
        notes.scan(where=F.star == 1)


async def test_a_scan_can_be_taken_up_again(notes: Repository[Note]) -> None:
    """Its pages have cursors like any listing's."""
    await notes.save_batch([Note(note_id=f"n{number:03}") for number in range(250)])
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        async for page in notes.scan().pages(after=cursor):
            seen += [note.note_id for note in page.items]
            cursor = page.cursor
            break
    assert cursor is None
    assert sorted(seen) == [f"n{number:03}" for number in range(250)]


async def test_another_kind_under_the_same_key_is_a_mismatch(harness: Harness, store: EntityStore) -> None:
    """It is neither read as something else nor taken for absent."""
    other = entity(Note, kind="other", key=Key(pk=("note", part.note_id), sk=("note",)))
    await Repository(other, store, harness.env, cursor_key=b"k" * 16).create(Note(note_id="n1"))
    with pytest.raises(SchemaMismatch, match="other"):
        await Repository(NOTE, store, harness.env, cursor_key=b"k" * 16).get("n1")


WRONG: dict[str, Callable[[Any], object]] = {
    "create a mapping": lambda notes: notes.create({"note_id": "x"}),
    "put nothing": lambda notes: notes.put(None),
    "put another model": lambda notes: notes.put(Line(book="b", number=1)),
    "upsert a mapping": lambda notes: notes.upsert({"note_id": "x"}),
    "save one": lambda notes: notes.save_batch(Note(note_id="x")),
    "get many by one": lambda notes: notes.get_many("n1"),
    "get many by an instance": lambda notes: notes.get_many(Note(note_id="n1")),
    "delete many by one": lambda notes: notes.delete_batch("n1"),
    "delete many by nothing": lambda notes: notes.delete_batch(None),
    "set a list": lambda notes: notes.patch("n1", set=["text"]),
    "add a list": lambda notes: notes.patch("n1", add=["stars"]),
    "unset a text": lambda notes: notes.patch("n1", unset="text"),
    "unset a number": lambda notes: notes.patch("n1", unset=[5]),
    "set by a number": lambda notes: notes.patch("n1", set={5: 1}),
    "add what has no sum": lambda notes: notes.patch("n1", add={"ratio": 10**400}),
    "add what is no number": lambda notes: notes.patch("n1", add={"ratio": Decimal("sNaN")}),
    "modify to an instance": lambda notes: notes.modify("n1", lambda note: note),
    "list by a number": lambda notes: notes.query(5),
    "list by a list": lambda notes: notes.query(["by_owner"]),
    "summaries as mappings": lambda notes: notes.by_owner.project(dict),
}
"""What callers get wrong, by what they tried."""


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
async def test_what_is_wrong_is_refused_in_words_and_writes_nothing(
    notes: Repository[Note], wrong: Callable[[Any], Any]
) -> None:
    """Whatever is handed in, the error is one of the family."""
    await notes.create(Note(note_id="n1"))
    await notes.create(Note(note_id="1"))
    before = [note async for note in notes.scan()]
    with pytest.raises(InvalidArgument):
        await wrong(notes)
    assert [note async for note in notes.scan()] == before


@pytest.mark.parametrize("wrong", [Note, None, Note(note_id="x")], ids=["model", "nothing", "instance"])
async def test_a_store_wants_declarations(wrong: Any) -> None:
    """A model alone does not tell how it is stored."""
    async with storycore.open("memory") as store:
        for call in (store.repository, store.collection, lambda given: store.changes(kinds=[given])):
            with pytest.raises(InvalidArgument, match=r"entity\(\)"):
                call(wrong)
        with pytest.raises(InvalidArgument, match=r"entity\(\)"):
            await store.upgrade(wrong)
