"""Repositories: models in, models out, the same over the reference and over SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import AwareDatetime, BaseModel, Field

from storycore.entities import Index, Key, Repository, entity, part
from storycore.errors import (
    AlreadyExists,
    ConditionFailed,
    InvalidArgument,
    InvalidFilter,
    InvalidKey,
    NotFound,
    PartialFailure,
    SchemaMismatch,
    TooLarge,
    VersionConflict,
)
from storycore.filters import F
from storycore.layers.checks.forward import Forward
from storycore.ports import entities as records
from storycore.ports.conditions import ABSENT, ANY, PRESENT
from storycore.ports.entities import EntityStore, Record, Write, Written
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


class Recording(Forward[EntityStore]):
    """A store that tells what was asked of it."""

    def __init__(self, inner: EntityStore) -> None:
        super().__init__(inner)
        self.calls: list[str] = []

    async def get(self, keys: Sequence[records.Key], *, consistent: bool = True) -> list[Record | None]:
        self.calls.append(f"get consistent={consistent}")
        return await self.inner.get(keys, consistent=consistent)

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        self.calls.append(f"write {', '.join(type(write).__name__ for write in writes)}")
        return await self.inner.write(writes, atomic=atomic, token=token)

    async def query(self, plan: records.QueryPlan) -> records.RecordPage:
        return await self.inner.query(plan)

    async def scan(
        self, segment: records.Segment, *, after: records.Position | None = None, limit: int = 100
    ) -> records.RecordPage:
        return await self.inner.scan(segment, after=after, limit=limit)

    async def changes(self, after: records.FeedPosition | None = None, *, limit: int = 100) -> records.ChangePage:
        return await self.inner.changes(after, limit=limit)

    async def expire(self, now: Any, *, budget: int = 1000) -> int:
        return await self.inner.expire(now, budget=budget)


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
    for number in range(150):
        await notes.put(Note(note_id=f"n{number:03}", stars=number))
        await lines.put(Line(book="b", number=number))
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


async def test_a_patch_changes_what_it_names_and_keeps_the_rest(notes: Repository[Note]) -> None:
    """Set, add and unset together."""
    await notes.create(Note(note_id="n1", text="old", pages=7, ratio=0.25, paid=Decimal("1.10")))
    changed = await notes.patch(
        "n1", set={"text": "new"}, add={"pages": 2, "ratio": 0.5, "paid": Decimal("0.05")}, unset=["owner"]
    )
    assert (changed.text, changed.pages, changed.ratio, changed.paid) == ("new", 9, 0.75, Decimal("1.15"))
    assert changed == await notes.get("n1")
    changed.text = "newer"
    await notes.put(changed)


async def test_index_keys_follow_a_patch(notes: Repository[Note]) -> None:
    """No listing shows an instance under what it was."""
    await notes.create(Note(note_id="n1", text="a"))
    await notes.patch("n1", set={"owner": "bob", "text": "b"})
    assert (await notes.by_owner.page(owner="ada")).items == []
    assert [n.text for n in (await notes.by_owner.page(owner="bob", prefix="b")).items] == ["b"]
    await notes.patch("n1", add={"rank": 5})
    assert [n.rank for n in (await notes.by_rank.page(low=5)).items] == [5]
    assert (await notes.by_rank.page(high=5)).items == []


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({}, "changes nothing"),
        ({"set": {"txt": "x"}}, "Did you mean 'text'"),
        ({"unset": ["txt"]}, "Did you mean 'text'"),
        ({"add": {"star": 1}}, "Did you mean 'stars'"),
        ({"set": {"note_id": "n2"}}, "part of the key"),
        ({"set": {"stars": 1}, "add": {"stars": 1}}, "one of set, add and unset"),
        ({"add": {"text": 1}}, "no number"),
        ({"add": {"pages": "1"}}, "must be a number"),
        ({"add": {"pages": True}}, "must be a number"),
        ({"set": {"pages": 0}}, "pages"),
        ({"add": {"stars": -1}}, "stars"),
        ({"add": {"stars": Decimal("0.5")}}, "stars"),
        ({"unset": ["note_id"]}, "part of the key"),
    ],
)
async def test_a_patch_that_cannot_be_is_refused_and_changes_nothing(
    notes: Repository[Note], patch: dict[str, Any], message: str
) -> None:
    """The result must be valid by the model, counters included."""
    note = await notes.create(Note(note_id="n1"))
    with pytest.raises(InvalidArgument, match=message):
        await notes.patch("n1", **patch)
    assert await notes.get("n1") == note


async def test_a_patch_of_nothing_is_not_found(notes: Repository[Note]) -> None:
    """A patch never creates, by either way."""
    for patch in ({"add": {"stars": 1}}, {"set": {"text": "x"}}):
        with pytest.raises(NotFound, match="no note"):
            await notes.patch("n1", **patch)
    assert await notes.find("n1") is None


async def test_a_patch_under_a_condition_looks_at_what_is_stored(notes: Repository[Note]) -> None:
    """In either form of the filter language."""
    await notes.create(Note(note_id="n1", text="draft"))
    assert (await notes.patch("n1", set={"text": "done"}, when=F.text == "draft")).text == "done"
    with pytest.raises(ConditionFailed):
        await notes.patch("n1", set={"text": "x"}, when={"text": "draft"})
    with pytest.raises(ConditionFailed):
        await notes.patch("n1", add={"stars": 1}, when=F.stars > 0)
    assert ((await notes.get("n1")).text, (await notes.get("n1")).stars) == ("done", 0)


async def test_counting_alone_is_one_write_without_a_read(harness: Harness, store: EntityStore) -> None:
    """Only what something else depends on is read first, and then from the store itself."""
    recording = Recording(store)
    notes = Repository(NOTE, recording, harness.env, cursor_key=b"k" * 16)
    await notes.create(Note(note_id="n1"))
    recording.calls.clear()
    await notes.patch("n1", add={"stars": 1, "paid": Decimal("0.5")})
    assert recording.calls == ["write Patch"]
    recording.calls.clear()
    for read_first in ({"stars": -1}, {"rank": 1}, {"pages": 1}):
        await notes.patch("n1", add=read_first)
    assert recording.calls == ["get consistent=True", "write Put"] * 3


async def test_no_count_is_lost_among_many(notes: Repository[Note]) -> None:
    """Counts and other patches at once: every one of them lands."""
    await notes.create(Note(note_id="n1"))
    counts = [notes.patch("n1", add={"stars": 1}) for _ in range(40)]
    edits = [notes.patch("n1", add={"pages": 1}) for _ in range(8)]
    await asyncio.gather(*counts, *edits)
    note = await notes.get("n1")
    assert (note.stars, note.pages) == (40, 9)


async def test_counting_refuses_what_is_no_counter(notes: Repository[Note]) -> None:
    """``count`` is for counters alone."""
    await notes.create(Note(note_id="n1"))
    assert (await notes.count("n1", {"stars": 3})).stars == 3
    with pytest.raises(InvalidArgument, match="no counter 'pages'"):
        await notes.count("n1", {"pages": 1})


async def test_modify_changes_by_what_is_stored(notes: Repository[Note]) -> None:
    """The function sees the present instance, again when somebody was faster; nothing to change writes nothing."""
    note = await notes.create(Note(note_id="n1", text="a"))
    changed = await notes.modify("n1", lambda current: {"text": current.text + "b"})
    assert changed.text == "ab"
    same = await notes.modify("n1", lambda current: {})
    await notes.put(same)
    await asyncio.gather(*[notes.modify("n1", lambda now: {"pages": now.pages + 1}) for _ in range(8)])
    assert (await notes.get("n1")).pages == 9
    with pytest.raises(InvalidArgument, match="Did you mean 'text'"):
        await notes.modify("n1", lambda current: {"txt": ""})
    with pytest.raises(NotFound):
        await notes.modify("n2", lambda current: {"text": ""})
    assert note.text == "a"


async def test_a_batch_of_any_length_is_stored_and_stamped(notes: Repository[Note]) -> None:
    """Each instance can be put again at once."""
    batch = [Note(note_id=f"n{number}") for number in range(450)]
    assert await notes.save_batch(batch) == 450
    assert await notes.save_batch(batch) == 450
    assert await notes.save_batch([]) == 0
    assert len(await notes.scan().to_list()) == 450


async def test_a_batch_tells_of_each_failure_and_stores_the_others(notes: Repository[Note]) -> None:
    """Stale and too large ones fail alone, in every part of the batch."""
    stale = await notes.create(Note(note_id="n000"))
    await notes.patch("n000", set={"text": "newer"})
    batch = [stale, *(Note(note_id=f"n{number:03}") for number in range(1, 300))]
    batch[250].extra = LONG.extra
    with pytest.raises(PartialFailure) as caught:
        await notes.save_batch(batch)
    assert {position: type(error) for position, error in caught.value.errors.items()} == {
        0: VersionConflict,
        250: TooLarge,
    }
    assert len(caught.value.outcomes) == 300
    assert len(await notes.scan().to_list()) == 299


async def test_a_batch_with_a_mistake_stores_nothing(notes: Repository[Note]) -> None:
    """Two instances with one key, or an invalid one, are found before anything is written."""
    with pytest.raises(InvalidArgument, match="same key"):
        await notes.save_batch([Note(note_id="a"), Note(note_id="b"), Note(note_id="a")])
    wrong = Note(note_id="b")
    wrong.pages = 0
    with pytest.raises(InvalidArgument, match="pages"):
        await notes.save_batch([Note(note_id="a"), wrong])
    assert await notes.scan().to_list() == []


async def test_a_batch_is_deleted_and_counted(notes: Repository[Note]) -> None:
    """Whatever the versions; what is not there does not count."""
    await notes.save_batch([Note(note_id=f"n{number}") for number in range(230)])
    assert await notes.delete_batch([f"n{number}" for number in range(10, 240)]) == 220
    assert len(await notes.scan().to_list()) == 10
    assert await notes.delete_batch([]) == 0
