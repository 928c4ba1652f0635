"""Batches: any number of instances in few calls, and one outcome for each."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import AwareDatetime, BaseModel, Field

from storycore.entities import Index, Key, Repository, entity, part
from storycore.entities.batches import each_alone
from storycore.errors import (
    InvalidArgument,
    PartialFailure,
    TooLarge,
    Unavailable,
    VersionConflict,
)
from storycore.layers.checks.forward import Forward
from storycore.ports.entities import EntityStore, Write, Written
from storycore.ports.entities import Key as RecordKey
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


class Failing(Forward[EntityStore]):
    """A store that cannot be reached from some call on."""

    def __init__(self, inner: EntityStore, calls: int) -> None:
        super().__init__(inner)
        self.left = calls

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        self.left -= 1
        if self.left < 0:
            raise Unavailable("The store is away; try again later.")
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


async def test_a_store_that_goes_away_ends_the_batch(harness: Harness, store: EntityStore) -> None:
    """What was written is told, and nothing more is tried; if nothing was, the error is the store's own."""
    batch = [Note(note_id=f"n{number:03}") for number in range(450)]
    away: Repository[Note] = Repository(NOTE, Failing(store, 0), harness.env, cursor_key=b"k" * 16)
    with pytest.raises(Unavailable):
        await away.save_batch(batch)
    failing = Failing(store, 1)
    going: Repository[Note] = Repository(NOTE, failing, harness.env, cursor_key=b"k" * 16)
    with pytest.raises(PartialFailure) as caught:
        await going.save_batch(batch)
    assert sorted(caught.value.errors) == list(range(200, 450))
    assert {type(error) for error in caught.value.errors.values()} == {Unavailable}
    assert failing.left == -1
    notes: Repository[Note] = Repository(NOTE, store, harness.env, cursor_key=b"k" * 16)
    assert len(await notes.scan().to_list()) == 200


async def test_a_batch_that_is_cancelled_before_it_began_leaves_nothing_unawaited() -> None:
    """Each call is made where it is awaited, so none is left over when there is no time for it."""
    made: list[int] = []

    async def call(position: int) -> int:
        made.append(position)
        return position

    batch = asyncio.create_task(each_alone([RecordKey(str(n), "s") for n in range(3)], call))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await asyncio.sleep(0)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        gc.collect()
    assert made == []
