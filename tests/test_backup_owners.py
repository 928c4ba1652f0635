"""Erasing one user: with his key destroyed nothing of his comes out of any backup, and all the rest does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import storycore
from storycore.backup.archive import Archive
from storycore.backup.belonging import owner_of
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.entities import EntitySource
from storycore.errors import Corrupt
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig, MemoryConfig
from storycore.memory.entities import open_entities
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import Delete, EntityStore, Key, Put, Segment
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import User
from storycore.testing.clock import ManualClock

KEYS, NEW = Passphrase("correct horse", 10), Passphrase("battery staple", 10)


def opened(env: Environment) -> EntityStore:
    """An empty store."""
    store: EntityStore = checked(PortName.ENTITIES, open_entities(MemoryConfig(), env))
    return store


@asynccontextmanager
async def scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    then = Environment(clock=ManualClock(manifest.as_of))
    async with opened(then) as store:
        yield [EntitySource(store, then)]


class World:
    """A store whose records belong to users, and its backups."""

    def __init__(self, store: EntityStore, blobs: BlobStore, clock: ManualClock) -> None:
        self.store, self.blobs, self.clock = store, blobs, clock
        self.env = Environment(clock=clock)
        self.backups = self.with_keys(KEYS)

    def with_keys(self, keys: Passphrase) -> Backups:
        source = EntitySource(self.store, self.env)
        archive = Archive(self.blobs, keys, self.env)
        return Backups(archive, [source], self.env, store="s", scratch=scratch, owner_of=owner_of, max_share=99.0)

    async def put(self, name: str, user: str | None, text: str = "") -> None:
        body = b'{"user_id":"%s"}' % user.encode() if user else b"{}"
        fields = {"text": text, **({"user_id": user} if user else {})}
        await self.store.write([Put(key=Key(f"user#{user}", name), kind="note", body=body, fields=fields)])

    async def delete(self, name: str, user: str) -> None:
        await self.store.write([Delete(key=Key(f"user#{user}", name))])

    async def restored(self, id_: str = "latest", at: datetime | None = None) -> tuple[dict[str, object], int]:
        """Names with texts, and how many were left out."""
        async with opened(self.env) as target:
            done = await self.backups.restore(id_, at=at, into=[EntitySource(target, self.env)])
            page = await target.scan(Segment(), limit=100)
            return {each.key.sk: each.fields["text"] for each in page.records}, sum(done.erased.values())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC))
    env = Environment(clock=clock)
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
    async with opened(env) as store, blobs:
        yield World(store, blobs, clock)


async def filled(world: World) -> tuple[str, str, datetime]:
    """A full backup, an increment and a recording, with two users and something that is nobody's; ids and a moment."""
    for name, user in (("a1", "ada"), ("a2", "ada"), ("b1", "bob"), ("n1", None)):
        await world.put(name, user, "old")
    full = (await world.backups.create()).manifest.id
    await world.put("a1", "ada", "new")
    await world.put("b1", "bob", "new")
    await world.delete("a2", "ada")
    await world.put("a3", "ada", "new")
    world.clock.advance(60)
    increment = (await world.backups.create()).manifest.id
    await world.backups.record()
    await world.put("a4", "ada", "last")
    await world.put("b2", "bob", "last")
    world.clock.advance(60)
    await world.backups.record()
    return full, increment, world.clock.now()


async def test_with_all_keys_everything_comes_back(world: World) -> None:
    """Capsules change nothing for those who are not erased: states, digests, moments, rotation."""
    full, increment, _ = await filled(world)
    moment = world.clock.now().replace(second=30)
    later = {"a1": "new", "a3": "new", "b1": "new", "n1": "old"}
    assert await world.restored(full) == ({"a1": "old", "a2": "old", "b1": "old", "n1": "old"}, 0)
    assert await world.restored(increment) == (later, 0)
    await world.backups.rotate(NEW)
    world.backups = world.with_keys(NEW)
    world.clock.advance(60)
    await world.backups.record()
    assert await world.restored(at=moment) == ({**later, "a4": "last", "b2": "last"}, 0)
    for id_ in (full, increment):
        found = await world.backups.verify(id_, level="restore")
        assert (found.problems, found.erased) == ((), 0)


async def test_an_erased_user_is_in_no_backup(world: World) -> None:
    """Full, increment and recording: what was his is left out and counted, older states of it do not come back."""
    full, increment, _ = await filled(world)
    assert [(await world.backups.erase(name)).had_key for name in ("ada", "ada", "eve")] == [True, False, False]
    moment = world.clock.now().replace(second=30)
    assert await world.restored(full) == ({"b1": "old", "n1": "old"}, 2)
    assert await world.restored(increment) == ({"b1": "new", "n1": "old"}, 2)
    world.clock.advance(60)
    await world.backups.record()
    assert await world.restored(at=moment) == ({"b1": "new", "n1": "old", "b2": "last"}, 3)
    for id_ in (full, increment):
        found = await world.backups.verify(id_, level="restore")
        assert (found.problems, found.erased > 0) == ((), True)
    assert await world.backups.verify_recording() == []


async def test_whoever_comes_back_has_a_new_key(world: World) -> None:
    """What was written after the erasure is restored, and what was before stays lost."""
    await filled(world)
    await world.backups.erase("ada")
    for name in ("a1", "a3", "a4"):
        await world.delete(name, "ada")
    await world.put("a9", "ada", "again")
    again = (await world.backups.create()).manifest.id
    assert (await world.restored(again))[0] == {"b1": "new", "b2": "last", "n1": "old", "a9": "again"}
    assert (await world.backups.verify(again, level="restore")).problems == ()


async def test_a_lost_key_is_no_erasure(world: World) -> None:
    """An owner's key that is missing or was changed is damage, and is told."""
    full, _, _ = await filled(world)
    infos = (await world.blobs.entries("backups/owners/")).blobs
    names = [info.key for info in infos if not info.key.endswith("/key.json")]
    assert len(names) == 2
    for name in names:
        async with await world.blobs.get(name) as reader:
            data = await reader.read()
        for left in (None, data[:-5], data.replace(b'"wrapped":"', b'"wrapped":"A')):
            if left is None:
                await world.blobs.delete([name])
            else:
                await world.blobs.put(name, left, when=ANY)
            with pytest.raises(Corrupt, match="owner"):
                await world.restored(full)
            assert any("owner" in problem for problem in (await world.backups.verify(full)).problems)
        await world.blobs.put(name, data, when=ANY)
    assert (await world.backups.verify(full)).is_whole


async def test_a_lost_key_is_no_erasure_either_when_another_one_was_made(world: World) -> None:
    """What the first one sealed is told as lost, and not passed over as if somebody had been erased."""
    full, _, _ = await filled(world)
    infos = (await world.blobs.entries("backups/owners/")).blobs
    await world.blobs.delete([info.key for info in infos if not info.key.endswith("/key.json")])
    await world.put("a1", "ada", "newest")
    world.clock.advance(60)
    await world.backups.create(full=True)
    with pytest.raises(Corrupt, match="owner"):
        await world.restored(full)
    assert any("owner" in problem for problem in (await world.backups.verify(full)).problems)


async def test_nothing_but_marks_is_left_of_an_erased_user(world: World) -> None:
    """Who holds all the keys of the archive finds neither keys nor texts of the user's in the frames of a backup."""
    full, _, _ = await filled(world)
    archive = Archive(world.blobs, KEYS, world.env)
    reader, manifest = await archive.reader(full), await archive.manifest(full)
    await world.backups.erase("ada")
    entries = [
        entry for info in manifest.ports["entities"].base async for frame in reader.frames(info) for entry in frame
    ]
    seen = b"".join(entry.key + (entry.item or b"") for entry in entries)
    assert (b"ada" in seen, b"bob" in seen) == (False, True)


async def test_a_profile_gives_users_keys(tmp_path: Path) -> None:
    """With ``owner_keys`` in the settings; an erased user of a whole store comes out of no backup."""
    settings = {"owner_keys": True}
    async with storycore.open("memory", dir=tmp_path, overrides={"backup": settings}) as store:
        await store.init(warm_cache=False)
        for name in ("ada", "bob"):
            await store.users.save(User(user_id=name, email=f"{name}@example.com", username=name))
        await store.backups.create()
        for name in ("ada", "bob"):
            await store.users.delete(name)
        assert (await store.backups.erase("ada")).had_key
        done = await store.backups.restore(mode="merge", on_conflict="skip")
        assert ([await store.users.find(name) is None for name in ("ada", "bob")], done.erased) == (
            [True, False],
            {"entities": 3},
        )


async def test_the_key_over_all_owners_is_not_replaced_unasked(world: World) -> None:
    """Where it is lost it is said so, by a restore and by the next backup; neither puts another in its place."""
    await world.put("a", "ada", "one")
    await world.backups.create()
    name = "backups/owners/key.json"
    async with await world.blobs.get(name) as reader:
        key = await reader.read()
    await world.blobs.delete([name])
    for doing in (world.restored, lambda: world.backups.create(full=True)):
        with pytest.raises(Corrupt, match="sealed key of backup owners is missing"):
            await doing()
        assert await world.blobs.head(name) is None
    await world.blobs.put(name, key, when=ANY)
    assert await world.restored() == ({"a": "one"}, 0)
