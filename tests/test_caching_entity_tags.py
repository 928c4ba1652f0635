"""What an entity declares as ``cache_tags`` is invalidated with every write of an instance, also by others' writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import storycore
from storycore import Store
from storycore.caching import Caching
from storycore.caching.sightings import Sightings
from storycore.caching.tagged_entities import TaggedEntities
from storycore.entities import Entity, Key, Repository, SoftDelete, entity, part
from storycore.errors import InvalidArgument, NotFound, TransactionConflict, Unavailable, VersionConflict
from storycore.layers.checks import checked
from storycore.layers.passing import PassingEntities
from storycore.memory.cache import open_cache
from storycore.memory.config import MemoryCacheConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.conditions import Version
from storycore.ports.entities import Action, Change, FeedPosition, Record, Write, Written
from storycore.ports.entities import Key as Address
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import STORY, Session, Story
from storycore.testing.clock import ManualClock

Act = Callable[["Lists"], Awaitable[object]]


class Note(BaseModel):
    note_id: str
    owner: str | None = None
    shelf: int = 0
    text: str = ""
    views: int = 0
    marks: set[str] = set()
    deleted_at: datetime | None = None


NOTE = entity(
    Note,
    kind="tagged_note",
    key=Key(pk=("tagged-note", part.note_id), sk=("note",)),
    indexes=[storycore.Index("by_owner", slot=1, pk=("owner-notes", part.owner), sk=(part.note_id,))],
    promoted=("note_id", "owner", "shelf", "marks"),
    counters=("views",),
    cache_tags=("owner:{owner}", "shelf:{shelf}:{owner}", "notes"),
)
KEPT = entity(
    Note,
    kind="kept_note",
    key=Key(pk=("kept-note", part.note_id), sk=("note",)),
    promoted=("note_id", "owner"),
    soft_delete=SoftDelete("deleted_at"),
    cache_tags=("owner:{owner}",),
)


class Lists:
    """Cached values under the tags of owners; tells which of them are loaded again."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.notes = store.repository(NOTE)
        self.kept = store.repository(KEPT)
        self._region = store.cache.region("list:{owner}", int, ttl=600, tags=("owner:{owner}",), jitter=0)
        self._loads = 0

    async def outdated(self, act: Act, *owners: str) -> set[str]:
        """Whose lists are loaded again after an act that were cached before it; of all ``owners``."""
        before = [await self._read(owner) for owner in owners]
        await act(self)
        after = [await self._read(owner) for owner in owners]
        return {owner for owner, old, new in zip(owners, before, after, strict=True) if old != new}

    async def _read(self, owner: str) -> int | None:
        return await self._region.get_or_load(owner=owner, load=self._load)

    async def _load(self, owner: str) -> int:
        self._loads += 1
        return self._loads


def opened(profile: str, folder: Path, **caching: object) -> AbstractAsyncContextManager[Store]:
    """A store without a model."""
    overrides: dict[str, Any] = {"embedder": "memory://", "caching": caching}  # a profile's settings
    if profile == "local":
        overrides["dir"] = str(folder)
    return storycore.open(profile, overrides=overrides)


@pytest.fixture(params=["memory", "local"])
async def lists(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lists]:
    async with opened(request.param, tmp_path) as store:
        await store.init(warm_cache=False)
        yield Lists(store)


async def _save(lists: Lists) -> object:
    return await lists.notes.put(Note(note_id="new", owner="ada"))


async def _put_over(lists: Lists) -> object:
    return await lists.notes.put(Note(note_id="n", owner="bob"))


async def _move(lists: Lists) -> object:
    return await lists.notes.patch("n", set={"owner": "bob"})


async def _release(lists: Lists) -> object:
    return await lists.notes.patch("n", set={"owner": None})


async def _batch(lists: Lists) -> object:
    return await lists.notes.save_batch([Note(note_id="n", owner="bob"), Note(note_id="m", owner="eve")])


async def _move_in_unit(lists: Lists) -> None:
    async with lists.store.unit() as unit:
        found = await unit.get(NOTE, "n")
        assert found is not None
        unit.put(found.model_copy(update={"owner": "bob"}), of=NOTE)
        unit.create(Note(note_id="m", owner="eve"), of=NOTE)


async def _delete_in_unit(lists: Lists) -> None:
    async with lists.store.unit() as unit:
        unit.delete(NOTE, "n")


ACTS: dict[str, tuple[Act, set[str]]] = {
    "a new one": (_save, {"ada"}),
    "a put over another's": (_put_over, {"ada", "bob"}),
    "a move": (_move, {"ada", "bob"}),
    "to nobody": (_release, {"ada"}),
    "a change that moves nothing": (lambda lists: lists.notes.patch("n", set={"text": "more"}), {"ada"}),
    "a counter": (lambda lists: lists.notes.patch("n", add={"views": 1}), {"ada"}),
    "a member": (lambda lists: lists.notes.patch("n", include={"marks": {"x"}}), {"ada"}),
    "an upsert": (lambda lists: lists.notes.upsert(Note(note_id="m", owner="eve")), {"eve"}),
    "a deletion": (lambda lists: lists.notes.delete("n"), {"ada"}),
    "deletions": (lambda lists: lists.notes.delete_batch(["n", "absent"]), {"ada"}),
    "a batch": (_batch, {"ada", "bob", "eve"}),
    "a unit": (_move_in_unit, {"ada", "bob", "eve"}),
    "a deletion in a unit": (_delete_in_unit, {"ada"}),
    "nothing": (lambda lists: lists.notes.get("n"), set()),
}


@pytest.mark.parametrize("name", ACTS)
async def test_a_write_outdates_the_tags_before_and_after(lists: Lists, name: str) -> None:
    """Exactly the lists that the instance was in or is in are loaded again."""
    await lists.notes.put(Note(note_id="n", owner="ada"))
    act, expected = ACTS[name]
    assert await lists.outdated(act, "ada", "bob", "eve", "zoe") == expected


async def test_a_soft_deletion_a_restoration_and_a_purge_outdate_the_list(lists: Lists) -> None:
    """Also the list of what is deleted changes with each of them."""
    await lists.kept.put(Note(note_id="n", owner="ada"))
    assert await lists.outdated(lambda lists: lists.kept.delete("n"), "ada", "bob") == {"ada"}
    assert await lists.outdated(lambda lists: lists.kept.restore("n"), "ada", "bob") == {"ada"}
    await lists.kept.delete("n")
    assert await lists.outdated(lambda lists: lists.kept.purge("n"), "ada", "bob") == {"ada"}


async def test_a_refused_unit_leaves_the_lists_true(lists: Lists) -> None:
    """What it would have written is not there, and whoever reads the list again reads the same."""
    await lists.notes.put(Note(note_id="n", owner="ada"))

    async def refused(lists: Lists) -> None:
        with pytest.raises((TransactionConflict, VersionConflict)):
            async with lists.store.unit() as unit:
                found = await unit.get(NOTE, "n")
                assert found is not None
                unit.put(found.model_copy(update={"owner": "bob"}), of=NOTE)
                await lists.notes.patch("n", set={"text": "faster"})

    async def given_up(lists: Lists) -> None:
        with suppress(KeyError):
            async with lists.store.unit() as unit:
                unit.create(Note(note_id="m", owner="eve"), of=NOTE)
                raise KeyError

    assert "ada" in await lists.outdated(refused, "ada", "bob")
    assert (await lists.notes.get("n")).owner == "ada"
    assert await lists.outdated(given_up, "ada", "eve") == set()


async def test_the_lists_of_a_user_are_outdated_with_stories_and_sessions(lists: Lists) -> None:
    """The story domain's ``user:{user_id}``; a visitor's session is in nobody's list."""
    store = lists.store
    titles = store.cache.region("titles:{user_id}", list[str], ttl=600, tags=("user:{user_id}",))

    async def load(user_id: str) -> list[str]:
        return sorted([story.title async for story in store.stories.summaries(user_id)])

    async def of(user_id: str) -> list[str] | None:
        return await titles.get_or_load(user_id=user_id, load=load)

    assert (await of("u1"), await of("u2")) == ([], [])
    story = await store.stories.save(Story(user_id="u1", session_id="s", title="One", content="Once."))
    assert (await of("u1"), await of("u2")) == (["One"], [])
    await store.stories.update(story.story_id, {"user_id": "u2", "title": "Two"})
    assert (await of("u1"), await of("u2")) == ([], ["Two"])
    await store.stories.delete(story.story_id)
    assert (await of("u1"), await of("u2")) == ([], [])
    misses = titles.stats().misses
    await store.sessions.save(Session(user_id=None))
    await of("u1")
    assert titles.stats().misses == misses
    await store.sessions.save(Session(user_id="u1"))
    await of("u1")
    assert titles.stats().misses == misses + 1


@pytest.mark.parametrize("spoils", ["put", "move", "delete"])
async def test_a_write_during_the_load_of_a_list_keeps_it_out(lists: Lists, spoils: str) -> None:
    """What was read before the write is given to who asked before it, and to nobody after it."""
    await lists.notes.put(Note(note_id="n", owner="ada"))
    acts: dict[str, Act] = {"put": _save, "move": _move, "delete": ACTS["a deletion"][0]}
    names = lists.store.cache.region("names:{owner}", list[str], ttl=600, tags=("owner:{owner}",))
    has_read, may_end = asyncio.Event(), asyncio.Event()

    async def load(owner: str) -> list[str]:
        found = sorted([note.note_id async for note in lists.notes.scan() if note.owner == owner])
        has_read.set()
        await may_end.wait()
        return found

    early = asyncio.create_task(names.get_or_load(owner="ada", load=load))
    async with asyncio.timeout(5):
        await has_read.wait()
    await acts[spoils](lists)
    may_end.set()
    expected = {"put": ["n", "new"], "move": [], "delete": []}[spoils]
    assert await early in (["n"], expected)
    assert await names.get_or_load(owner="ada", load=load) == expected


async def test_a_record_of_an_older_layout_has_its_tags_too(lists: Lists) -> None:
    """Before the field was promoted it stood in the body; the deletion outdates its list all the same."""
    older: Entity[Note] = entity(Note, kind="tagged_note", key=Key(pk=("tagged-note", part.note_id), sk=("note",)))
    await Repository(older, lists.store.ports[PortName.ENTITIES], lists.store.env, cursor_key=bytes(16)).put(
        Note(note_id="n", owner="ada")
    )
    assert await lists.outdated(lambda lists: lists.notes.delete("n"), "ada", "bob") == {"ada"}


async def test_tags_work_where_records_are_not_cached(tmp_path: Path) -> None:
    """``caching.entities = false`` is about records alone."""
    async with opened("memory", tmp_path, entities=False) as store:
        lists = Lists(store)
        assert await lists.outdated(_save, "ada", "bob") == {"ada"}


class Interrupted(PassingEntities):
    """A store whose writes happen, and whose answers are lost while ``is_down``."""

    is_down = False

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        written = await self.inner.write(writes, atomic=atomic, token=token)
        if self.is_down:
            raise Unavailable("The answer was lost.")
        return written


@asynccontextmanager
async def tagged(*, remembers: bool = False) -> AsyncIterator[tuple[TaggedEntities, Interrupted, Caching]]:
    env = Environment(clock=ManualClock())
    async with (
        checked(PortName.ENTITIES, open_entities(MemoryConfig(), env)) as raw,
        checked(PortName.CACHE, open_cache(MemoryCacheConfig(), env)) as port,
    ):
        caching, inner = Caching(port, env), Interrupted(raw)
        store = TaggedEntities(inner, raw, caching, remembers=remembers)
        store.meet(NOTE)
        yield store, inner, caching
        await caching.close()


@pytest.mark.parametrize("act", ["put", "move", "count", "delete"])
async def test_a_write_whose_answer_is_lost_outdates_all_the_same(act: str) -> None:
    """It may have happened, and here it has."""
    async with tagged() as (store, inner, caching):
        notes = Repository(NOTE, store, Environment(clock=ManualClock()), cursor_key=bytes(16))
        await notes.put(Note(note_id="n", owner="ada"))
        region = caching.region("list:{owner}", int, ttl=60, tags=("owner:{owner}",))
        owners = ("ada", "bob")
        for owner in owners:
            await region.get_or_load(owner=owner, load=lambda owner: 1)
        inner.is_down = True
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "put": lambda: notes.put(Note(note_id="n", owner="bob")),
            "move": lambda: notes.patch("n", set={"owner": "bob"}),
            "count": lambda: notes.patch("n", add={"views": 1}),
            "delete": lambda: notes.delete("n"),
        }
        with pytest.raises(Unavailable):
            await acts[act]()
        held = {owner for owner in owners if await region.entry(owner=owner) is not None}
        assert held == (set() if act in ("put", "move") else {"bob"})


async def test_creating_and_counting_read_nothing_more() -> None:
    """Only what may hide the tags of before costs a get, and one for all writes of a call."""
    counted: list[int] = []

    class Counting(PassingEntities):
        async def get(self, keys: Sequence[Address], *, consistent: bool = True) -> list[Record | None]:
            counted.append(len(keys))
            return await self.inner.get(keys, consistent=consistent)

    async with tagged() as (store, inner, caching):
        counting = TaggedEntities(inner, Counting(inner), caching)
        counting.meet(NOTE)
        notes = Repository(NOTE, counting, Environment(clock=ManualClock()), cursor_key=bytes(16))
        await notes.create(Note(note_id="n", owner="ada"))
        await notes.patch("n", add={"views": 1})
        await notes.patch("n", include={"marks": {"x"}})
        assert counted == []
        await notes.delete_batch(["n", "m", "o"])
        assert counted == [3]
        with pytest.raises(NotFound):
            await notes.get("n")
        assert store.inner is inner


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("act", ["save", "move", "delete"])
async def test_what_a_foreign_writer_changes_is_followed(
    tmp_path: Path, act: Literal["save", "move", "delete"]
) -> None:
    """He knows nothing of this cache, and a deletion in the feed does not tell whose story it was."""
    async with opened("local", tmp_path, follow_changes=True) as store:
        await store.init(warm_cache=False)
        story = await store.stories.save(Story(user_id="u1", session_id="s", title="One", content="Once."))
        await asyncio.sleep(0.02)
        titles = store.cache.region("titles:{user_id}", list[str], ttl=600, tags=("user:{user_id}",))

        async def load(user_id: str) -> list[str]:
            return sorted([each.title async for each in store.stories.summaries(user_id)])

        async def of(user_id: str) -> list[str] | None:
            return await titles.get_or_load(user_id=user_id, load=load)

        assert (await of("u1"), await of("u2")) == (["One"], [])
        foreign = storycore.open(
            "local", overrides={"dir": str(tmp_path), "embedder": "memory://", "cache": "memory://"}
        )
        async with foreign as other:
            if act == "save":
                await other.stories.save(Story(user_id="u2", session_id="s", title="Two", content="Once."))
            elif act == "move":
                await other.stories.update(story.story_id, {"user_id": "u2"})
            else:
                await other.stories.delete(story.story_id)
        expected = {"save": (["One"], ["Two"]), "move": ([], ["One"]), "delete": ([], [])}[act]

        async def has_followed() -> bool:
            return (await of("u1"), await of("u2")) == expected

        await until(has_followed)


def _change(version: int, record: Record | None) -> Change:
    return Change(
        position=FeedPosition("p"),
        at=ManualClock().now(),
        action=Action.DELETE if record is None else Action.PUT,
        key=Address("a", "b"),
        kind="k",
        version=Version(version),
        record=record,
    )


def test_a_record_that_is_read_after_the_feed_told_its_end_outdates_what_is_made_of_it() -> None:
    """A list's query began before the deletion, and the change was followed before the query returned."""
    old = Record(key=Address("a", "b"), kind="k", version=Version(1))
    new = Record(key=Address("a", "b"), kind="k", version=Version(2))
    ada, bob = frozenset({"ada"}), frozenset({"bob"})
    seen = Sightings()
    assert seen.read(old, ada) == frozenset()
    assert seen.told(_change(2, new), bob) == ada | bob
    assert (seen.read(new, bob), seen.read(old, ada)) == (frozenset(), ada)
    assert seen.told(_change(2, None), frozenset()) == ada | bob
    assert seen.read(new, bob) == bob


def test_only_so_many_records_are_remembered() -> None:
    """Those that were seen first are forgotten."""
    seen = Sightings(most=2)
    for name in "abc":
        seen.read(Record(key=Address(name, "b"), kind="k", version=Version(1)), frozenset({name}))
    assert seen.told(_change(1, None), frozenset()) == frozenset()


async def test_no_more_is_asked_of_writes_than_the_port_does() -> None:
    """What is malformed is refused by the checks, as ever."""
    async with tagged() as (store, _, _):
        malformed: Any = [42]  # what a program without types might hand in
        with pytest.raises(InvalidArgument):
            await store.write(malformed)


async def test_an_instance_that_expires_leaves_the_list_when_the_feed_tells(tmp_path: Path) -> None:
    """Nobody writes it; whoever follows the feed hears when it is removed."""
    env = Environment(clock=ManualClock())
    async with (
        checked(PortName.ENTITIES, open_entities(MemoryConfig(), env)) as raw,
        checked(PortName.CACHE, open_cache(MemoryCacheConfig(), env)) as port,
    ):
        caching = Caching(port, env)
        store = TaggedEntities(raw, raw, caching, remembers=True)
        fleeting = entity(
            Session,
            kind="fleeting",
            key=Key(pk=("fleeting", part.session_id), sk=("s",)),
            promoted=("user_id",),
            ttl="expires_at",
            cache_tags=("user:{user_id}",),
        )
        store.meet(fleeting)
        end = env.clock.now() + timedelta(minutes=1)
        sessions = Repository(fleeting, store, env, cursor_key=bytes(16))
        await sessions.put(Session(session_id="s", user_id="u1", expires_at=end))
        region = caching.region("sessions:{user_id}", int, ttl=3600, tags=("user:{user_id}",))

        async def load(user_id: str) -> int:
            return len([each async for each in sessions.scan()])

        assert await region.get_or_load(user_id="u1", load=load) == 1
        env.clock.advance(timedelta(minutes=2))  # type: ignore[attr-defined]  # the manual clock
        assert await raw.expire(env.clock.now()) == 1
        await store.outdate((await raw.changes()).changes)
        assert await region.get_or_load(user_id="u1", load=load) == 0
        await caching.close()


def test_the_story_domain_declares_the_tag_of_the_user() -> None:
    """Stories and sessions are what a user's lists hold."""
    assert [tag.text for tag in STORY.cache_tags] == ["user:{user_id}"]
