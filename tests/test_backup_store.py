"""The backups of a store: one call makes one, another store takes it over, and every mistake is told in a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import storycore
from storycore.app import Store
from storycore.backup.keys import KeyFile, Passphrase, new_key_file
from storycore.backup.restoring import Selection
from storycore.errors import (
    AccessDenied,
    AlreadyExists,
    ConditionFailed,
    ConfigError,
    Corrupt,
    InvalidArgument,
    NotFound,
    NotProvisioned,
    SchemaMismatch,
    StorageFull,
)
from storycore.hooks import hookimpl
from storycore.memory.blobs import MemoryBlobStore
from storycore.plugins import Adapter
from storycore.ports.blobs import BlobInfo
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.ports.key_providers import KeyProvider
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorItem
from storycore.story import Session, Story, User
from storycore.testing.clock import ManualClock

LONG = "a long story " * 40_000
"""Half a megabyte: more than a record holds."""


class Worlds:
    """Stores by name, all closed at the end."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.clock = ManualClock(datetime(2026, 11, 1, 2, tzinfo=UTC))

    async def store(self, name: str, profile: str = "memory", *plugins: object, **overrides: Any) -> Store:
        """An open store in a folder of its own, provisioned."""
        opening = storycore.open(
            profile,
            dir=self.folder / name,
            overrides=overrides or None,
            plugins=plugins,
            env=Environment(clock=self.clock),
        )
        store = await self.stack.enter_async_context(opening)
        await store.init(warm_cache=False)
        return store


@pytest.fixture
async def worlds(tmp_path: Path) -> AsyncIterator[Worlds]:
    async with AsyncExitStack() as stack:
        yield Worlds(stack, tmp_path)


async def filled(store: Store, *, user: str = "ada", title: str = "t") -> None:
    """A user with a session, a story too long for a record, a vector, a blob and an event."""
    await store.users.save(User(user_id=user, email=f"{user}@example.com", username=user))
    await store.sessions.save(Session(session_id=f"s-{user}", user_id=user, title=title))
    await store.stories.save(Story(story_id=f"y-{user}", user_id=user, title=title, content=LONG))
    dimension = store.vectors.spec.dimension
    await store.vectors.upsert([VectorItem(f"v-{user}", [1.0] * dimension, {"user_id": user, "text": title})])
    await store.blobs.put(f"photos/{user}.jpg", b"\1" * 100_000, when=ANY, metadata={"user-id": user})
    await store.events.track("story_published", user_id=user, properties={"story_id": f"y-{user}"})


async def seen(store: Store, user: str = "ada") -> dict[str, object]:
    """What a user of the store sees of it."""
    story = await store.stories.find(f"y-{user}")
    session = await store.sessions.find(f"s-{user}")
    by_email = await store.users.by_email(f"{user}@example.com")
    [vector] = await store.vectors.fetch([f"v-{user}"])
    blob = await store.blobs.head(f"photos/{user}.jpg")
    events = await store.events.read(user_id=user)
    return {
        "user": by_email and (by_email.username, by_email.created_at),
        "session": session and (session.title, session.expires_at),
        "story": story and (story.title, story.content == LONG),
        "vector": vector and dict(vector.metadata),
        "blob": blob and (blob.sha256, dict(blob.metadata)),
        "events": [(each.event.type, each.event.subject, dict(each.event.data)) for each in events.events],
    }


@pytest.mark.parametrize(("one", "two"), [("memory", "local"), ("local", "memory")])
async def test_a_backup_is_restored_into_a_store_of_another_kind(worlds: Worlds, one: str, two: str) -> None:
    """Users, sessions, long stories, vectors, blobs and events; what is unique stays so; nothing need exist before."""
    quick = {"embedder": "memory://"}
    source, target = await worlds.store("one", one, **quick), await worlds.store("two", two, **quick)
    await filled(source)
    made = await source.backups.create("manual")
    assert (made.backup_id, made.manifest.is_full) == (made.manifest.id, True)
    assert (await source.backups.verify(level="restore")).problems == ()
    done = await source.backups.restore(made.backup_id, into=target)
    assert done.written == {"blobs": 1, "entities": 5, "vectors": 1, "events": 1}
    assert await seen(target) == await seen(source)
    with pytest.raises(AlreadyExists):
        await target.users.save(User(email="ada@example.com", username="someone"))
    plan = await source.backups.plan_restore(into=target)
    assert all(not each.added and not each.replaced and not each.removed for each in plan.values())


async def test_the_key_is_made_with_the_first_backup_and_missed_afterwards(worlds: Worlds) -> None:
    """The notice says what to do with it; once there are backups no other key takes its place unasked."""
    store = await worlds.store("one")
    path = worlds.folder / "one" / "backup.key"
    first = await store.backups.create()
    assert (path.exists(), len(first.notices)) == (True, 1)
    assert "Keep a copy in another place" in first.notices[0] and str(path) in first.notices[0]
    worlds.clock.advance(timedelta(hours=2))
    assert (await store.backups.create()).notices == ()
    held = path.read_text()
    path.unlink()
    with pytest.raises(ConfigError, match="bring it back"):
        await store.backups.create()
    with pytest.raises(ConfigError, match="does not exist"):
        await store.backups.show("latest")
    assert "Made the key" in await store.backups.provide_key(anew=True)
    with pytest.raises(AccessDenied, match="was sealed with key"):
        await store.backups.restore(into=await worlds.store("two"))
    path.write_text(held)
    assert (await store.backups.verify()).is_whole


async def test_init_makes_the_place_and_the_key(worlds: Worlds) -> None:
    """Once; a second time nothing is done."""
    vault = {"adapter": "files", "path": str(worlds.folder / "vault")}
    store = await worlds.store("one", "local", embedder="memory://", backup={"blobs": vault})
    actions = (await store.init(warm_cache=False, enable_backups=True)).actions["backup"]
    assert any("vault" in each for each in actions) and any("Keep a copy" in each for each in actions)
    assert (await store.init(warm_cache=False, enable_backups=True)).actions["backup"] == []
    await filled(store)
    await store.backups.create()
    assert (await store.blobs.entries("backups/")).blobs == []
    assert any("manual_" in str(path) for path in (worlds.folder / "vault").rglob("*"))


async def test_a_passphrase_opens_what_it_closed_and_nothing_else(worlds: Worlds, monkeypatch: Any) -> None:
    """It is fetched by reference; the wrong one is refused in words."""
    monkeypatch.setenv("PHRASE", "correct horse")
    place = {"adapter": "files", "path": str(worlds.folder / "vault")}
    right = await worlds.store("one", backup={"blobs": place, "passphrase": "secret://env/PHRASE"})
    await right.backups.ensure()
    await right.backups.create()
    monkeypatch.setenv("PHRASE", "battery staple")
    wrong = await worlds.store("two", backup={"blobs": place, "passphrase": "secret://env/PHRASE"})
    with pytest.raises(AccessDenied, match="passphrase is not the one"):
        await wrong.backups.restore()
    with pytest.raises(ConfigError, match="at least 8"):
        (await worlds.store("three", backup={"passphrase": "short"})).backups  # noqa: B018 - what is refused


async def test_a_plugin_may_bring_the_key(worlds: Worlds) -> None:
    """By name and options; an unknown name lists none that is not there."""

    class Plugin:
        @hookimpl
        def storycore_key_providers(self) -> dict[str, Any]:
            return {"vault": lambda options: KeyFile(Path(str(options["path"])))}

    path = worlds.folder / "of-the-vault"
    new_key_file(path)
    settings = {"key_provider": "vault", "key_options": {"path": str(path)}}
    store = await worlds.store("one", "memory", Plugin(), backup=settings)
    assert (await store.backups.create()).notices == ()
    assert store.backups.key_identity == f"key file {path}"
    assert (await store.backups.verify(level="restore")).is_whole
    unknown = await worlds.store("two", "memory", Plugin(), backup={"key_provider": "vualt"})
    with pytest.raises(ConfigError, match="vault"):
        unknown.backups  # noqa: B018 - what is refused


async def test_one_user_is_restored_and_nobody_else_is_touched(worlds: Worlds) -> None:
    """The user, what keeps the address unique, sessions, stories, vectors, blobs and events."""
    store = await worlds.store("one")
    await filled(store)
    await filled(store, user="bob")
    await store.backups.create()
    before = await seen(store)
    await store.users.delete("ada")
    await store.stories.delete("y-ada")
    await store.vectors.delete(ids=["v-ada"])
    await store.blobs.delete(["photos/ada.jpg"])
    await store.stories.update("y-bob", {"title": "changed since"})
    ada = Selection(user="ada")
    plan = await store.backups.plan_restore(selection=ada)
    assert dict(plan["entities"].added) == {"user": 1, "user~unique": 2, "story": 1}
    await store.backups.restore(selection=ada, mode="merge", on_conflict="skip")
    assert await seen(store) == before
    assert (await store.stories.get("y-bob")).title == "changed since"
    other = await worlds.store("two")
    await store.backups.restore(selection=ada, into=other)
    assert await seen(other) == before
    assert (await seen(other, "bob"))["user"] is None


async def test_kinds_stand_for_tables(worlds: Worlds) -> None:
    """A kind with what keeps it unique, into a store whose tables are only created now; another port is not touched."""
    source = await worlds.store("one")
    await filled(source)
    await source.backups.create()
    opening = storycore.open("local", dir=worlds.folder / "new", overrides={"embedder": "memory://"})
    target = await worlds.stack.enter_async_context(opening)
    users = Selection(ports=frozenset({"entities"}), kinds=frozenset({"user"}))
    with pytest.raises(NotProvisioned):
        await source.backups.restore(into=target, selection=users, create_tables=False)
    assert dict((await source.backups.plan_restore(into=target, selection=users))["entities"].added) == {
        "user": 1,
        "user~unique": 2,
    }
    done = await source.backups.restore(into=target, selection=users)
    assert done.written == {"entities": 3}
    assert (await seen(target))["user"] == (await seen(source))["user"]
    assert await target.stories.find("y-ada") is None


async def test_what_was_cached_is_not_served_after_a_restore(worlds: Worlds) -> None:
    """A read right after it sees the restored state."""
    store = await worlds.store("one")
    await filled(store, title="before")
    await store.backups.create()
    await store.stories.update("y-ada", {"title": "after"})
    assert (await store.stories.get("y-ada")).title == "after"
    await store.backups.restore(mode="replace")
    assert (await store.stories.get("y-ada")).title == "before"
    assert (await store.backups.verify(level="full")).is_whole


async def test_the_own_store_is_refused_unless_it_is_empty_or_said_so(worlds: Worlds) -> None:
    """``new`` into what is there; and another store that has something."""
    store, other = await worlds.store("one"), await worlds.store("two")
    await filled(store)
    await store.backups.create()
    await store.stories.update("y-ada", {"title": "changed"})
    with pytest.raises(ConditionFailed, match="not empty"):
        await store.backups.restore()
    await other.users.save(User(email="x@example.com", username="x"))
    with pytest.raises(ConditionFailed, match="another store"):
        await store.backups.restore(into=other)


async def test_vectors_of_another_model_are_refused(worlds: Worlds) -> None:
    """Before anything is written; without the vectors the rest is restored."""
    store = await worlds.store("one")
    await filled(store)
    await store.backups.create()
    other = await worlds.store("two", embedder="memory://?dimension=64")
    with pytest.raises(SchemaMismatch, match="leave the vectors out"):
        await store.backups.restore(into=other)
    assert await other.users.by_email("ada@example.com") is None
    await store.backups.restore(into=other, selection=Selection(ports=frozenset({"entities", "blobs"})))
    assert (await other.stories.get("y-ada")).content == LONG


async def test_a_clock_that_went_back_leads_to_a_full_backup(worlds: Worlds) -> None:
    """It is said which one counts as the latest; with the clock past it everything goes on as before."""
    store = await worlds.store("one")
    await filled(store)
    worlds.clock.advance(timedelta(days=1))
    first = await store.backups.create()
    worlds.clock.advance(-timedelta(hours=5))
    await store.stories.update("y-ada", {"title": "later in truth"})
    second = await store.backups.create()
    assert second.manifest.is_full
    assert first.backup_id in second.reason and "latest" in second.reason
    worlds.clock.advance(timedelta(hours=6))
    third = await store.backups.create()
    for made in (first, second, third):
        assert (await store.backups.verify(made.backup_id, level="restore")).problems == ()
    assert (await store.backups.show("latest")).id == third.backup_id
    target = await worlds.store("two")
    await store.backups.restore(into=target)
    assert (await target.stories.get("y-ada")).title == "later in truth"


async def test_two_backups_at_once_both_come_to_be(worlds: Worlds) -> None:
    """Neither disturbs the other; the second says that there is another."""
    store = await worlds.store("one")
    await filled(store)
    await store.backups.create()
    made = await asyncio.gather(store.backups.create(), store.backups.create(), store.backups.create(full=True))
    assert len({each.backup_id for each in made}) == 3
    for each in made:
        assert (await store.backups.verify(each.backup_id, level="restore")).is_whole
    first = await store.backups._archive.begin("manual", store=store.profile.namespace)  # one that goes on
    second = await store.backups.create()
    await first.abandon()
    assert any(f"Another backup was begun lately and has not ended: {first.id}" in each for each in second.notices)
    assert (await store.backups.create()).notices == ()


async def test_a_cancelled_backup_leaves_nothing_that_counts(worlds: Worlds) -> None:
    """Whenever it is cancelled: no backup, and nothing that a sweep does not remove; the next one is made."""
    store = await worlds.store("one")
    await filled(store)
    await store.backups.create()
    known = {info.key for info in (await store.blobs.entries("backups/")).blobs}
    for turns in (1, 3, 10, 30, 60, 100):
        task = asyncio.create_task(store.backups.create(full=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    worlds.clock.advance(timedelta(days=2))
    await store.backups.prune()
    assert {info.key for info in (await store.blobs.entries("backups/")).blobs} >= known
    names = {info.key.split("/")[1] for info in (await store.blobs.entries("backups/")).blobs} - {"manifests"}
    assert names == {each.id for each in (await store.backups.list()).manifests}
    assert (await store.backups.verify((await store.backups.create()).backup_id, level="restore")).is_whole


class FullBlobs(MemoryBlobStore):
    """A blob store with room for so many blobs; 0 while there is room for any number."""

    room = 0

    async def put(self, key: str, data: bytes | AsyncIterable[bytes], **settings: Any) -> BlobInfo:
        if FullBlobs.room == 1:
            raise StorageFull("The disk is full; make room.")
        FullBlobs.room = max(FullBlobs.room - 1, 0)
        return await super().put(key, data, **settings)


class FullPlugin:
    """Brings the adapter ``full``."""

    @hookimpl
    def storycore_adapters(self) -> list[Adapter]:
        return [Adapter(name="full", ports={PortName.BLOBS: "test_full:open_blobs"})]


@pytest.fixture
def full_blobs(monkeypatch: pytest.MonkeyPatch) -> type[FullBlobs]:
    """The module from which the adapter is opened."""
    import sys
    from types import ModuleType

    from storycore.memory.config import MemoryBlobConfig

    module = ModuleType("test_full")
    module.open_blobs = lambda config, env: FullBlobs(env, MemoryBlobConfig())  # type: ignore[attr-defined]  # a new module
    monkeypatch.setitem(sys.modules, "test_full", module)
    return FullBlobs


async def test_a_full_disk_leaves_the_backups_that_there_are(worlds: Worlds, full_blobs: type[FullBlobs]) -> None:
    """Wherever the room ends: the error says so, nothing half is listed, and the next one is made."""
    store = await worlds.store("one", "memory", FullPlugin(), backup={"blobs": "full://"})
    await filled(store)
    first = await store.backups.create()
    await store.stories.update("y-ada", {"title": "new"})
    for room in range(1, 40):
        full_blobs.room = room
        try:
            await store.backups.create(full=True)
            break
        except StorageFull as exc:
            assert "make room" in exc.message
        finally:
            full_blobs.room = 0
        assert [each.id for each in (await store.backups.list()).manifests] == [first.backup_id]
    assert room > 5
    assert (await store.backups.verify(level="restore")).is_whole


async def test_a_place_that_does_not_exist_is_named_with_its_cure(worlds: Worlds) -> None:
    """Nothing is created in passing."""
    store = await worlds.store("one", backup={"blobs": {"adapter": "files", "path": str(worlds.folder / "nowhere")}})
    with pytest.raises(NotProvisioned, match="nowhere"):
        await store.backups.create()
    assert not (worlds.folder / "nowhere").exists()
    await store.backups.ensure()
    await store.backups.create()


async def test_a_manifest_of_a_newer_version_is_told_and_the_others_serve(worlds: Worlds) -> None:
    """It is listed as one that cannot be read, and is never guessed at."""
    store = await worlds.store("one")
    await filled(store)
    made = await store.backups.create()
    newer = "manual_20990101_000000_abcdef"
    await store.blobs.put(f"backups/manifests/{newer}.json", b'{"format":99,"manifest":{},"seal":""}', when=ANY)
    listing = await store.backups.list()
    assert [each.id for each in listing.manifests] == [made.backup_id]
    assert "the version that made it" in listing.damaged[newer]
    with pytest.raises((SchemaMismatch, Corrupt)):
        await store.backups.show(newer)
    assert (await store.backups.show("latest")).id == made.backup_id
    with pytest.raises(NotFound, match="backup list"):
        await store.backups.restore("manual_20200101_000000_nobody")


async def test_rotation_goes_on_where_it_was_interrupted(worlds: Worlds) -> None:
    """Some keys sealed with the new key, some with the old: a second run ends it."""

    class Failing:
        """A provider that stops working after one key."""

        def __init__(self, inner: KeyProvider) -> None:
            self.inner, self.left, self.identity = inner, 1, inner.identity

        async def wrap(self, key: bytes, *, context: Any) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise AccessDenied("no more")
            return await self.inner.wrap(key, context=context)

        async def unwrap(self, wrapped: bytes, *, context: Any) -> bytes:
            return await self.inner.unwrap(wrapped, context=context)

    store = await worlds.store("one")
    await filled(store)
    for _ in range(3):
        await store.backups.create(full=True)
    new = Passphrase("battery staple", 10)
    with pytest.raises(AccessDenied, match="no more"):
        await store.backups.rotate(Failing(new))
    assert len((await store.backups.rotate(new)).backups) == 3
    with pytest.raises(AccessDenied):
        await store.backups.show("latest")


def test_without_await_it_is_the_same(tmp_path: Path) -> None:
    """Create, list, restore; a store without ``await`` is not restored into another such one, which is said."""
    with storycore.open_sync("memory", dir=tmp_path / "a") as store, storycore.open_sync("memory") as other:
        store.init()
        store.users.save(User(user_id="u", email="a@example.com", username="a"))
        made = store.backups.create("daily")
        assert [each.id for each in store.backups.list().manifests] == [made.backup_id]
        store.users.delete("u")
        assert store.backups.restore(made.backup_id, mode="replace").written["entities"] == 3
        assert store.users.get("u").username == "a"
        with pytest.raises(InvalidArgument, match="restore run --into"):
            store.backups.restore(into=other)


async def test_stores_that_share_an_archive_keep_apart(worlds: Worlds) -> None:
    """The latest one, increments, moments and retention are each store's own; by its id any backup can be restored."""
    place = {"adapter": "files", "path": str(worlds.folder / "vault")}
    key = str(worlds.folder / "one.key")
    shared = {"blobs": place, "key_file": key, "keep_last": 1, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    one = await worlds.store("one", namespace="one", backup=shared)
    two = await worlds.store("two", namespace="two", backup=shared)
    await one.backups.ensure()
    await filled(one)
    with pytest.raises(NotFound, match="'two'"):
        await two.backups.restore()
    first = await one.backups.create(full=True)
    worlds.clock.advance(timedelta(hours=3))
    second = await two.backups.create()
    assert (second.manifest.is_full, second.reason) == (True, "it is the first one")
    worlds.clock.advance(timedelta(hours=3))
    third = await two.backups.create(full=True)
    assert (await one.backups.show("latest")).id == first.backup_id
    with pytest.raises(NotFound):
        await two.backups.plan_restore(at=first.manifest.as_of)
    assert (await two.backups.prune()).removed == [second.backup_id]
    assert [each.id for each in (await one.backups.list()).manifests] == [third.backup_id, first.backup_id]
    await two.backups.restore(first.backup_id)
    assert await seen(two) == await seen(one)


async def test_an_archive_that_turns_out_to_lie_among_the_blobs_is_left_out(worlds: Worlds) -> None:
    """Though it was given as a place of its own: no backup holds the others, and replacing all blobs removes none."""
    place = {"adapter": "files", "path": str(worlds.folder / "blobs")}
    store = await worlds.store("one", blobs=place, backup={"blobs": place})
    await filled(store)
    for _ in range(3):
        made = await store.backups.create(full=True)
        assert made.manifest.ports["blobs"].items == 1
    await store.backups.restore(mode="replace")
    assert len((await store.backups.list()).manifests) == 3
    assert (await store.backups.verify()).is_whole
