"""Patches: what they name changes, the rest stays, and no listing or count goes wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import pytest
import pytest_asyncio
from pydantic import AwareDatetime, BaseModel, Field

from storycore.entities import Index, Key, Repository, entity, part
from storycore.errors import (
    ConditionFailed,
    InvalidArgument,
    NotFound,
)
from storycore.filters import F
from storycore.layers.checks.forward import Forward
from storycore.ports import entities as records
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
        ({"set": {"stars": 1}, "add": {"stars": 1}}, "one part of a patch"),
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


UpToTwo = NewType("UpToTwo", Annotated[int, Field(le=2)])


class Bounded(BaseModel):
    id: str
    listed: Literal[0, 1, 2] = 2
    named: UpToTwo = UpToTwo(2)
    torn: Annotated[int, Field(le=2)] | Annotated[int, Field(ge=20)] = 2
    even: int = Field(default=2, multiple_of=2)


BOUNDED = entity(
    Bounded,
    kind="bounded",
    key=Key(pk=("bounded", part.id), sk=("bounded",)),
    counters=("listed", "named", "torn", "even"),
)


@pytest.mark.parametrize("counter", sorted(BOUNDED.counters))
async def test_counting_never_makes_an_instance_that_cannot_be_read(
    harness: Harness, store: EntityStore, counter: str
) -> None:
    """However the bound is written: a sum that the model would refuse is refused before it is stored."""
    bounded = Repository(BOUNDED, store, harness.env, cursor_key=b"k" * 16)
    await bounded.create(Bounded(id="a"))
    with pytest.raises(InvalidArgument, match="invalid"):
        await bounded.count("a", {counter: 1})
    assert await bounded.get("a") == Bounded(id="a")
